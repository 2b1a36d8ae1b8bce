"""`planeloc cameras`."""

from __future__ import annotations

from pathlib import Path

from planeloc.camera_calibration.measure import Movies, measure_cameras
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import FIGURE, MICROSCOPE, QUALITY, File, output, stage_command


@stage_command(
    "cameras",
    CamerasSettings,
    File("--dark", "Movie with the shutter closed; one file per camera, in plane order.", multiple=True),
    File("--bright", "Movie of constant illumination; one file per camera, in plane order.", multiple=True),
    File("--bright-without-em", "The same illumination without EM gain.", required=False, multiple=True),
    MICROSCOPE,
    output("--output", "Microscope file with the measured cameras (YAML)."),
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
    movies = Movies(list(dark), list(bright), list(bright_without_em))
    measure_cameras(movies, read_microscope(microscope), microscope, output, figure, quality, settings)
