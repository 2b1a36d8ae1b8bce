"""Pixels of a bead scan that do not show light: hot ones, and those at a ceiling that no file names."""

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
    """As `find_beads`, whatever pixels are hot or clipped below the camera's saturation; the bad ones are masked."""
    bad = hot_pixels(counts, camera)
    mended = without(counts, bad)
    full = min(camera.saturation_counts, ceiling_counts(mended, camera))
    return replace(find_beads(mended, replace(camera, saturation_counts=full), search), bad=bad)


def hot_pixels(counts: NDArray[np.uint16], camera: Camera) -> NDArray[np.bool_]:
    """(rows, columns) Single pixels that are bright on all slices (slices, rows, columns), alone among dark ones."""
    least = camera.photons(counts.min(axis=0)).astype(np.float64)
    around = ndimage.median_filter(least, size=5, mode="nearest")
    excess = least - around
    sd = np.sqrt(noise_model(camera).variance(np.maximum(around, 0.0)) + camera.photons_per_count**2)
    beside = ndimage.maximum_filter(excess, footprint=_NEIGHBOURS, mode="nearest")
    return (excess > _HOT_SIGMAS * sd) & (beside < _HOT_ALONE * excess + 2 * sd)


def without(counts: NDArray[np.uint16], bad: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """The images with bad pixels replaced by the median of what is around them."""
    if not bad.any():
        return counts
    mended = counts.copy()
    for image in mended:
        image[bad] = ndimage.median_filter(image, size=3, mode="nearest")[bad]
    return mended


def ceiling_counts(counts: NDArray[np.uint16], camera: Camera) -> float:
    """Count at which the images are clipped, as a pile of pixels at the largest number betrays; infinite if none does.

    Noise spreads the brightest pixels of good images over many numbers: hardly two are alike.
    """
    top = int(counts.max())
    noise = float(np.sqrt(noise_model(camera).variance(np.float64(camera.photons(top))))) / camera.photons_per_count
    if not noise >= _SMALLEST_NOISE_COUNTS:
        return float("inf")
    at_top = np.count_nonzero(counts == top)
    below = np.count_nonzero(counts >= top - noise) - at_top
    piled = _FEWEST_CLIPPED <= at_top < counts.size / 2 and at_top > below
    return float(top) if piled else float("inf")
