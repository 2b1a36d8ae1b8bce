"""Bad pixels of a bead scan: hot pixels, and pixels clipped at a ceiling that no file names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.beads.detection import Beads, BeadSearch, find_beads, noise_model
from planeloc.cameras.camera import Camera

_HOT_SIGMAS = 20.0  # above its surroundings, on every slice
_HOT_ALONE = 0.08  # of its excess that the brightest of four neighbours may have: in focus a bead gives them more
_FEWEST_CLIPPED = 3
_SMALLEST_NOISE_COUNTS = 3.0  # with less, pixels share the largest number by chance
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)


def find_clean_beads(counts: NDArray[np.uint16], camera: Camera, search: BeadSearch) -> Beads:
    """As `find_beads`, in spite of hot pixels (which are masked) and pixels clipped below the camera's saturation."""
    bad = hot_pixels(counts, camera)
    repaired = without(counts, bad)
    full = min(camera.saturation_counts, ceiling_counts(repaired, camera))
    return replace(find_beads(repaired, replace(camera, saturation_counts=full), search), bad=bad)


def hot_pixels(counts: NDArray[np.uint16], camera: Camera) -> NDArray[np.bool_]:
    """(rows, columns) Single pixels that are bright on all slices (slices, rows, columns), among dark neighbours."""
    least = camera.photons(counts.min(axis=0)).astype(np.float64)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    excess = least - around
    sd = np.sqrt(noise_model(camera).variance(np.maximum(around, 0.0)) + camera.photons_per_count**2)
    beside = ndimage.maximum_filter(excess, footprint=_NEIGHBOURS, mode="nearest")
    return (excess > _HOT_SIGMAS * sd) & (beside < _HOT_ALONE * excess + 2 * sd)


def without(counts: NDArray[np.uint16], bad: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """The images with bad pixels replaced by the median of their surroundings."""
    if not bad.any():
        return counts
    repaired = counts.copy()
    for image in repaired:
        image[bad] = ndimage.median_filter(image, size=3, mode="nearest")[bad]
    return repaired


def ceiling_counts(counts: NDArray[np.uint16], camera: Camera) -> float:
    """Count at which the images are clipped, recognized by many pixels at the largest count; infinite if there is none.

    Noise spreads the brightest pixels of good images over many counts: hardly two are equal.
    """
    top = int(counts.max())
    noise = float(np.sqrt(noise_model(camera).variance(np.float64(camera.photons(top))))) / camera.photons_per_count
    if not noise >= _SMALLEST_NOISE_COUNTS:
        return float("inf")
    at_top = np.count_nonzero(counts == top)
    below = np.count_nonzero(counts >= top - noise) - at_top
    clipped = _FEWEST_CLIPPED <= at_top < counts.size / 2 and at_top > below
    return float(top) if clipped else float("inf")
