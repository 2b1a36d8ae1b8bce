"""Hot pixels are distinguished from beads, and replaced by their surroundings."""

import numpy as np

from planeloc.cameras.camera import Camera
from planeloc.cameras.hot_pixels import hot_in_bead_scan, hot_in_dark_movie, without_hot_pixels

CAMERA = Camera(offset_counts=100, electrons_per_count=1)


def test_a_hot_pixel_is_found_and_a_bead_is_not() -> None:
    rows, columns = np.mgrid[:20, :30]
    bead = 500 * np.exp(-((rows - 10) ** 2 + (columns - 8) ** 2) / 4)
    counts = np.random.default_rng(0).poisson(110 + bead, (5, 20, 30)).astype(np.uint16)
    clean = counts.copy()
    counts[:, 4, 22] = 1000
    hot = hot_in_bead_scan(counts, CAMERA)
    assert [tuple(place) for place in np.argwhere(hot)] == [(4, 22)]
    repaired = without_hot_pixels(counts, hot)
    assert repaired[:, 4, 22].max() < 150
    assert np.array_equal(repaired[:, ~hot], clean[:, ~hot])


def test_in_a_dark_movie_a_pixel_far_above_the_fixed_pattern_is_hot() -> None:
    """Its neighbours do not matter: without light, two neighbouring hot pixels are no bead."""
    mean = np.random.default_rng(1).normal(100, 2, (40, 50))
    mean[7, 8] = mean[7, 9] = 140
    assert [tuple(place) for place in np.argwhere(hot_in_dark_movie(mean))] == [(7, 8), (7, 9)]
