"""Quality of a camera calibration: its values, and every check with its thresholds and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planeloc.beads.detection import camera_file
from planeloc.camera_calibration.movie_statistics import CalibrationMovies
from planeloc.camera_calibration.results import CameraMeasurement
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.core.checks import Check, check_at_least, check_at_most


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
            f"camera_{p}_hot_pixels": float((~m.dark.usable).mean()),
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


@dataclass(frozen=True)
class _CameraCheck:
    """A check of every camera; the worst one counts."""

    name: str
    value: Callable[[CameraMeasurement], float]
    movie: str  # field of `CalibrationMovies` that the advice names
    advice: str
    warn: str  # settings that hold the thresholds
    fail: str = ""
    at_least: bool = False

    def of(self, measured: Sequence[CameraMeasurement], movies: CalibrationMovies, settings: CamerasSettings) -> Check:
        values = [self.value(m) for m in measured]
        plane = int(np.argmin(values) if self.at_least else np.argmax(values))
        file = camera_file(getattr(movies, self.movie), plane)
        thresholds = {"warn": getattr(settings, self.warn)}
        if self.fail:
            thresholds["fail"] = getattr(settings, self.fail)
        check = check_at_least if self.at_least else check_at_most
        advice = f"camera {measured[plane].declared.name} ({file}): {self.advice}"
        return check(self.name, values[plane], advice, **thresholds)


_CHECKS = (
    _CameraCheck(
        "relative_sd_of_the_gain",
        lambda m: m.gain_sd,
        "bright",
        "the gain is imprecise; record more frames, or use a brighter lamp",
        "gain_sd_warn",
        "gain_sd_fail",
    ),
    _CameraCheck(
        "shot_noise_over_read_noise",
        lambda m: float(m.line.slope * _linear_up_to(m) / max(m.dark.read_variance, 1e-9)),
        "bright",
        "the shot noise is too small compared with the read noise; use a brighter lamp or a longer exposure",
        "light_warn",
        "light_fail",
        at_least=True,
    ),
    _CameraCheck(
        "saturated_share",
        lambda m: m.bright.saturated_share,
        "bright",
        "pixels are saturated and were excluded; use a dimmer lamp or a shorter exposure",
        "saturated_warn",
        "saturated_fail",
    ),
    _CameraCheck(
        "straight_share",
        lambda m: _linear_up_to(m) / float(m.bright.levels.signal[~m.bright.levels.saturated].max()),
        "bright",
        "above a level the variance is not linear, as near saturation; use a dimmer lamp, and check saturation_counts "
        "in the microscope file",
        "straight_warn",
        "straight_fail",
        at_least=True,
    ),
    _CameraCheck(
        "curvature",
        lambda m: _significant(m.line.curvature, m.line.curvature_sd),
        "bright",
        "variance and signal are not proportional: the camera is not linear, or its driver corrects or filters the "
        "counts; switch such functions off",
        "curvature_warn",
        "curvature_fail",
    ),
    _CameraCheck(
        "flicker",
        lambda m: m.bright.flicker,
        "bright",
        "the lamp flickers (this was corrected); use a steadier lamp, or exposures that are multiples of the mains "
        "period",
        "flicker_warn",
    ),
    _CameraCheck(
        "steady_share",
        lambda m: m.bright.steady_share,
        "bright",
        "the intensity changes between most frames; use a steadier lamp, or keep each intensity for 20 frames or more",
        "steady_fail",
        "steady_fail",
        at_least=True,
    ),
    _CameraCheck(
        "offset_drift_counts",
        lambda m: m.dark.drift_counts,
        "dark",
        "the offset drifts, as while a camera warms up; wait until its temperature is stable and record the dark movie "
        "again",
        "drift_warn_counts",
        "drift_fail_counts",
    ),
    _CameraCheck(
        "light_in_the_dark_counts",
        lambda m: m.stray_light_counts,
        "dark",
        "the dark movie contains stray light; close the shutter, cover the camera, and record the dark movie again",
        "dark_light_warn_counts",
        "dark_light_fail_counts",
    ),
    _CameraCheck(
        "dark_off_the_line_counts",
        lambda m: _significant(m.line.dark_gap_counts, m.line.dark_gap_sd_counts),
        "dark",
        "the dark movie does not match the bright one; record both with the same exposure time, gain, readout speed "
        "and temperature",
        "dark_gap_warn_counts",
        "dark_gap_fail_counts",
    ),
    _CameraCheck(
        "zeros_in_the_dark",
        lambda m: m.dark.zero_share,
        "dark",
        "the offset is so low that noise is clipped at 0; raise the camera's offset (baseline, black level)",
        "at_zero_warn",
        "at_zero_fail",
    ),
    _CameraCheck(
        "offset_from_declared_counts",
        lambda m: abs(m.camera.offset_counts - m.declared.offset_counts),
        "dark",
        "the offset differs from the declared one; check the order of the files, offset_counts, and that the shutter "
        "was closed",
        "offset_warn_counts",
    ),
    _CameraCheck(
        "gain_from_declared",
        lambda m: _factor(_electrons(m.camera), _electrons(m.declared)),
        "bright",
        "the gain differs from the declared one by this factor; check electrons_per_count and em_gain in the "
        "microscope file, and the gain and readout mode that were set",
        "gain_warn",
        "gain_fail",
    ),
    _CameraCheck(
        "read_noise_from_declared",
        lambda m: min(_factor(m.camera.read_noise_electrons, m.declared.read_noise_electrons), 1000.0),
        "dark",
        "the read noise differs from the declared one by this factor; check read_noise_electrons (at the output, after "
        "the EM gain), the readout mode, and that the shutter was closed",
        "read_noise_warn",
    ),
)
_EM_CHECK = _CameraCheck(
    "excess_noise_from_expected",
    lambda m: _significant(m.excess_noise / m.camera.excess_noise - 1, m.excess_noise_sd / m.camera.excess_noise),
    "without_em",
    "the excess noise is not 2 − 1/gain; check that both bright movies had the same illumination, exposure, readout "
    "speed and pre-amplifier",
    "excess_noise_warn",
    "excess_noise_fail",
)


def camera_checks(
    measured: Sequence[CameraMeasurement],
    movies: CalibrationMovies,
    frames: dict[str, int],
    settings: CamerasSettings,
) -> list[Check]:
    """One check per subject, of the worst camera; the advice names that camera and its file."""
    few = float(min(frames.values()))
    checks = [check_at_least("frames", few, "few frames; record 100 of each movie", warn=settings.frames_warn)]
    with_em = (_EM_CHECK,) if any(m.line_without_em for m in measured) else ()
    return checks + [check.of(measured, movies, settings) for check in (*_CHECKS, *with_em)]
