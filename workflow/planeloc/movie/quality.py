"""Statistics of the counts of a movie, and verdicts on every camera.

They reveal a camera that dropped out or is described wrongly before localization.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import Check, check_at_most
from planeloc.movie.noise_check import PlaneNoise, noise_checks
from planeloc.movie.settings import ConvertSettings


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

    @classmethod
    def join(cls, surveys: list[Survey]) -> Survey:
        """The survey of all frames, from those of consecutive frames in order."""
        return cls(*(np.concatenate([vars(survey)[f.name] for survey in surveys]) for f in fields(cls)))


def camera_statistics(survey: Survey, microscope: Microscope, frame_pixels: int) -> list[dict[str, Any]]:
    """Statistics of every camera for the manifest; `frame_pixels` is the number of pixels of a frame."""
    pixels = len(survey.total) * frame_pixels
    return [
        {
            "camera": camera.name,
            "lowest_counts": int(survey.lowest[:, plane].min()),
            "mean_counts": round(float(survey.total[:, plane].sum() / pixels), 3),
            "highest_counts": int(survey.highest[:, plane].max()),
            "saturated_fraction": float(survey.saturated[:, plane].sum() / pixels),
            "frames_without_contrast": len(_flat_frames(survey, plane)),
        }
        for plane, camera in enumerate(microscope.cameras)
    ]


def _flat_frames(survey: Survey, plane: int) -> NDArray[np.int64]:
    """Frames of a camera without any contrast."""
    return np.flatnonzero(survey.lowest[:, plane] == survey.highest[:, plane])


def plane_checks(
    statistics: dict[str, Any], noise: PlaneNoise, camera: Camera, plane: int, settings: ConvertSettings
) -> list[Check]:
    """Verdicts on one camera."""
    saturated = check_at_most(
        f"camera_{plane}_saturated_fraction",
        statistics["saturated_fraction"],
        f"camera {camera.name}: {100 * statistics['saturated_fraction']:.3g} % of the pixels are saturated "
        f"(at or above {camera.saturation_counts:g} counts); reduce the laser power or the gain",
        warn=settings.saturated_warn,
    )
    from_noise = noise_checks(
        noise,
        camera,
        plane,
        ratio=settings.noise_warn,
        below_counts=settings.below_offset_warn_counts,
        duplicates=settings.duplicates_warn,
    )
    return [saturated, *from_noise]


def dropped_frames(survey: Survey, plane: int, camera: Camera) -> list[str]:
    """A warning if frames of a camera have no contrast."""
    flat = _flat_frames(survey, plane)
    if not len(flat):
        return []
    return [
        f"camera {camera.name}: {len(flat)} frame(s) without any contrast, the first is frame {flat[0]}; check whether "
        "the camera lost its connection or its trigger"
    ]
