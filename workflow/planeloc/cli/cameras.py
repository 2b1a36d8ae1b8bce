"""`planeloc cameras`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.camera_calibration.measure_cameras import CalibrationMovies, measure_cameras
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import (
    figure_option,
    file_option,
    microscope_option,
    provenance_option,
    quality_option,
    write_record,
)
from planeloc.core.settings import options


@click.command("cameras")
@file_option("--dark", "Movie in the dark; one file for each camera, in plane order.", multiple=True)
@file_option("--bright", "Movie of steady light; one file for each camera, in plane order.", multiple=True)
@file_option("--bright-without-em", "The same light with the EM gain switched off.", required=False, multiple=True)
@microscope_option
@file_option("--output", "Microscope file with the measured cameras (YAML).")
@figure_option
@quality_option
@provenance_option
@options(CamerasSettings)
def command(
    dark: tuple[Path, ...],
    bright: tuple[Path, ...],
    bright_without_em: tuple[Path, ...],
    microscope: Path,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: CamerasSettings,
) -> None:
    """Measure offset, gain and noise of every camera by photon transfer."""
    movies = CalibrationMovies(list(dark), list(bright), list(bright_without_em))
    measure_cameras(movies, read_microscope(microscope), microscope, output, figure, quality, settings)
    inputs = [*dark, *bright, *bright_without_em, microscope]
    write_record(provenance, "cameras", settings, inputs, [output, figure, quality])
