"""Settings of the `cameras` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


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
        0.3, "Relative difference of the excess noise from 2 − 1/gain that stops.", minimum=0
    )
