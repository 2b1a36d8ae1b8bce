"""The `cameras` stage: from dark and bright movies to a microscope file with measured cameras.

Offset, gain and noise come from photon transfer (`planeloc.photon_transfer`); here the movies are read, the result is
judged against what was declared, drawn, and written as a microscope file like any other: what photon transfer does
not tell (quantum efficiency, saturation, layout, regions, pixel size) is carried over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from planeloc.beads import camera_file
from planeloc.camera import Camera
from planeloc.errors import PlanelocError
from planeloc.figures.cameras import draw_cameras
from planeloc.files import atomic_path
from planeloc.microscope import Microscope, Region
from planeloc.photon_transfer import (
    BLOCK_FRAMES,
    Bright,
    BrightSum,
    Dark,
    DarkSum,
    Measurement,
    fit_line,
    measure,
)
from planeloc.quality import Check, check_at_least, check_at_most, stop_on_failure, write_quality
from planeloc.readers import CameraSource, open_cameras
from planeloc.settings import setting

_MOST_PIXELS = 1 << 18  # per camera; more would need memory and tell nothing new
_BRIGHTER = 0.5  # times the read noise: the least by which the bright movie must be brighter than the dark one


@dataclass(frozen=True)
class CamerasSettings:
    """How good the movies must be, and how far a camera may be from what was declared."""

    minimum_frames: int = setting(10, "Fewest frames of a movie; fewer stop the run.", minimum=8)
    frames_warn: int = setting(50, "Frames of the shortest movie below which to warn.", minimum=1)
    gain_sd_warn: float = setting(0.02, "Relative standard deviation of the gain that warns.", minimum=0)
    gain_sd_fail: float = setting(0.2, "Relative standard deviation of the gain that stops the run.", minimum=0)
    light_warn: float = setting(
        1.0, "Shot noise over read noise (variances) in the brightest light, that warns.", minimum=0
    )
    light_fail: float = setting(
        0.05, "Shot noise over read noise (variances) in the brightest light, that stops the run.", minimum=0
    )
    saturated_warn: float = setting(
        0.01, "Share of the pixels that saturate in the bright movie, that warns.", maximum=1
    )
    saturated_fail: float = setting(
        0.7, "Share of the pixels that saturate in the bright movie, that stops.", maximum=1
    )
    straight_warn: float = setting(0.9, "Share of the range of light on the straight line, that warns.", maximum=1)
    straight_fail: float = setting(0.25, "Share of the range of light on the straight line, that stops.", maximum=1)
    curvature_warn: float = setting(
        0.05, "Bend of the line over the shot noise in the brightest light, that warns.", minimum=0
    )
    curvature_fail: float = setting(
        0.3, "Bend of the line over the shot noise in the brightest light, that stops.", minimum=0
    )
    flicker_warn: float = setting(0.02, "Relative change of the light from frame to frame, rms, that warns.", minimum=0)
    steady_fail: float = setting(0.5, "Share of frame pairs with steady light below which to stop.", maximum=1)
    drift_warn_counts: float = setting(1.0, "Drift of the offset during the dark movie that warns, counts.", minimum=0)
    drift_fail_counts: float = setting(20.0, "Drift of the offset during the dark movie that stops, counts.", minimum=0)
    dark_light_warn_counts: float = setting(1.0, "Light in the dark movie that warns, counts.", minimum=0)
    dark_light_fail_counts: float = setting(20.0, "Light in the dark movie that stops the run, counts.", minimum=0)
    dark_gap_warn_counts: float = setting(
        5.0, "Distance of the dark movie from the line through the bright one that warns, counts.", minimum=0
    )
    dark_gap_fail_counts: float = setting(
        100.0, "Distance of the dark movie from the line through the bright one that stops, counts.", minimum=0
    )
    at_zero_warn: float = setting(0.001, "Share of zeros among the dark counts that warns.", maximum=1)
    at_zero_fail: float = setting(0.1, "Share of zeros among the dark counts that stops the run.", maximum=1)
    offset_warn_counts: float = setting(10.0, "Measured minus declared offset that warns, counts.", minimum=0)
    gain_warn: float = setting(1.25, "Factor between measured and declared gain that warns.", minimum=1)
    gain_fail: float = setting(4.0, "Factor between measured and declared gain that stops the run.", minimum=1)
    read_noise_warn: float = setting(1.5, "Factor between measured and declared read noise that warns.", minimum=1)
    excess_noise_warn: float = setting(
        0.15, "Relative difference of the excess noise from 2 − 1/gain that warns.", minimum=0
    )
    excess_noise_fail: float = setting(
        0.5, "Relative difference of the excess noise from 2 − 1/gain that stops.", minimum=0
    )


@dataclass(frozen=True)
class Movies:
    """The files of each movie, in the microscope's layout; `without_em` may be empty."""

    dark: list[Path]
    bright: list[Path]
    without_em: list[Path]


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
    output : microscope file (YAML), as `planeloc.microscope.read_microscope` reads it.

    Raises
    ------
    PlanelocError
        Unusable movies, or a failed quality check: of the latter, the figure is drawn beside `figure`, with `.failed`
        in its name. Nothing else is written then.
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
    values = _values(measured, frames)
    checks = _checks(measured, movies, frames, settings)

    def draw(path: Path) -> None:
        draw_cameras(path, measured, checks)

    stop_on_failure(sheet, checks, Path(figure), draw)
    draw(figure)
    write_quality(quality, values, checks)
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
                f"{source.files[0]}: the {kind} movie has {shape[1]} columns and {shape[0]} rows, the dark one {size[1]} "
                f"and {size[0]}; record both with the same region of the sensor"
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
    return np.concatenate([source.read(i, i + 1)[:, :, ::step, ::step] for i in range(start, stop)])


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
    if bright.saturated[dark.usable].all():
        raise PlanelocError(f"{where} is saturated in every pixel; take less light or a shorter exposure")
    level = float(bright.mean[dark.usable].mean())
    if level - dark.offset_counts < max(_BRIGHTER * np.sqrt(dark.read_variance), 0.05):
        raise PlanelocError(
            f"{where} ({level:.5g} counts) is no brighter than the dark one ({dark.offset_counts:.5g} counts); switch on "
            "the light, and check that the two are not exchanged"
        )
    line = fit_line(bright.levels, dark)
    if line is None:
        raise PlanelocError(
            f"{where}: its noise does not grow with the light, as that of no camera's raw counts; record without "
            "averaging, denoising or lossy compression, and with several levels of light or uneven light"
        )
    return line


