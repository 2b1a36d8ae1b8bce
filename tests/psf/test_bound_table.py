"""Interpolated bounds agree with the exact ones."""

import numpy as np
import pytest

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.psf import bound_table, paper_psf
from planeloc.psf.fisher_information import position_bound
from support.splines import random_spline

ROWS = 400


def emitters():
    random = np.random.default_rng(0)
    position = random.uniform((0, 0, -200), (5000, 5000, 200), (ROWS, 3))
    return position, random.uniform(300, 5000, ROWS)


@pytest.mark.parametrize("psf", [paper_psf(), random_spline()], ids=["Gaussian", "spline"])
def test_interpolated_bounds_are_right_to_a_percent(psf, monkeypatch):
    noise = PixelNoise.of((Camera(read_noise_electrons=1.6),) * psf.planes)
    position, photons = emitters()
    exact = position_bound(psf, noise, position, photons, np.full(ROWS, 4.0))
    np.testing.assert_array_equal(bound_table.many_position_bounds(psf, noise, position, photons, 4.0), exact)
    monkeypatch.setattr(bound_table._Table, "nodes", 0)  # as if there were more emitters than nodes
    bounds = bound_table.many_position_bounds(psf, noise, position, photons, 4.0)
    assert not np.array_equal(bounds, exact)
    np.testing.assert_allclose(bounds, exact, rtol=0.01)


def test_no_emitters_and_no_background():
    psf = paper_psf()
    noise = PixelNoise.of((Camera(),) * psf.planes)
    assert np.isnan(bound_table.many_position_bounds(psf, noise, *emitters(), np.nan)).all()
    assert bound_table.many_position_bounds(psf, noise, np.empty((0, 3)), np.empty(0), 4.0).shape == (0, 3)
