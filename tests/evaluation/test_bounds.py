"""The bound of molecules that not all cameras see."""

from dataclasses import replace

import numpy as np
import pytest

from planeloc.evaluation.bounds import bounds_on_cameras
from planeloc.psf.fisher_information import position_bound
from planeloc.transforms.camera_transform import Affine, Registration
from planeloc.transforms.coverage import Coverage
from support.molecule_frames import NOISE, PIXEL, PSF

FIELD = (64, 64)
LEVEL = 4.0


def cameras(*shifts):
    transforms = [Affine.identity(), *(Affine(np.eye(2), np.array([shift, 0.0])) for shift in shifts)]
    transforms[2] = Affine(np.diag([-1.0, 1.0]), np.array([64.0 + shifts[1], 0.0]))
    return Coverage(Registration(tuple(transforms), (0.0,) * 4), FIELD)


def molecules(x_px, count=20):
    random = np.random.default_rng(1)
    x, y = x_px + random.uniform(-0.5, 0.5, count), random.uniform(20, 44, count)
    return np.column_stack((x * PIXEL, y * PIXEL, random.uniform(-600, 600, count))), random.uniform(1600, 5400, count)


@pytest.mark.parametrize(
    "x_px", [32.0, 57.0]
)  # 57: some pixels of the window lie beyond the edge, but hardly any light
def test_it_is_that_of_all_planes_where_all_see(x_px):
    position, photons = molecules(x_px)
    bounds = bounds_on_cameras(PSF, NOISE, position, photons, LEVEL, cameras(0.0, 0.0, 0.0))
    expected = position_bound(PSF, NOISE, position, photons, np.full(len(photons), LEVEL))
    assert bounds == pytest.approx(expected, rel=0.02)


def test_a_plane_that_does_not_see_gives_nothing():
    """As if its share of the light were lost."""
    position, photons = molecules(54.0)
    bounds = bounds_on_cameras(PSF, NOISE, position, photons, LEVEL, cameras(0.0, 0.0, 30.0))
    dark = replace(PSF, brightness=(*PSF.brightness[:3], 1e-9))
    expected = position_bound(dark, NOISE, position, photons, np.full(len(photons), LEVEL))
    whole = position_bound(PSF, NOISE, position, photons, np.full(len(photons), LEVEL))
    assert bounds == pytest.approx(expected, rel=0.02)
    assert (bounds[:, 2] > 1.02 * whole[:, 2]).mean() > 0.5


def test_without_any_plane_the_bound_is_wide_and_unknown_background_gives_none():
    position, photons = molecules(90.0, 3)
    assert (bounds_on_cameras(PSF, NOISE, position, photons, LEVEL, cameras(0.0, 0.0, 0.0)) > 1000).all()
    assert np.isnan(bounds_on_cameras(PSF, NOISE, position, photons, np.nan, cameras(0.0, 0.0, 0.0))).all()
