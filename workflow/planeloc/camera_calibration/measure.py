"""The `cameras` stage: from dark and bright movies to a microscope file with measured cameras.

Offset, gain and noise come from photon transfer (`planeloc.camera_calibration.photon_transfer`); here the movies are
read, the result is judged against what was declared, drawn, and written as a microscope file like any other: what
photon transfer does not tell (quantum efficiency, saturation, layout, regions, pixel size) is carried over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from planeloc.camera_calibration.figure import draw_cameras
from planeloc.camera_calibration.photon_transfer import (
    BLOCK_FRAMES,
    Bright,
    BrightSum,
    Dark,
    DarkSum,
    Measurement,
    fit_line,
    measure,
)
from planeloc.camera_calibration.quality import Movies, camera_checks, camera_values
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.io.bead_images import camera_file
from planeloc.io.camera_files import CameraSource, open_cameras

_MOST_PIXELS = 1 << 18  # per camera; more would need memory and tell nothing new
_BRIGHTER = 0.5  # times the read noise: the least by which the bright movie must be brighter than the dark one


def measure_cameras(
    movies: Movies,
    microscope: Microscope,
    sheet: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: CamerasSettings | None = None,
) -> None:
    """Measure every camera and write the microscope file with its figure and quality values.

    Parameters
    ----------
    microscope, sheet : what was declared, and the file in which it was.
    output : microscope file (YAML), as `planeloc.cameras.microscope.read_microscope` reads it.

    Raises
    ------
    PlanelocError
        Unusable movies, or a failed quality check: of the latter, figure and quality values are left beside `figure`
        and `quality`, with `.failed` in their names. Nothing else is written then.
    """
    settings = settings or CamerasSettings()
    least = settings.minimum_frames
    darks, shape = _read(movies.dark, microscope, "dark", least, lambda plane, limit: DarkSum())

    def new(plane: int, limit: float) -> BrightSum:
        return BrightSum(darks[plane], limit)

    brights, bright_shape = _read(movies.bright, microscope, "bright", least, new, shape[2:])
    without: Sequence[Bright | None] = [None] * microscope.planes
    if movies.without_em:
        if all(camera.em_gain <= 1 for camera in microscope.cameras):
            raise PlanelocError(
                f"{sheet}: em_gain is 1, but a bright movie without EM gain is given; enter the gain that was set, or "
                "leave bright_without_em empty"
            )
        without, _ = _read(movies.without_em, microscope, "bright_without_em", least, new, shape[2:])
    measured = [
        _measure(camera, plane, darks[plane], brights[plane], without[plane], movies)
        for plane, camera in enumerate(microscope.cameras)
    ]
    frames = {"dark": shape[0], "bright": bright_shape[0]}
    values = camera_values(measured, frames)
    checks = camera_checks(measured, movies, frames, settings)

    def draw(path: Path) -> None:
        draw_cameras(path, measured, checks)

    stop_on_failure(sheet, values, checks, Path(figure), Path(quality), draw)
    draw(figure)
    write_quality(quality, values, checks)
    print_warnings(checks)
    with atomic_path(output) as partial:
        partial.write_text(_microscope_file(microscope, measured, movies, sheet), encoding="utf-8")


def _read(
    files: list[Path], microscope: Microscope, kind: str, least: int, new: Callable[[int, float], Any], size: Any = None
) -> tuple[list[Any], tuple[int, ...]]:
    """Put a movie through one collector per camera, `new(plane, saturation)`; what they collected, and its shape."""
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
        collectors = [new(plane, limit) for plane, limit in enumerate(limits)]
        step = math.ceil(math.sqrt(max(1.0, math.prod(shape) / _MOST_PIXELS)))
        for start in range(0, frames - 1, BLOCK_FRAMES):
            counts = _block(source, start, min(start + BLOCK_FRAMES, frames - frames % 2), step)
            for plane, collector in enumerate(collectors):
                collector.add(counts[:, plane])
    return [collector.result() for collector in collectors], source.shape


def _block(source: CameraSource, start: int, stop: int, step: int) -> NDArray[np.uint16]:
    """Frames start … stop−1 of every `step`-th pixel; only one full frame is held at a time."""
    return np.concatenate([source.read(i, i + 1)[:, :, ::step, ::step].copy() for i in range(start, stop)])


def _measure(
    sheet: Camera, plane: int, dark: Dark, bright: Bright | None, without: Bright | None, movies: Movies
) -> Measurement:
    line = _line(sheet, camera_file(movies.bright, plane), "bright", dark, bright)
    if sheet.em_gain <= 1 or not movies.without_em:
        return measure(sheet, dark, bright, line)
    return measure(
        sheet,
        dark,
        bright,
        line,
        without,
        _line(sheet, camera_file(movies.without_em, plane), "bright_without_em", dark, without),
    )


def _line(sheet: Camera, file: Path, kind: str, dark: Dark, bright: Bright | None) -> Any:
    """The photon transfer line; where there is none, what is wrong with the movie."""
    where = f"{file}: camera {sheet.name}: the {kind} movie"
    if bright is None:
        raise PlanelocError(
            f"{where}: the light changes by more than 10 % from every frame to the next; use a steady lamp (LED), not "
            "a pulsed one, or expose longer"
        )
    if bright.levels.saturated.all():
        raise PlanelocError(
            f"{where} is saturated ({sheet.saturation_counts:g} counts) at every level of light; take less light or a "
            "shorter exposure, or correct saturation_counts in the microscope file"
        )
    level = float(bright.mean[dark.usable].mean())
    if level - dark.offset_counts < max(_BRIGHTER * np.sqrt(dark.read_variance), 0.05):
        raise PlanelocError(
            f"{where} ({level:.5g} counts) is no brighter than the dark one ({dark.offset_counts:.5g} counts); switch "
            "on the light, and check that the two are not exchanged"
        )
    line = fit_line(bright.levels, dark)
    if line is None:
        raise PlanelocError(
            f"{where}: its noise does not grow with the light, as that of no camera's raw counts; record without "
            "averaging, denoising or lossy compression, and with several levels of light or uneven light"
        )
    return line


_COMMENTED = {
    "offset_counts": "offset_sd_counts",
    "electrons_per_count": "electrons_per_count_sd",
    "em_gain": "em_gain_sd",
    "read_noise_electrons": "read_noise_sd_electrons",
}


def _microscope_file(microscope: Microscope, measured: Sequence[Measurement], movies: Movies, sheet: Path) -> str:
    """The text of the microscope file, every measured value with its standard deviation and what was declared."""
    files = {"dark": movies.dark, "bright": movies.bright, "bright without EM gain": movies.without_em}
    lines = [
        "# Made by `planeloc cameras`: do not edit, it is made again when its movies change.",
        f"# Measured by photon transfer; what has no ± is as in {sheet}.",
        *(f"# {name}: {'; '.join(map(str, paths))}" for name, paths in files.items() if paths),
        _line_of("name", microscope.name),
        _line_of("pixel_size_nm", microscope.pixel_size_nm),
        _line_of("layout", microscope.layout),
        "cameras:",
    ]
    for m in measured:
        entries = []
        for field in fields(Camera):
            value = getattr(m.camera, field.name)
            sd = getattr(m, _COMMENTED[field.name]) if field.name in _COMMENTED else 0.0
            if sd > 0:
                comment = f" # ± {sd:.2g}; declared: {getattr(m.sheet, field.name):g}"
                entries.append(_line_of(field.name, _rounded(value, sd)) + comment)
            else:
                entries.append(_line_of(field.name, value))
        lines += [("  - " if i == 0 else "    ") + entry for i, entry in enumerate(entries)]
    if microscope.regions:
        lines.append("regions:")
        for region in microscope.regions:
            entries = [_line_of(field.name, getattr(region, field.name)) for field in fields(Region)]
            lines += [("  - " if i == 0 else "    ") + entry for i, entry in enumerate(entries)]
    return "\n".join(lines) + "\n"


def _line_of(key: str, value: Any) -> str:
    return yaml.safe_dump({key: value}, allow_unicode=True, width=10**6).strip()


def _rounded(value: float, sd: float) -> float:
    """Rounded to a hundredth of its standard deviation or finer."""
    return float(round(value, max(0, 2 - int(np.floor(np.log10(sd))))))