def _values(measured: Sequence[Measurement], frames: dict[str, int]) -> dict[str, float]:
    """Every quality value by name; the standard deviations end in `_sd`."""
    values: dict[str, float] = {f"{name}_frames": float(count) for name, count in frames.items()}
    for p, m in enumerate(measured):
        values |= {
            f"camera_{p}_offset_counts": m.camera.offset_counts,
            f"camera_{p}_offset_sd_counts": m.offset_sd_counts,
            f"camera_{p}_electrons_per_count": m.camera.electrons_per_count,
            f"camera_{p}_electrons_per_count_sd": m.electrons_per_count_sd,
            f"camera_{p}_em_gain": m.camera.em_gain,
            f"camera_{p}_em_gain_sd": m.em_gain_sd,
            f"camera_{p}_excess_noise": m.excess_noise,
            f"camera_{p}_excess_noise_sd": m.excess_noise_sd,
            f"camera_{p}_read_noise_electrons": m.camera.read_noise_electrons,
            f"camera_{p}_read_noise_electrons_sd": m.read_noise_sd_electrons,
            f"camera_{p}_linear_up_to_counts": m.camera.offset_counts + _straight_up_to(m),
            f"camera_{p}_flicker": m.bright.flicker,
            f"camera_{p}_hot_pixels": float((~m.dark.usable).mean()),
        }
    return values


def _straight_up_to(m: Measurement) -> float:
    """The brightest level on the line, counts above the offset."""
    return float(m.bright.levels.signal[m.line.used].max())


def _beyond(value: float, sd: float) -> float:
    """The size of a value as far as it is sure (three standard deviations)."""
    return max(abs(value) - 3 * sd, 0.0)


def _factor(measured: float, declared: float) -> float:
    """How many times one is the other; 1 if both are 0."""
    low, high = sorted((measured, declared))
    return high / low if low > 0 else (1.0 if high == 0 else float("inf"))


