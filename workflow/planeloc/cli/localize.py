"""`planeloc localize`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.localization.camera_drift_files import DriftFiles
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
    output("--camera-drift", "Drift of the cameras through the movie (CSV).", marks.CAMERA_DRIFT, required=False),
    output("--camera-drift-figure", "Figure of it (PNG).", marks.figure("localize"), required=False),
    output("--camera-drift-quality", "Quality values of it (JSON).", marks.QUALITY, required=False),
)
def command(
    movie: Path,
    registration: Path,
    psf: Path,
    weights: Path,
    output: Path,
    settings: LocalizeSettings,
    synchronization: Path | None,
    camera_drift: Path | None,
    camera_drift_figure: Path | None,
    camera_drift_quality: Path | None,
) -> Used:
    """Localize the molecules in every frame of a movie."""
    files = {"movie": movie, "registration": registration, "calibration": psf, "weights": weights, "output": output}
    advise = partial(training_advice, **files, synchronization=synchronization)
    drift_files = DriftFiles(camera_drift, camera_drift_figure, camera_drift_quality)
    return Used(localize(movie, registration, psf, weights, output, settings, advise, synchronization, drift_files))
