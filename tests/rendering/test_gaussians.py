"""Gaussians are integrated over the pixels; density is conserved."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.rendering.gaussians import draw_gaussians, gaussian_slices
from planeloc.rendering.grid import Grid
from planeloc.rendering.settings import RenderSettings
from support.rendered_tables import DEPTHS_NM, SIZE_NM, table


def test_a_gaussian_is_integrated_over_the_pixels():
    image = np.zeros((40, 50), np.float32)
    draw_gaussians(image, *(np.array([v]) for v in (20.3, 11.8, 1.5, 0.7)))
    rows, columns = np.mgrid[:40, :50] + 0.5
    assert image.sum() == pytest.approx(1, abs=1e-5)
    assert (image * columns).sum() == pytest.approx(20.3, abs=0.01)
    assert (image * rows).sum() == pytest.approx(11.8, abs=0.01)
    # integrating over a pixel adds 1/12 px² to the variance
    assert (image * (columns - 20.3) ** 2).sum() == pytest.approx(1.5**2 + 1 / 12, rel=0.01)
    assert (image * (rows - 11.8) ** 2).sum() == pytest.approx(0.7**2 + 1 / 12, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_blocks_equal_a_loop(seed, rows):
    random = np.random.default_rng(seed)
    x, y = random.uniform(-5, 45, (2, rows))
    sigma_x, sigma_y = random.uniform(0.05, 4, (2, rows))
    image, expected = np.zeros((40, 37), np.float32), np.zeros((40, 37))
    draw_gaussians(image, x, y, sigma_x, sigma_y)
    for row in range(rows):
        shares = []
        for position, sigma, size in ((y, sigma_y, 40), (x, sigma_x, 37)):
            scaled = (np.arange(size + 1) - position[row]) / (math.sqrt(2) * sigma[row])
            shares.append(np.diff([math.erf(value) for value in scaled]) / 2)
        expected += np.outer(*shares)
    np.testing.assert_allclose(image, expected, atol=2e-4)


def test_density_is_per_square_micrometre_and_sliced_by_depth():
    rows = table()
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (10.0, 10.0, 100.0))
    density = np.stack(list(gaussian_slices(rows, grid, RenderSettings())))
    assert density.shape == grid.shape == (8, 160, 200)
    per_slice = density.sum(axis=(1, 2)) * 0.01**2
    np.testing.assert_allclose(per_slice, np.histogram(rows["z"], 8, DEPTHS_NM)[0], rtol=1e-4)


def test_unknown_sd_uses_the_setting():
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (10.0, 10.0, 800.0))
    rows = table(1, x=1000.0, y=800.0)
    (known,) = gaussian_slices(rows.assign(x_sd=30.0, y_sd=30.0), grid, RenderSettings())
    (unknown,) = gaussian_slices(rows.assign(x_sd=np.nan, y_sd=np.nan), grid, RenderSettings(sigma_nm=30))
    np.testing.assert_array_equal(known, unknown)
