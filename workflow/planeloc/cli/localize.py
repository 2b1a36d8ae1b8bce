"""`planeloc localize`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.training.advice import training_advice


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
    files = {"movie": movie, "registration": registration, "calibration": psf, "weights": weights, "output": output}
    used = localize(movie, registration, psf, weights, output, settings, partial(training_advice, **files))
    write_record(provenance, "localize", settings, [movie, registration, psf, weights], [output], used)
