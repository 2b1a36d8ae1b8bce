"""Settings of the `cameras` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import threshold


@dataclass(frozen=True)
class CamerasSettings:
    """How good the movies must be, and how far a camera may be from what was declared."""

    minimum_frames: int = threshold(10, "stop below", "number of frames in a movie", minimum=8)
    frames_warn: int = threshold(50, "warn below", "number of frames in a movie", minimum=1)
    gain_sd_warn: float = threshold(0.02, "warn above", "relative standard deviation of the gain", minimum=0)
    gain_sd_fail: float = threshold(0.2, "stop above", "relative standard deviation of the gain", minimum=0)
    shot_noise_warn: float = threshold(
        1.0,
        "warn below",
        "ratio of shot noise to read noise (variances) at the highest intensity",
        minimum=0,
        was=("light_warn",),
    )
    shot_noise_fail: float = threshold(
        0.05,
        "stop below",
        "ratio of shot noise to read noise (variances) at the highest intensity",
        minimum=0,
        was=("light_fail",),
    )
    saturated_warn: float = threshold(0.01, "warn above", "fraction of saturated pixels in the bright movie", maximum=1)
    saturated_fail: float = threshold(0.7, "stop above", "fraction of saturated pixels in the bright movie", maximum=1)
    linear_warn: float = threshold(
        0.9,
        "warn below",
        "fraction of the intensity range in which the variance is linear",
        maximum=1,
        was=("straight_warn",),
    )
    linear_fail: float = threshold(
        0.25,
        "stop below",
        "fraction of the intensity range in which the variance is linear",
        maximum=1,
        was=("straight_fail",),
    )
    curvature_warn: float = threshold(
        0.05,
        "warn above",
        "nonlinearity of the variance, relative to the shot noise at the highest intensity",
        minimum=0,
    )
    curvature_fail: float = threshold(
        0.3,
        "stop above",
        "nonlinearity of the variance, relative to the shot noise at the highest intensity",
        minimum=0,
    )
    flicker_warn: float = threshold(
        0.02, "warn above", "relative rms change of the intensity from frame to frame", minimum=0
    )
    steady_fail: float = threshold(0.5, "stop below", "fraction of frame pairs with a steady intensity", maximum=1)
    offset_drift_warn_counts: float = threshold(
        1.0,
        "warn above",
        "drift of the offset during the dark movie",
        unit="counts",
        minimum=0,
        was=("drift_warn_counts",),
    )
    offset_drift_fail_counts: float = threshold(
        20.0,
        "stop above",
        "drift of the offset during the dark movie",
        unit="counts",
        minimum=0,
        was=("drift_fail_counts",),
    )
    stray_light_warn_counts: float = threshold(
        1.0,
        "warn above",
        "residual illumination in the dark movie",
        unit="counts",
        minimum=0,
        was=("dark_light_warn_counts",),
    )
    stray_light_fail_counts: float = threshold(
        20.0,
        "stop above",
        "residual illumination in the dark movie",
        unit="counts",
        minimum=0,
        was=("dark_light_fail_counts",),
    )
    dark_mismatch_warn_counts: float = threshold(
        5.0,
        "warn above",
        "distance of the dark movie from the photon transfer line of the bright movie",
        unit="counts",
        minimum=0,
        was=("dark_gap_warn_counts",),
    )
    dark_mismatch_fail_counts: float = threshold(
        100.0,
        "stop above",
        "distance of the dark movie from the photon transfer line of the bright movie",
        unit="counts",
        minimum=0,
        was=("dark_gap_fail_counts",),
    )
    dark_zero_warn: float = threshold(
        0.001, "warn above", "fraction of zeros among the dark counts", maximum=1, was=("at_zero_warn",)
    )
    dark_zero_fail: float = threshold(
        0.1, "stop above", "fraction of zeros among the dark counts", maximum=1, was=("at_zero_fail",)
    )
    offset_warn_counts: float = threshold(
        10.0, "warn above", "difference between measured and declared offset", unit="counts", minimum=0
    )
    gain_warn: float = threshold(1.25, "warn above", "factor between measured and declared gain", minimum=1)
    gain_fail: float = threshold(4.0, "stop above", "factor between measured and declared gain", minimum=1)
    read_noise_warn: float = threshold(1.5, "warn above", "factor between measured and declared read noise", minimum=1)
    excess_noise_warn: float = threshold(
        0.15, "warn above", "relative deviation of the excess noise factor from 2 − 1/gain", minimum=0
    )
    excess_noise_fail: float = threshold(
        0.3, "stop above", "relative deviation of the excess noise factor from 2 − 1/gain", minimum=0
    )
