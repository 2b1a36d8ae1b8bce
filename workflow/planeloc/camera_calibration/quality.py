"""How good a camera calibration is: its quality values, and each against its threshold with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planeloc.camera_calibration.photon_transfer import Measurement
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.io.bead_images import camera_file


@dataclass(frozen=True)
class Movies:
    """The files of each movie, in the microscope's layout; `without_em` may be empty."""

    dark: list[Path]
    bright: list[Path]
    without_em: list[Path]


def camera_values(measured: Sequence[Measurement], frames: dict[str, int]) -> dict[str, float]:
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


def _electrons(camera: Camera) -> float:
    """Photoelectrons per count."""
    return camera.electrons_per_count / camera.em_gain


def camera_checks(
    measured: Sequence[Measurement], movies: Movies, frames: dict[str, int], s: CamerasSettings
) -> list[Check]:
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
            "the dark movie shows the bright one's light; close the shutter, cover the camera, and record the dark "
            "again",
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
            lambda m: _factor(_electrons(m.camera), _electrons(m.sheet)),
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
            "the read noise is another than declared by this factor; check read_noise_electrons (at the output, after "
            "the EM gain), the readout mode, and that it was dark",
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
                "the noise of the EM gain is not 2 − 1/gain; check that both bright movies saw the same light, with "
                "the same exposure, readout speed and pre-amplifier",
                warn=s.excess_noise_warn,
                fail=s.excess_noise_fail,
            )
        )
    return checks
