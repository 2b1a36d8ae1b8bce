"""Hot pixels are distinguished from beads, and replaced by their surroundings."""

import numpy as np

from planeloc.beads.hot_pixels import hot_pixels, without_hot_pixels
from planeloc.cameras.camera import Camera

CAMERA = Camera(offset_counts=100, electrons_per_count=1)


def test_a_hot_pixel_is_found_and_a_bead_is_not() -> None:
    rows, columns = np.mgrid[:20, :30]
    bead = 500 * np.exp(-((rows - 10) ** 2 + (columns - 8) ** 2) / 4)
    counts = np.random.default_rng(0).poisson(110 + bead, (5, 20, 30)).astype(np.uint16)
    clean = counts.copy()
    counts[:, 4, 22] = 1000
    hot = hot_pixels(counts, CAMERA)
    assert [tuple(place) for place in np.argwhere(hot)] == [(4, 22)]
    repaired = without_hot_pixels(counts, hot)
    assert repaired[:, 4, 22].max() < 150
    assert np.array_equal(repaired[:, ~hot], clean[:, ~hot])
