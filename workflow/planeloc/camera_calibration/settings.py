"""Settings of the `cameras` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import threshold

_FRAMES = "number of frames in a movie"
_GAIN_SD = "relative standard deviation of the gain"
_SHOT_NOISE = "ratio of shot noise to read noise (variances) at the highest intensity"
_SATURATED = "fraction of saturated pixels in the bright movie"
_LINEAR = "fraction of the intensity range in which the variance is linear"
_CURVATURE = "nonlinearity of the variance, relative to the shot noise at the highest intensity"
_OFFSET_DRIFT = "drift of the offset during the dark movie"
_STRAY_LIGHT = "residual illumination in the dark movie"
_MISMATCH = "distance of the dark movie from the photon transfer line of the bright movie"
_ZEROS = "fraction of zeros among the dark counts"
_GAIN = "factor between measured and declared gain"
_EXCESS_NOISE = "relative deviation of the excess noise factor from 2 − 1/gain"
_COUNTS = {"unit": "counts", "minimum": 0}


@dataclass(frozen=True)
class CamerasSettings:
    """How good the movies must be, and how far a camera may be from what was declared."""

    minimum_frames: int = threshold(10, "stop below", _FRAMES, minimum=8)
    frames_warn: int = threshold(50, "warn below", _FRAMES, minimum=1)
    gain_sd_warn: float = threshold(0.02, "warn above", _GAIN_SD, minimum=0)
    gain_sd_fail: float = threshold(0.2, "stop above", _GAIN_SD, minimum=0)
    shot_noise_warn: float = threshold(1.0, "warn below", _SHOT_NOISE, minimum=0, was=("light_warn",))
    shot_noise_fail: float = threshold(0.05, "stop below", _SHOT_NOISE, minimum=0, was=("light_fail",))
    saturated_warn: float = threshold(0.01, "warn above", _SATURATED, maximum=1)
    saturated_fail: float = threshold(0.7, "stop above", _SATURATED, maximum=1)
    linear_warn: float = threshold(0.9, "warn below", _LINEAR, maximum=1, was=("straight_warn",))
    linear_fail: float = threshold(0.25, "stop below", _LINEAR, maximum=1, was=("straight_fail",))
    curvature_warn: float = threshold(0.05, "warn above", _CURVATURE, minimum=0)
    curvature_fail: float = threshold(0.3, "stop above", _CURVATURE, minimum=0)
    flicker_warn: float = threshold(
        0.02, "warn above", "relative rms change of the intensity from frame to frame", minimum=0
    )
    steady_fail: float = threshold(0.5, "stop below", "fraction of frame pairs with a steady intensity", maximum=1)
    offset_drift_warn_counts: float = threshold(1.0, "warn above", _OFFSET_DRIFT, was=("drift_warn_counts",), **_COUNTS)
    offset_drift_fail_counts: float = threshold(
        20.0, "stop above", _OFFSET_DRIFT, was=("drift_fail_counts",), **_COUNTS
    )
    stray_light_warn_counts: float = threshold(
        1.0, "warn above", _STRAY_LIGHT, was=("dark_light_warn_counts",), **_COUNTS
    )
    stray_light_fail_counts: float = threshold(
        20.0, "stop above", _STRAY_LIGHT, was=("dark_light_fail_counts",), **_COUNTS
    )
    dark_mismatch_warn_counts: float = threshold(5.0, "warn above", _MISMATCH, was=("dark_gap_warn_counts",), **_COUNTS)
    dark_mismatch_fail_counts: float = threshold(
        100.0, "stop above", _MISMATCH, was=("dark_gap_fail_counts",), **_COUNTS
    )
    dark_zero_warn: float = threshold(0.001, "warn above", _ZEROS, maximum=1, was=("at_zero_warn",))
    dark_zero_fail: float = threshold(0.1, "stop above", _ZEROS, maximum=1, was=("at_zero_fail",))
    offset_warn_counts: float = threshold(
        10.0, "warn above", "difference between measured and declared offset", **_COUNTS
    )
    gain_warn: float = threshold(1.25, "warn above", _GAIN, minimum=1)
    gain_fail: float = threshold(4.0, "stop above", _GAIN, minimum=1)
    read_noise_warn: float = threshold(1.5, "warn above", "factor between measured and declared read noise", minimum=1)
    excess_noise_warn: float = threshold(0.15, "warn above", _EXCESS_NOISE, minimum=0)
    excess_noise_fail: float = threshold(0.3, "stop above", _EXCESS_NOISE, minimum=0)