def _checks(measured: Sequence[Measurement], movies: Movies, frames: dict[str, int], s: CamerasSettings) -> list[Check]:
    """One check per subject, with the worst camera's value; the advice names that camera and its file."""

    def worst(
        name: str,
        value: Callable[[Measurement], float],
        files: list[Path],
        advice: str,
        *,
        low: bool = False,
        **limits: float,
    ) -> Check:
        numbers = [value(m) for m in measured]
        plane = int(np.argmin(numbers) if low else np.argmax(numbers))
        where = f"camera {measured[plane].sheet.name} ({camera_file(files, plane)}): "
        return (check_at_least if low else check_at_most)(name, numbers[plane], where + advice, **limits)

    checks = [
        check_at_least(
            "frames", float(min(frames.values())), "few frames; record 100 of each movie", warn=s.frames_warn
        ),
        worst(
            "relative_sd_of_the_gain",
            lambda m: m.gain_sd,
            movies.bright,
            "the gain is known badly; record more frames, or brighter light",
            warn=s.gain_sd_warn,
            fail=s.gain_sd_fail,
        ),
        worst(
            "shot_noise_over_read_noise",
            lambda m: float(m.line.slope * _straight_up_to(m) / max(m.dark.read_variance, 1e-9)),
            movies.bright,
            "too little light to see its noise beside the read noise; take more light or a longer exposure",
            low=True,
            warn=s.light_warn,
            fail=s.light_fail,
        ),
        worst(
            "saturated_share",
            lambda m: m.bright.saturated_share,
            movies.bright,
            "pixels are saturated and were left out; take less light or a shorter exposure",
            warn=s.saturated_warn,
            fail=s.saturated_fail,
        ),
        worst(
            "straight_share",
            lambda m: _straight_up_to(m) / float(m.bright.levels.signal[~m.bright.levels.saturated].max()),
            movies.bright,
            "above a level the noise leaves the straight line, as near saturation; take less light, and check "
            "saturation_counts in the microscope file",
            low=True,
            warn=s.straight_warn,
            fail=s.straight_fail,
        ),
        worst(
            "curvature",
            lambda m: _beyond(m.line.curvature, m.line.curvature_sd),
            movies.bright,
            "noise and light do not grow in proportion: the camera is not linear, or its driver corrects or filters "
            "the counts; switch such functions off",
            warn=s.curvature_warn,
            fail=s.curvature_fail,
        ),
        worst(
            "flicker",
            lambda m: m.bright.flicker,
            movies.bright,
            "the light flickers (it was taken out); use a steadier lamp or expose for whole periods of the mains",
            warn=s.flicker_warn,
        ),
        worst(
            "steady_share",
            lambda m: m.bright.steady,
            movies.bright,
            "the light changes between most frames; use a steadier lamp, or hold each level for 20 frames or more",
            low=True,
            warn=s.steady_fail,
            fail=s.steady_fail,
        ),
        worst(
            "offset_drift_counts",
            lambda m: m.dark.drift_counts,
            movies.dark,
            "the offset drifts, as while a camera warms up; let it reach its temperature and record the dark again",
            warn=s.drift_warn_counts,
            fail=s.drift_fail_counts,
        ),
        worst(
            "light_in_the_dark_counts",
            lambda m: m.light_in_the_dark_counts,
            movies.dark,
            "the dark movie shows the bright one's light; close the shutter, cover the camera, and record the dark again",
            warn=s.dark_light_warn_counts,
            fail=s.dark_light_fail_counts,
        ),
        worst(
            "dark_off_the_line_counts",
            lambda m: _beyond(m.line.dark_gap_counts, m.line.dark_gap_sd_counts),
            movies.dark,
            "the dark movie does not fit the bright one; record both with the same exposure time, gain, readout speed "
            "and temperature",
            warn=s.dark_gap_warn_counts,
            fail=s.dark_gap_fail_counts,
        ),
        worst(
            "zeros_in_the_dark",
            lambda m: m.dark.at_zero,
            movies.dark,
            "the offset is so low that noise is cut off at 0; raise the camera's offset (baseline, black level)",
            warn=s.at_zero_warn,
            fail=s.at_zero_fail,
        ),
        worst(
            "offset_from_declared_counts",
            lambda m: abs(m.camera.offset_counts - m.sheet.offset_counts),
            movies.dark,
            "the offset is another than declared; check the order of the files and offset_counts, and that it was dark",
            warn=s.offset_warn_counts,
        ),
        worst(
            "gain_from_declared",
            lambda m: _factor(m.camera.electrons_per_count / m.camera.em_gain, m.sheet.electrons_per_count / m.sheet.em_gain),
            movies.bright,
            "the gain is another than declared by this factor; check electrons_per_count and em_gain in the microscope "
            "file, and the gain and readout mode that were set",
            warn=s.gain_warn,
            fail=s.gain_fail,
        ),
        worst(
            "read_noise_from_declared",
            lambda m: min(_factor(m.camera.read_noise_electrons, m.sheet.read_noise_electrons), 1000.0),
            movies.dark,
            "the read noise is another than declared by this factor; check read_noise_electrons (at the output, after the "
            "EM gain), the readout mode, and that it was dark",
            warn=s.read_noise_warn,
        ),
    ]  # fmt: skip
    if any(m.line_without_em for m in measured):
        checks.append(
            worst(
                "excess_noise_from_expected",
                lambda m: _beyond(
                    m.excess_noise / m.camera.excess_noise - 1, m.excess_noise_sd / m.camera.excess_noise
                ),
                movies.without_em,
                "the noise of the EM gain is not 2 − 1/gain; check that both bright movies saw the same light, with the "
                "same exposure, readout speed and pre-amplifier",
                warn=s.excess_noise_warn,
                fail=s.excess_noise_fail,
            )
        )
    return checks


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
    """Rounded to a thousandth of its standard deviation or finer."""
    return float(round(value, max(0, 3 - int(np.floor(np.log10(sd))))))
