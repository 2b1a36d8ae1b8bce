"""A bead scanned through focus on one plane, and where its image lies."""

from __future__ import annotations

import numpy as np


def gaussian_stack(slices=41, size=31, step_nm=100.0, fine_nm=65.0, centre=(15.9, 15.2)) -> np.ndarray:
    """A bead whose squared width is 120² (1 + (Δz/350)²), offset 100, in focus at slice 20.3."""
    at = np.arange(size) + 0.5
    stack = np.empty((slices, size, size))
    for i in range(slices):
        width = 120 * np.sqrt(1 + ((i - 20.3) * step_nm / 350) ** 2) / fine_nm
        profiles = [np.exp(-0.5 * ((at - c) / width) ** 2) / (width * np.sqrt(2 * np.pi)) for c in centre]
        stack[i] = 100 + 20 + 500_000 * np.outer(profiles[1], profiles[0])
    return np.rint(stack).astype(np.uint16)


def centroid_px(image: np.ndarray) -> np.ndarray:
    """Centroid (x, y) of an image from its outer corner."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
