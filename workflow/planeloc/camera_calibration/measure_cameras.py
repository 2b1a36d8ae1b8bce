"""The `cameras` stage: a microscope file with measured cameras, from dark and bright movies.

Photon transfer (`planeloc.camera_calibration.photon_transfer`) gives offset, gain and noise. Everything else (quantum
efficiency, saturation, layout, regions, pixel size) is copied from the declared microscope file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
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
from planeloc.camera_calibration.results import PhotonTransferLine, microscope_file_text
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera, camera_called
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import MICROSCOPE
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
    settings: CamerasSettings,
) -> None:
    """Measure every camera and write the microscope file with its figure and quality values.

    Parameters
    ----------
    microscope, declared_in : the declared cameras, and their file.
    output : microscope file (YAML), as `planeloc.cameras.microscope.read_microscope` reads it.

    Raises
    ------
    PlanelocError : the movies are unusable, or a quality check failed. A failed check leaves figure and quality values
        beside `figure` and `quality`, with `.failed` in their names; nothing else is written.
    """
    dark = _read("dark", movies.dark, microscope, settings.minimum_frames)
    recorded = [_read("bright", movies.bright, microscope, settings.minimum_frames, dark)]
    if movies.without_em:
        if all(camera.em_gain <= 1 for camera in microscope.cameras):
            raise PlanelocError(
                f"{declared_in}: em_gain is 1, but a bright movie without EM gain is given; enter the gain that was "
                "set, or leave bright_without_em empty"
            )
        recorded.append(_read("bright_without_em", movies.without_em, microscope, settings.minimum_frames, dark))
    measured = []
    for plane, camera in enumerate(microscope.cameras):
        used = recorded if camera.em_gain > 1 else recorded[:1]
        lines = [_line(camera, plane, movie, dark.statistics[plane]) for movie in used]
        measured.append(measure_camera(camera, dark.statistics[plane], *lines))
    frames = {"dark": dark.shape[0], "bright": recorded[0].shape[0]}
    values = camera_values(measured, frames)
    checks = camera_checks(measured, movies, frames, settings)
    draw = partial(draw_cameras, measured=measured)
    stop_on_failure(declared_in, values, checks, figure, quality, draw)
    draw(figure)
    write_quality(quality, values, checks)
    print_warnings(checks)
    with atomic_path(output, MICROSCOPE) as unfinished:
        unfinished.write_text(microscope_file_text(microscope, measured, movies, declared_in), encoding="utf-8")


@dataclass(frozen=True)
class _Recorded:
    """A movie of all cameras."""

    kind: str
    files: list[Path]
    shape: tuple[int, ...]  # (frames, planes, rows, columns)
    statistics: list[Any]  # of every camera: `DarkStatistics`, or `BrightStatistics` or None


def _read(
    kind: str, files: list[Path], microscope: Microscope, minimum_frames: int, dark: _Recorded | None = None
) -> _Recorded:
    """Statistics of the dark movie, or of a bright one that was recorded with the given dark one."""
    with open_cameras(files, microscope) as source:
        frames, _, *shape = source.shape
        if frames < minimum_frames:
            raise PlanelocError(
                f"{source.files[0]}: the {kind} movie has {frames} frames, at least {minimum_frames} are needed; "
                "record 100"
            )
        if dark and source.shape[2:] != dark.shape[2:]:
            raise PlanelocError(
                f"{source.files[0]}: the {kind} movie has {shape[1]} columns and {shape[0]} rows, the dark one "
                f"{dark.shape[3]} and {dark.shape[2]}; record both with the same region of the sensor"
            )
        accumulators: list[Any] = [DarkAccumulator() for _ in microscope.cameras]
        if dark:
            limits = [
                min(c.saturation_counts, n) for c, n in zip(microscope.cameras, source.largest_counts, strict=True)
            ]
            accumulators = list(map(BrightAccumulator, dark.statistics, limits))
        step = math.ceil(math.sqrt(max(1.0, math.prod(shape) / _MOST_PIXELS)))
        for start in range(0, frames - 1, BLOCK_FRAMES):
            counts = _block(source, start, min(start + BLOCK_FRAMES, frames - frames % 2), step)
            for plane, accumulator in enumerate(accumulators):
                accumulator.add(counts[:, plane])
    return _Recorded(kind, files, source.shape, [accumulator.result() for accumulator in accumulators])


def _block(source: CameraSource, start: int, stop: int, step: int) -> NDArray[np.uint16]:
    """Frames start … stop−1 of every `step`-th pixel; only one full frame is held at a time."""
    return np.concatenate([source.read(i, i + 1)[:, :, ::step, ::step].copy() for i in range(start, stop)])


def _line(declared: Camera, plane: int, movie: _Recorded, dark: DarkStatistics) -> PhotonTransferLine:
    """The photon transfer line, or `PlanelocError` with what is wrong with the movie."""
    bright: BrightStatistics | None = movie.statistics[plane]
    where = f"{camera_file(movie.files, plane)}: {camera_called(declared.name)}: the {movie.kind} movie"
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
    line = fit_line(bright, dark)
    if line is None:
        raise PlanelocError(
            f"{where}: its noise does not grow with intensity, so these are not raw counts; record without "
            "averaging, denoising or lossy compression, and with several intensities or uneven illumination"
        )
    return line
