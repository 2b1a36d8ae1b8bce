"""Quality of a camera calibration: its values, and every check with its thresholds and advice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planeloc.camera_calibration.movie_statistics import CalibrationMovies
from planeloc.camera_calibration.results import CameraMeasurement
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import camera_called
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.io.bead_images import camera_file


def camera_values(measured: Sequence[CameraMeasurement], frames: dict[str, int]) -> dict[str, float]:
    """All quality values by name; names of standard deviations end in `_sd`."""
    values: dict[str, float] = {f"{name}_frames": float(count) for name, count in frames.items()}
    for p, m in enumerate(measured):
        values |= {
            f"camera_{p}_offset_counts": m.camera.offset_counts,
            f"camera_{p}_offset_sd_counts": m.sd["offset_counts"],
            f"camera_{p}_electrons_per_count": m.camera.electrons_per_count,
            f"camera_{p}_electrons_per_count_sd": m.sd["electrons_per_count"],
            f"camera_{p}_em_gain": m.camera.em_gain,
            f"camera_{p}_em_gain_sd": m.sd["em_gain"],
            f"camera_{p}_excess_noise": m.excess_noise,
            f"camera_{p}_excess_noise_sd": m.excess_noise_sd,
            f"camera_{p}_read_noise_electrons": m.camera.read_noise_electrons,
            f"camera_{p}_read_noise_electrons_sd": m.sd["read_noise_electrons"],
            f"camera_{p}_linear_up_to_counts": m.camera.offset_counts + m.line.linear_up_to,
            f"camera_{p}_flicker": m.line.bright.flicker,
            f"camera_{p}_hot_pixel_fraction": float((~m.dark.usable).mean()),
        }
    return values


def _significant(value: float, sd: float) -> float:
    """Absolute value less three standard deviations, at least 0."""
    return max(abs(value) - 3 * sd, 0.0)


def _factor(measured: float, declared: float) -> float:
    """Ratio of the larger to the smaller; 1 if both are 0."""
    low, high = sorted((measured, declared))
    return high / low if low > 0 else (1.0 if high == 0 else float("inf"))


def _checked_values(m: CameraMeasurement) -> dict[str, float]:
    """The values of one camera that are checked."""
    camera, declared, dark, line, bright = m.camera, m.declared, m.dark, m.line, m.line.bright
    electrons, declared_electrons = (c.electrons_per_count / c.em_gain for c in (camera, declared))
    return {
        "gain_relative_sd": m.gain_sd,
        "shot_noise_over_read_noise": float(line.slope * line.linear_up_to / max(dark.read_variance, 1e-9)),
        "saturated_fraction": bright.saturated_fraction,
        "linear_fraction": line.linear_up_to / float(bright.levels.signal[~bright.levels.saturated].max()),
        "curvature": _significant(line.curvature, line.curvature_sd),
        "flicker": bright.flicker,
        "steady_fraction": bright.steady_share,
        "offset_drift_counts": dark.drift_counts,
        "stray_light_counts": m.stray_light_counts,
        "dark_mismatch_counts": _significant(line.dark_gap_counts, line.dark_gap_sd_counts),
        "dark_zero_fraction": dark.zero_share,
        "offset_from_declared_counts": abs(camera.offset_counts - declared.offset_counts),
        "gain_from_declared": _factor(electrons, declared_electrons),
        "read_noise_from_declared": min(_factor(camera.read_noise_electrons, declared.read_noise_electrons), 1000.0),
        "excess_noise_from_expected": _significant(
            m.excess_noise / camera.excess_noise - 1, m.excess_noise_sd / camera.excess_noise
        ),
    }


# The settings that hold the thresholds of every value: for a warning and, if there is one, for a failure.
_THRESHOLDS = {
    "gain_relative_sd": ("gain_sd_warn", "gain_sd_fail"),
    "shot_noise_over_read_noise": ("shot_noise_warn", "shot_noise_fail"),
    "saturated_fraction": ("saturated_warn", "saturated_fail"),
    "linear_fraction": ("linear_warn", "linear_fail"),
    "curvature": ("curvature_warn", "curvature_fail"),
    "flicker": ("flicker_warn",),
    "steady_fraction": ("steady_fail", "steady_fail"),
    "offset_drift_counts": ("offset_drift_warn_counts", "offset_drift_fail_counts"),
    "stray_light_counts": ("stray_light_warn_counts", "stray_light_fail_counts"),
    "dark_mismatch_counts": ("dark_mismatch_warn_counts", "dark_mismatch_fail_counts"),
    "dark_zero_fraction": ("dark_zero_warn", "dark_zero_fail"),
    "offset_from_declared_counts": ("offset_warn_counts",),
    "gain_from_declared": ("gain_warn", "gain_fail"),
    "read_noise_from_declared": ("read_noise_warn",),
    "excess_noise_from_expected": ("excess_noise_warn", "excess_noise_fail"),
}
_SHOULD_BE_LARGE = ("shot_noise_over_read_noise", "linear_fraction", "steady_fraction")

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
    of_cameras = [_checked_values(m) for m in measured]
    with_em = any(m.line_without_em for m in measured)
    for name, names in _THRESHOLDS.items():
        (movie,) = (movie for movie, advice in _ADVICE.items() if name in advice)
        if movie == "without_em" and not with_em:
            continue
        check, worst = (check_at_least, np.argmin) if name in _SHOULD_BE_LARGE else (check_at_most, np.argmax)
        values = [of_camera[name] for of_camera in of_cameras]
        plane = int(worst(values))
        where = f"{camera_called(measured[plane].declared.name)} ({camera_file(getattr(movies, movie), plane)})"
        thresholds = {level: getattr(settings, key) for level, key in zip(("warn", "fail"), names, strict=False)}
        checks.append(check(name, values[plane], f"{where}: {_ADVICE[movie][name]}", **thresholds))
    return checks
