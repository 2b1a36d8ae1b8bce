"""`planeloc convert`."""

from __future__ import annotations

from pathlib import Path

from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import MICROSCOPE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.core.files import read_json
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings


@stage_command(
    "convert",
    ConvertSettings,
    File("--movie", "Camera file; one per camera, in plane order.", multiple=True),
    MICROSCOPE,
    output("--store", "Movie (Zarr folder).", marks.MOVIE),
    output("--manifest", "Properties of the movie and checksums of its chunks (JSON).", marks.MANIFEST),
    QUALITY,
)
def command(
    movie: tuple[Path, ...], microscope: Path, store: Path, manifest: Path, quality: Path, settings: ConvertSettings
) -> Used:
    """Convert camera files to one compressed movie of raw counts, with checksums."""
    convert(list(movie), read_microscope(microscope), store, manifest, quality, settings)
    return Used(checksums={source["path"]: source["sha256"] for source in read_json(manifest)["sources"]})
