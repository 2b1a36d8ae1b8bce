"""The `cameras` stage: a microscope file with measured cameras, from dark and bright movies.

Photon transfer (`planeloc.camera_calibration.photon_transfer`) gives offset, gain and noise. Everything else (quantum
efficiency, saturation, layout, regions, pixel size) is copied from the declared microscope file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.camera_calibration.figure import draw_cameras
from planeloc.camera_calibration.movie_statistics import (
    BLOCK_FRAMES,
    BrightAccumulator,
    BrightStatistics,
    CalibrationMovies,
    DarkAccumulator,
    DarkStatistics,
)
from planeloc.camera_calibration.photon_transfer import fit_line, measure_camera
from planeloc.camera_calibration.quality import camera_checks, camera_values
from planeloc.camera_calibration.results import CameraMeasurement, PhotonTransferLine, microscope_file_text
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.io.bead_images import camera_file
from planeloc.io.camera_source import CameraSource, open_cameras

_MOST_PIXELS = 1 << 18  # per camera; more would need memory and improve nothing
_LEAST_SIGNAL = 0.5  # of the bright movie above the dark one, in units of the read noise


def measure_cameras(
    movies: CalibrationMovies,
    microscope: Microscope,
    declared_in: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: CamerasSettings | None = None,
) -> None:
    """Measure every camera and write the microscope file with its figure and quality values.

    Parameters
    ----------
    microscope, declared_in
        The declared cameras, and their file.
    output
        Microscope file (YAML), as `planeloc.cameras.microscope.read_microscope` reads it.

    Raises
    ------
    PlanelocError
        The movies are unusable, or a quality check failed. A failed check leaves figure and quality values beside
        `figure` and `quality`, with `.failed` in their names; nothing else is written.
    """
    settings = settings or CamerasSettings()
    least = settings.minimum_frames
    darks, shape = _read(movies.dark, microscope, "dark", least, lambda plane, limit: DarkAccumulator())

    def bright(kind: str, files: list[Path]) -> tuple[list[BrightStatistics | None], tuple[int, ...]]:
        return _read(
            files, microscope, kind, least, lambda plane, limit: BrightAccumulator(darks[plane], limit), shape[2:]
        )

    brights, bright_shape = bright("bright", movies.bright)
    recorded = [_Recorded("bright", movies.bright, brights)]
    if movies.without_em:
        if all(camera.em_gain <= 1 for camera in microscope.cameras):
            raise PlanelocError(
                f"{declared_in}: em_gain is 1, but a bright movie without EM gain is given; enter the gain that was "
                "set, or leave bright_without_em empty"
            )
        kind, files = "bright_without_em", movies.without_em
        recorded.append(_Recorded(kind, files, bright(kind, files)[0]))
    measured = [_measure(camera, plane, darks[plane], recorded) for plane, camera in enumerate(microscope.cameras)]
    frames = {"dark": shape[0], "bright": bright_shape[0]}
    values = camera_values(measured, frames)
    checks = camera_checks(measured, movies, frames, settings)

    def draw(path: Path) -> None:
        draw_cameras(path, measured, checks)

    stop_on_failure(declared_in, values, checks, Path(figure), Path(quality), draw)
    draw(figure)
    write_quality(quality, values, checks)
    print_warnings(checks)
    with atomic_path(output) as partial:
        partial.write_text(microscope_file_text(microscope, measured, movies, declared_in), encoding="utf-8")


def _read(
    files: list[Path], microscope: Microscope, kind: str, least: int, new: Callable[[int, float], Any], size: Any = None
) -> tuple[list[Any], tuple[int, ...]]:
    """Statistics of a movie, from one accumulator per camera, `new(plane, saturation)`; and its shape."""
    with open_cameras(files, microscope) as source:
        frames, _, *shape = source.shape
        if frames < least:
            raise PlanelocError(
                f"{source.files[0]}: the {kind} movie has {frames} frames, at least {least} are needed; record 100"
            )
        if size and shape != list(size):
            raise PlanelocError(
                f"{source.files[0]}: the {kind} movie has {shape[1]} columns and {shape[0]} rows, the dark one "
                f"{size[1]} and {size[0]}; record both with the same region of the sensor"
            )
        limits = [min(c.saturation_counts, n) for c, n in zip(microscope.cameras, source.largest_counts, strict=True)]
        accumulators = [new(plane, limit) for plane, limit in enumerate(limits)]
        step = math.ceil(math.sqrt(max(1.0, math.prod(shape) / _MOST_PIXELS)))
        for start in range(0, frames - 1, BLOCK_FRAMES):
            counts = _block(source, start, min(start + BLOCK_FRAMES, frames - frames % 2), step)
            for plane, accumulator in enumerate(accumulators):
                accumulator.add(counts[:, plane])
    return [accumulator.result() for accumulator in accumulators], source.shape


def _block(source: CameraSource, start: int, stop: int, step: int) -> NDArray[np.uint16]:
    """Frames start … stop−1 of every `step`-th pixel; only one full frame is held at a time."""
    return np.concatenate([source.read(i, i + 1)[:, :, ::step, ::step].copy() for i in range(start, stop)])


@dataclass(frozen=True)
class _Recorded:
    """A bright movie of all cameras."""

    kind: str
    files: list[Path]
    statistics: list[BrightStatistics | None]  # one per camera


def _measure(declared: Camera, plane: int, dark: DarkStatistics, recorded: list[_Recorded]) -> CameraMeasurement:
    arguments = []
    for movie in recorded if declared.em_gain > 1 else recorded[:1]:
        file, bright = camera_file(movie.files, plane), movie.statistics[plane]
        arguments += [bright, _line(declared, file, movie.kind, dark, bright)]
    return measure_camera(declared, dark, *arguments)


def _line(
    declared: Camera, file: Path, kind: str, dark: DarkStatistics, bright: BrightStatistics | None
) -> PhotonTransferLine:
    """The photon transfer line, or `PlanelocError` with what is wrong with the movie."""
    where = f"{file}: camera {declared.name}: the {kind} movie"
    if bright is None:
        raise PlanelocError(
            f"{where}: the intensity changes by more than 10 % from every frame to the next; use a steady lamp (LED), "
            "not a pulsed one, or a longer exposure"
        )
    if bright.levels.saturated.all():
        raise PlanelocError(
            f"{where} is saturated ({declared.saturation_counts:g} counts) at every level of intensity; use a dimmer "
            "lamp or a shorter exposure, or correct saturation_counts in the microscope file"
        )
    level = float(bright.mean[dark.usable].mean())
    if level - dark.offset_counts < max(_LEAST_SIGNAL * np.sqrt(dark.read_variance), 0.05):
        raise PlanelocError(
            f"{where} ({level:.5g} counts) is no brighter than the dark one ({dark.offset_counts:.5g} counts); switch "
            "on the lamp, and check that the two movies are not exchanged"
        )
    line = fit_line(bright.levels, dark)
    if line is None:
        raise PlanelocError(
            f"{where}: its noise does not grow with intensity, so these are not raw counts; record without "
            "averaging, denoising or lossy compression, and with several intensities or uneven illumination"
        )
    return line
