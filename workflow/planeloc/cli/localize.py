"""`planeloc localize`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.training.advice import training_advice


@stage_command(
    "localize",
    LocalizeSettings,
    File("--movie", "Manifest of the movie."),
    File("--registration", "Transforms from register."),
    File("--psf", "PSF from calibrate."),
    File("--weights", "Network from train."),
    output("--output", "Localization table (HDF5).", marks.table),
    File("--synchronization", "Frames of the cameras from synchronize.", required=False),
)
def command(
    movie: Path,
    registration: Path,
    psf: Path,
    weights: Path,
    output: Path,
    settings: LocalizeSettings,
    synchronization: Path | None,
) -> Used:
    """Localize the molecules in every frame of a movie."""
    files = {"movie": movie, "registration": registration, "calibration": psf, "weights": weights, "output": output}
    advise = partial(training_advice, **files)
    return Used(localize(movie, registration, psf, weights, output, settings, advise, synchronization))
