"""`planeloc localize`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings


@click.command("localize")
@file_option("--movie", "Manifest of the movie.")
@file_option("--registration", "Maps from register.")
@file_option("--psf", "PSF from calibrate.")
@file_option("--weights", "Network from train.")
@file_option("--output", "Table of localizations (HDF5).")
@provenance_option
@options(LocalizeSettings)
def command(
    movie: Path,
    registration: Path,
    psf: Path,
    weights: Path,
    output: Path,
    provenance: Path | None,
    settings: LocalizeSettings,
) -> None:
    """Find the molecules in every frame of a movie."""
    used = localize(movie, registration, psf, weights, output, settings)
    write_record(provenance, "localize", settings, [movie, registration, psf, weights], [output], used)
