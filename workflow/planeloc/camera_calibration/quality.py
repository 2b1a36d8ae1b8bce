"""Quality of a camera calibration: its values, and every check with its thresholds and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planeloc.camera_calibration.movie_statistics import CalibrationMovies
from planeloc.camera_calibration.results import CameraMeasurement
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.io.bead_images import camera_file


def camera_values(measured: Sequence[CameraMeasurement], frames: dict[str, int]) -> dict[str, float]:
    """All quality values by name; names of standard deviations end in `_sd`."""
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
            f"camera_{p}_linear_up_to_counts": m.camera.offset_counts + _linear_up_to(m),
            f"camera_{p}_flicker": m.bright.flicker,
            f"camera_{p}_hot_pixel_fraction": float((~m.dark.usable).mean()),
        }
    return values


def _linear_up_to(m: CameraMeasurement) -> float:
    """Brightest level on the line, counts above the offset."""
    return float(m.bright.levels.signal[m.line.used].max())


def _significant(value: float, sd: float) -> float:
    """Absolute value less three standard deviations, at least 0."""
    return max(abs(value) - 3 * sd, 0.0)


def _factor(measured: float, declared: float) -> float:
    """Ratio of the larger to the smaller; 1 if both are 0."""
    low, high = sorted((measured, declared))
    return high / low if low > 0 else (1.0 if high == 0 else float("inf"))


def _electrons(camera: Camera) -> float:
    """Photoelectrons per count."""
    return camera.electrons_per_count / camera.em_gain


def _shot_over_read_noise(m: CameraMeasurement) -> float:
    return float(m.line.slope * _linear_up_to(m) / max(m.dark.read_variance, 1e-9))


def _linear_share(m: CameraMeasurement) -> float:
    return _linear_up_to(m) / float(m.bright.levels.signal[~m.bright.levels.saturated].max())


def _curvature(m: CameraMeasurement) -> float:
    return _significant(m.line.curvature, m.line.curvature_sd)


def _dark_gap(m: CameraMeasurement) -> float:
    return _significant(m.line.dark_gap_counts, m.line.dark_gap_sd_counts)


def _offset_error(m: CameraMeasurement) -> float:
    return abs(m.camera.offset_counts - m.declared.offset_counts)


def _gain_factor(m: CameraMeasurement) -> float:
    return _factor(_electrons(m.camera), _electrons(m.declared))


def _read_noise_factor(m: CameraMeasurement) -> float:
    return min(_factor(m.camera.read_noise_electrons, m.declared.read_noise_electrons), 1000.0)


def _excess_noise_error(m: CameraMeasurement) -> float:
    expected = m.camera.excess_noise
    return _significant(m.excess_noise / expected - 1, m.excess_noise_sd / expected)


@dataclass(frozen=True)
class _CameraCheck:
    """A value of every camera, of which the worst counts, and the settings that hold its thresholds."""

    name: str
    value: Callable[[CameraMeasurement], float]
    warn: str
    fail: str = ""
    at_least: bool = False


_CHECKS = (
    _CameraCheck("gain_relative_sd", lambda m: m.gain_sd, "gain_sd_warn", "gain_sd_fail"),
    _CameraCheck(
        "shot_noise_over_read_noise", _shot_over_read_noise, "shot_noise_warn", "shot_noise_fail", at_least=True
    ),
    _CameraCheck("saturated_fraction", lambda m: m.bright.saturated_share, "saturated_warn", "saturated_fail"),
    _CameraCheck("linear_fraction", _linear_share, "linear_warn", "linear_fail", at_least=True),
    _CameraCheck("curvature", _curvature, "curvature_warn", "curvature_fail"),
    _CameraCheck("flicker", lambda m: m.bright.flicker, "flicker_warn"),
    _CameraCheck("steady_fraction", lambda m: m.bright.steady_share, "steady_fail", "steady_fail", at_least=True),
    _CameraCheck(
        "offset_drift_counts", lambda m: m.dark.drift_counts, "offset_drift_warn_counts", "offset_drift_fail_counts"
    ),
    _CameraCheck(
        "stray_light_counts", lambda m: m.stray_light_counts, "stray_light_warn_counts", "stray_light_fail_counts"
    ),
    _CameraCheck("dark_mismatch_counts", _dark_gap, "dark_mismatch_warn_counts", "dark_mismatch_fail_counts"),
    _CameraCheck("dark_zero_fraction", lambda m: m.dark.zero_share, "dark_zero_warn", "dark_zero_fail"),
    _CameraCheck("offset_from_declared_counts", _offset_error, "offset_warn_counts"),
    _CameraCheck("gain_from_declared", _gain_factor, "gain_warn", "gain_fail"),
    _CameraCheck("read_noise_from_declared", _read_noise_factor, "read_noise_warn"),
    _CameraCheck("excess_noise_from_expected", _excess_noise_error, "excess_noise_warn", "excess_noise_fail"),
)

# By the field of `CalibrationMovies` that holds the movie to correct.
_ADVICE = {
    "bright": {
        "gain_relative_sd": "the gain is imprecise; record more frames, or use a brighter lamp",
        "shot_noise_over_read_noise": "the shot noise is small compared with the read noise; use a brighter lamp or a "
        "longer exposure",
        "saturated_fraction": "pixels are saturated and were excluded; use a dimmer lamp or a shorter exposure",
        "linear_fraction": "above a level the variance is not linear, as near saturation; use a dimmer lamp, and check "
        "saturation_counts in the microscope file",
        "curvature": "variance and signal are not proportional: the camera is not linear, or its driver corrects or "
        "filters the counts; switch such functions off",
        "flicker": "the lamp flickers (this was corrected); use a steadier lamp, or exposures that are multiples of "
        "the mains period",
        "steady_fraction": "the intensity changes between most frames; use a steadier lamp, or keep each intensity "
        "for 20 frames or more",
        "gain_from_declared": "the gain differs from the declared one by this factor; check electrons_per_count and "
        "em_gain in the microscope file, and the gain and readout mode that were set",
    },
    "dark": {
        "offset_drift_counts": "the offset drifts, as while a camera warms up; wait until its temperature is stable "
        "and record the dark movie again",
        "stray_light_counts": "the dark movie contains stray light; close the shutter, cover the camera, and "
        "record the dark movie again",
        "dark_mismatch_counts": "the dark movie does not match the bright one; record both with the same exposure "
        "time, gain, readout speed and temperature",
        "dark_zero_fraction": "the offset is so low that noise is clipped at 0; raise the camera's offset (baseline, "
        "black level)",
        "offset_from_declared_counts": "the offset differs from the declared one; check the order of the files, "
        "offset_counts, and that the shutter was closed",
        "read_noise_from_declared": "the read noise differs from the declared one by this factor; check "
        "read_noise_electrons (at the output, after the EM gain), the readout mode, and that the shutter was closed",
    },
    "without_em": {
        "excess_noise_from_expected": "the excess noise is not 2 − 1/gain; check that both bright movies had the same "
        "illumination, exposure, readout speed and pre-amplifier",
    },
}


def camera_checks(
    measured: Sequence[CameraMeasurement], movies: CalibrationMovies, frames: dict[str, int], settings: CamerasSettings
) -> list[Check]:
    """One check per subject, of the worst camera; the advice names that camera and its file."""
    few = float(min(frames.values()))
    checks = [check_at_least("frames", few, "few frames; record 100 of each movie", warn=settings.frames_warn)]
    with_em = any(m.line_without_em for m in measured)
    for check in _CHECKS if with_em else _CHECKS[:-1]:
        values = [check.value(m) for m in measured]
        plane = int(np.argmin(values) if check.at_least else np.argmax(values))
        (movie,) = (movie for movie, advice in _ADVICE.items() if check.name in advice)
        where = f"camera {measured[plane].declared.name} ({camera_file(getattr(movies, movie), plane)})"
        thresholds = {"warn": getattr(settings, check.warn)}
        if check.fail:
            thresholds["fail"] = getattr(settings, check.fail)
        verdict = check_at_least if check.at_least else check_at_most
        checks.append(verdict(check.name, values[plane], f"{where}: {_ADVICE[movie][check.name]}", **thresholds))
    return checks
