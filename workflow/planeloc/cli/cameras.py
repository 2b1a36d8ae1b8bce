"""`planeloc cameras`."""

from __future__ import annotations

from pathlib import Path

from planeloc.camera_calibration.measure_cameras import measure_cameras
from planeloc.camera_calibration.movie_statistics import CalibrationMovies
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import FIGURE, MICROSCOPE, QUALITY, File, output, stage_command
from planeloc.core import marks


@stage_command(
    "cameras",
    CamerasSettings,
    File("--dark", "Movie with the shutter closed; one file per camera, in plane order.", multiple=True),
    File("--bright", "Movie of constant illumination; one file per camera, in plane order.", multiple=True),
    File(
        "--bright-without-em",
        "Movie of the same illumination without EM gain; one file per camera, in plane order.",
        required=False,
        multiple=True,
    ),
    MICROSCOPE,
    output("--output", "Microscope file with the measured cameras (YAML).", marks.MICROSCOPE),
    FIGURE,
    QUALITY,
)
def command(
    dark: tuple[Path, ...],
    bright: tuple[Path, ...],
    bright_without_em: tuple[Path, ...],
    microscope: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: CamerasSettings,
) -> None:
    """Measure offset, gain and noise of every camera by photon transfer."""
    movies = CalibrationMovies(list(dark), list(bright), list(bright_without_em))
    measure_cameras(movies, read_microscope(microscope), microscope, output, figure, quality, settings)
