"""Filters without SciPy, compared with SciPy's and NumPy's."""

import numpy as np
import pytest
from scipy import ndimage

from planeloc.core.image_filters import highest_around, median_over_first, smoothed, smoothing_matrix


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(64, 48), (2, 20, 24), (1, 3, 2)])
@pytest.mark.parametrize(("sigma", "mode"), [(1.0, "reflect"), (2.0, "nearest"), (0.3, "nearest")])
def test_smoothed_images_are_scipys_to_the_bit(dtype, shape, sigma, mode):
    images = (100 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    found = smoothed(images, sigma, mode)
    expected = ndimage.gaussian_filter(images, (*(0,) * (len(shape) - 2), sigma, sigma), mode=mode)
    assert found.dtype == dtype and np.array_equal(found, expected)


def test_whole_numbers_are_smoothed_in_double_precision():
    counts = np.random.default_rng(1).poisson(90, (16, 16)).astype(np.uint16)
    expected = ndimage.gaussian_filter(counts.astype(np.float64), 1.0)
    assert np.array_equal(smoothed(counts, 1.0), expected)


@pytest.mark.parametrize("shape", [(2, 20, 24), (0, 20, 24), (3, 4, 2)])
def test_highest_value_around_a_pixel_is_scipys(shape):
    images = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    expected = ndimage.maximum_filter(images, (0, 7, 7)) if len(images) else images
    assert np.array_equal(highest_around(images, 3), expected)


@pytest.mark.parametrize("count", range(1, 34))
def test_median_is_numpys(count):
    """Of any number of values, also equal ones and the largest that a camera gives."""
    random = np.random.default_rng(count)
    for values in (random.integers(0, 5, (count, 300)), random.integers(65000, 65536, (count, 3, 100))):
        counts = values.astype(np.uint16)
        before = counts.copy()
        assert np.array_equal(median_over_first(counts), np.median(counts, axis=0))
        assert np.array_equal(counts, before)


@pytest.mark.parametrize("size", [5, 24, 256])
def test_the_matrix_smooths_a_line_as_scipy_does(size):
    expected = ndimage.gaussian_filter1d(np.eye(size), 2.0, axis=0, mode="nearest")
    assert np.array_equal(smoothing_matrix(size, 2.0, "nearest"), expected)
