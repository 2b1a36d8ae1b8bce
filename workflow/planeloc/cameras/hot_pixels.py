"""Hot pixels of a camera: single pixels that are much brighter than the light on them explains.

There are two criteria, since two kinds of images show them. In a dark movie, every pixel that stands out from the
distribution of all is hot. In a bead scan, beads stand out, too; but they also shine on neighbouring pixels, and not on
every slice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.arrays import Counts, Mask

_DARK_SIGMAS = 10.0  # above the median of the sensor, of the fixed pattern
_SCAN_SIGMAS = 20.0  # above its surroundings, on every slice, of the noise
_ALONE = 0.08  # of its excess that the brightest of four neighbours may have: in focus a bead gives them more
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)


def hot_in_dark_movie(mean: NDArray[np.float64]) -> Mask:
    """Return the hot pixels (rows, columns) of a camera from the mean of a dark movie, counts."""
    pattern = mean - np.median(mean)
    return pattern > _DARK_SIGMAS * 1.4826 * np.median(np.abs(pattern)) + 1


def hot_in_bead_scan(counts: Counts, camera: Camera) -> Mask:
    """Return the pixels that are bright on all slices (slices, rows, columns), among dark neighbours."""
    least = camera.photons(counts.min(axis=0)).astype(np.float64)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    excess = least - around
    sd = np.sqrt(NoiseModel.of(camera).variance(np.maximum(around, 0.0)) + camera.photons_per_count**2)
    beside = ndimage.maximum_filter(excess, footprint=_NEIGHBOURS, mode="nearest")
    return (excess > _SCAN_SIGMAS * sd) & (beside < _ALONE * excess + 2 * sd)


def without_hot_pixels(counts: Counts, hot: Mask) -> Counts:
    """Return the images with hot pixels replaced by the median of their surroundings."""
    if not hot.any():
        return counts
    repaired = counts.copy()
    for image in repaired:
        image[hot] = ndimage.median_filter(image, size=3, mode="nearest")[hot]
    return repaired
