"""`planeloc convert`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import file_option, microscope_option, provenance_option, quality_option, write_record
from planeloc.core.files import read_json
from planeloc.core.settings import options
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings


@click.command("convert")
@file_option("--movie", "Camera file; repeat the option for each camera, in plane order.", multiple=True)
@microscope_option
@file_option("--store", "Movie (a zarr folder).")
@file_option("--manifest", "What the movie is and the checksums of its parts (JSON).")
@quality_option
@provenance_option
@options(ConvertSettings)
def command(
    movie: tuple[Path, ...],
    microscope: Path,
    store: Path,
    manifest: Path,
    quality: Path,
    provenance: Path | None,
    settings: ConvertSettings,
) -> None:
    """Gather camera files into one compressed, checksummed movie of raw counts."""
    convert(list(movie), read_microscope(microscope), store, manifest, quality, settings)
    hashed = {source["path"]: source["sha256"] for source in read_json(manifest)["sources"]}
    write_record(provenance, "convert", settings, [*movie, microscope], [manifest, quality], known=hashed)
