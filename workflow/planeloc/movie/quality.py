"""Statistics of the counts of a movie, and verdicts on every camera.

They reveal a camera that dropped out or is described wrongly before localization.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """Counts of consecutive frames; arrays per plane."""

    frames: int
    lowest: NDArray[np.uint16]
    highest: NDArray[np.uint16]
    total: NDArray[np.uint64]  # sum of the counts
    saturated: NDArray[np.int64]  # pixels
    flat: NDArray[np.int64]  # frames without any contrast
    first_flat: NDArray[np.int64]  # the first of them; undefined where flat is 0


def survey(counts: NDArray[np.uint16], limits: NDArray[np.float64]) -> Survey:
    """Measure counts (frames, planes, height, width); `limits` are the cameras' saturation counts."""
    images = counts.reshape(*counts.shape[:2], -1)
    lowest, highest = images.min(axis=2), images.max(axis=2)
    saturated = np.zeros(len(limits), dtype=np.int64)
    for frame, plane in np.argwhere(highest >= limits):  # rare: most frames have no saturated pixel to count
        saturated[plane] += np.count_nonzero(images[frame, plane] >= limits[plane])
    flat = lowest == highest
    return Survey(
        len(counts),
        lowest.min(axis=0),
        highest.max(axis=0),
        images.sum(axis=2, dtype=np.uint64).sum(axis=0),
        saturated,
        flat.sum(axis=0),
        flat.argmax(axis=0),
    )


def joined(surveys: list[Survey]) -> Survey:
    """The survey of all frames, from surveys of consecutive frames in order."""
    frames = np.array([survey.frames for survey in surveys])
    flat = np.array([survey.flat for survey in surveys])
    first_flat = (np.cumsum(frames) - frames)[:, None] + [survey.first_flat for survey in surveys]
    return Survey(
        int(frames.sum()),
        np.min([survey.lowest for survey in surveys], axis=0),
        np.max([survey.highest for survey in surveys], axis=0),
        np.sum([survey.total for survey in surveys], axis=0),
        np.sum([survey.saturated for survey in surveys], axis=0),
        flat.sum(axis=0),
        np.take_along_axis(first_flat, (flat > 0).argmax(axis=0)[None], axis=0)[0],
    )


def camera_statistics(whole: Survey, microscope: Microscope, pixels: int) -> list[dict[str, Any]]:
    """Statistics of every camera for the manifest; `pixels` counts those of one camera in all frames."""
    return [
        {
            "camera": camera.name,
            "lowest_counts": int(whole.lowest[plane]),
            "mean_counts": round(float(whole.total[plane] / pixels), 3),
            "highest_counts": int(whole.highest[plane]),
            "saturated_fraction": float(whole.saturated[plane] / pixels),
            "frames_without_contrast": int(whole.flat[plane]),
        }
        for plane, camera in enumerate(microscope.cameras)
    ]


def plane_checks(
    statistics: dict[str, Any], noise: PlaneNoise, camera: Camera, plane: int, settings: ConvertSettings
) -> list[Check]:
    """Verdicts on one camera."""
    saturated = check_at_most(
        f"camera_{plane}_saturated_share",
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


def dropped_frames(whole: Survey, plane: int, camera: Camera) -> list[str]:
    """A warning if frames of a camera have no contrast."""
    if not whole.flat[plane]:
        return []
    return [
        f"camera {camera.name}: {whole.flat[plane]} frame(s) without any contrast, the first is frame "
        f"{whole.first_flat[plane]}; did the camera drop out?"
    ]
