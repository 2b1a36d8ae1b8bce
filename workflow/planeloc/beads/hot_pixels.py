"""Hot pixels of a camera, found in a bead scan: single pixels that are bright on every slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.arrays import Counts, Mask

_SIGMAS = 20.0  # above its surroundings, on every slice
_ALONE = 0.08  # of its excess that the brightest of four neighbours may have: in focus a bead gives them more
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)


def hot_pixels(counts: Counts, camera: Camera) -> Mask:
    """(rows, columns) Single pixels that are bright on all slices (slices, rows, columns), among dark neighbours."""
    least = camera.photons(counts.min(axis=0)).astype(np.float64)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    excess = least - around
    sd = np.sqrt(NoiseModel.of(camera).variance(np.maximum(around, 0.0)) + camera.photons_per_count**2)
    beside = ndimage.maximum_filter(excess, footprint=_NEIGHBOURS, mode="nearest")
    return (excess > _SIGMAS * sd) & (beside < _ALONE * excess + 2 * sd)


def without_hot_pixels(counts: Counts, hot: Mask) -> Counts:
    """The images with hot pixels replaced by the median of their surroundings."""
    if not hot.any():
        return counts
    repaired = counts.copy()
    for image in repaired:
        image[hot] = ndimage.median_filter(image, size=3, mode="nearest")[hot]
    return repaired
