"""Statistics of the counts of a movie, and verdicts on every camera.

They reveal a camera that dropped out or is described wrongly before localization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera, camera_called
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import Check, check_at_most
from planeloc.movie.noise_check import PlaneNoise
from planeloc.movie.settings import ConvertSettings

_DARKEST_BIAS = 0.1  # times the read noise: bias by selecting the darkest pixels
_EM_RATIO = 10.0  # noise this many times the declared variance, without EM gain: it was on


@dataclass(frozen=True)
class Survey:
    """What the counts of consecutive frames show; arrays (frames, planes)."""

    lowest: NDArray[np.uint16]
    highest: NDArray[np.uint16]
    total: NDArray[np.uint64]  # sum of the counts
    saturated: NDArray[np.int64]  # pixels

    @classmethod
    def of(cls, counts: NDArray[np.uint16], limits: NDArray[np.float64]) -> Survey:
        """Measure counts (frames, planes, height, width); `limits` are the cameras' saturation counts."""
        images = counts.reshape(*counts.shape[:2], -1)
        highest = images.max(axis=2)
        saturated = np.zeros(highest.shape, dtype=np.int64)
        for at in np.argwhere(highest >= limits):  # rare: most frames have no saturated pixel to count
            saturated[*at] = np.count_nonzero(images[*at] >= limits[at[1]])
        return cls(images.min(axis=2), highest, images.sum(axis=2, dtype=np.uint64), saturated)

    def of_plane(self, plane: int, frames: int) -> Survey:
        """One camera's first frames."""
        return Survey(*(vars(self)[f.name][:frames, plane, None] for f in fields(self)))

    @classmethod
    def join(cls, surveys: list[Survey]) -> Survey:
        """The survey of all frames, from those of consecutive frames in order."""
        return cls(*(np.concatenate([vars(survey)[f.name] for survey in surveys]) for f in fields(cls)))


def camera_statistics(
    survey: Survey, microscope: Microscope, frame_pixels: int, recorded: Sequence[int]
) -> list[dict[str, Any]]:
    """Statistics of every camera for the manifest.

    `frame_pixels` is the number of pixels of a frame, `recorded` the number of frames of every camera.
    """
    statistics = []
    for plane, camera in enumerate(microscope.cameras):
        own, pixels = survey.of_plane(plane, recorded[plane]), recorded[plane] * frame_pixels
        statistics.append(
            {
                "camera": camera.name,
                "lowest_counts": int(own.lowest.min()),
                "mean_counts": round(float(own.total.sum() / pixels), 3),
                "highest_counts": int(own.highest.max()),
                "saturated_fraction": float(own.saturated.sum() / pixels),
                "frames_without_contrast": len(_flat_frames(own)),
            }
        )
    return statistics


def _flat_frames(survey: Survey) -> NDArray[np.int64]:
    """Frames of the survey of one camera without any contrast."""
    return np.flatnonzero(survey.lowest[:, 0] == survey.highest[:, 0])


def noise_values(found: Sequence[PlaneNoise]) -> dict[str, float]:
    """Quality values of a movie by name."""
    values = {}
    for p, noise in enumerate(found):
        values |= {
            f"camera_{p}_noise_ratio": noise.ratio,
            f"camera_{p}_background_counts": noise.level_counts,
            f"camera_{p}_darkest_above_offset_counts": noise.darkest_counts,
            f"camera_{p}_duplicate_frames_fraction": noise.duplicates,
        }
    return values


def plane_checks(
    saturated: float, noise: PlaneNoise, camera: Camera, plane: int, settings: ConvertSettings
) -> list[Check]:
    """Verdicts on one camera, of which the fraction `saturated` of the pixels is; none of them stops a run."""

    def at_most(name: str, value: float, warn: float, advice: str) -> Check:
        return check_at_most(f"camera_{plane}_{name}", value, f"{camera_called(camera.name)}: {advice}", warn=warn)

    below = -noise.darkest_counts - _DARKEST_BIAS * camera.read_noise_electrons / camera.electrons_per_count
    checks = [
        at_most(
            "saturated_fraction",
            saturated,
            settings.saturated_warn,
            f"{100 * saturated:.3g} % of the pixels are saturated (at or above {camera.saturation_counts:g} counts); "
            "reduce the laser power or the gain",
        ),
        at_most(
            "below_offset_counts",
            max(below, 0.0),
            settings.below_offset_warn_counts,
            f"the background (about {noise.level_counts:.4g} counts) reaches {-noise.darkest_counts:.3g} counts below "
            f"the declared offset of {camera.offset_counts:g}; correct offset_counts in the microscope file",
        ),
        at_most(
            "duplicate_frames_fraction",
            noise.duplicates,
            settings.duplicates_warn,
            f"{100 * noise.duplicates:.3g} % of the frames repeat the previous one; was the movie recorded faster than "
            "the camera delivers frames?",
        ),
    ]
    if np.isfinite(noise.ratio):
        forgotten = camera.em_gain <= 1 and noise.ratio > _EM_RATIO
        advice = (
            f"the variance of the movie's noise is {noise.ratio:.3g} times the declared; check offset_counts, "
            f"electrons_per_count, em_gain{' (was it on?)' if forgotten else ''} and read_noise_electrons in the "
            "microscope file, or measure them (dark and bright movies)"
        )
        off = max(noise.ratio, 1 / max(noise.ratio, 1e-6))
        checks.append(at_most("noise_factor_from_declared", off, settings.noise_warn, advice))
    return checks


def shorter_cameras(recorded: Sequence[int], microscope: Microscope) -> list[str]:
    """A warning for every camera that recorded fewer frames than the longest."""
    longest = max(recorded)
    return [
        f"camera {camera.name}: {frames} frames, {longest - frames} fewer than the longest; moments without an image "
        "of every camera are left out, and synchronize finds whether it started late or ended early"
        for camera, frames in zip(microscope.cameras, recorded, strict=True)
        if frames < longest
    ]


def dropped_frames(survey: Survey, camera: Camera) -> list[str]:
    """A warning if frames of a camera, of which this is the survey, have no contrast."""
    flat = _flat_frames(survey)
    if not len(flat):
        return []
    return [
        f"{camera_called(camera.name)}: {len(flat)} frame(s) without any contrast, the first is frame {flat[0]}; "
        "check whether "
        "the camera lost its connection or its trigger"
    ]
