"""Images by a cubic spline, against SciPy's B-splines."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from planeloc.psf import SplinePSF
from planeloc.psf.cubic_spline import Knots, spline_images
from support.splines import random_spline

PIXEL_NM = 192.0
KNOTS = Knots(lateral=13, lateral_nm=PIXEL_NM / 2, axial=9, axial_nm=150.0, first_nm=-600.0)


def _basis(place: np.ndarray, knots: int, derivative: bool = False) -> np.ndarray:
    """(points, knots) of SciPy's basis at places counted in knots from the first."""
    columns = [BSpline.basis_element(np.arange(k - 2, k + 3), extrapolate=False) for k in range(knots)]
    columns = [element.derivative() for element in columns] if derivative else columns
    return np.nan_to_num(np.stack([element(place) for element in columns], axis=1))


def _brute_force(coefficients: np.ndarray, xy: np.ndarray, defocus: float, shape: tuple[int, int]) -> np.ndarray:
    """(4, rows, columns) image of one emitter, and its derivatives by x, y and defocus, over all knots."""
    middle = (KNOTS.lateral - 1) / 2
    bases = {}
    for name, size, at in (("x", shape[1], xy[0]), ("y", shape[0], xy[1])):
        place = ((np.arange(size) + 0.5) * PIXEL_NM - at) / KNOTS.lateral_nm + middle
        bases[name] = _basis(place, KNOTS.lateral), -_basis(place, KNOTS.lateral, True) / KNOTS.lateral_nm
    place = np.array([(defocus - KNOTS.first_nm) / KNOTS.axial_nm])
    bases["z"] = _basis(place, KNOTS.axial), _basis(place, KNOTS.axial, True) / KNOTS.axial_nm
    slopes = ({}, {"x"}, {"y"}, {"z"})
    terms = [[bases[name][int(name in slope)] for name in ("z", "y", "x")] for slope in slopes]
    return np.stack([np.einsum("zyx,z,ry,cx->rc", coefficients, z[0], y, x) for z, y, x in terms])


@pytest.fixture(scope="module")
def drawn():
    """Coefficients of two sets, and emitters of two planes: in the window, at its edge, far away, out of focus."""
    random = np.random.default_rng(3)
    coefficients = random.normal(size=(2, KNOTS.axial, KNOTS.lateral, KNOTS.lateral))
    position = random.uniform(-800, 3300, (40, 2, 2))
    position[0] = 1e9
    position[1] = -1e9
    position[2] = 5.5 * PIXEL_NM  # on a knot
    return coefficients, position, random.uniform(-1200, 1200, (40, 2))


@pytest.mark.parametrize("slopes", [False, True])
@pytest.mark.parametrize("shape", [(11, 11), (7, 14), (1, 1)])
def test_images_and_slopes_are_those_of_scipy_over_all_knots(drawn, shape, slopes):
    coefficients, position, defocus = drawn
    table = torch.from_numpy(coefficients).transpose(-1, -2).reshape(-1, KNOTS.lateral**2)
    sets, at, away = torch.tensor([1, 0]), torch.from_numpy(position), torch.from_numpy(defocus)
    found = spline_images(KNOTS, table, sets, at, away, shape, PIXEL_NM, slopes)
    assert found.shape == (4 if slopes else 1, 40, 2, *shape)
    for emitter in range(40):
        for plane in range(2):
            expected = _brute_force(coefficients[1 - plane], position[emitter, plane], defocus[emitter, plane], shape)
            scale = np.abs(expected).max() + 1e-300
            assert np.abs(found[:, emitter, plane].numpy() - expected[: len(found)]).max() < 1e-12 * max(scale, 1)


def test_single_precision_and_portions_change_only_the_rounding(drawn, monkeypatch):
    coefficients, position, defocus = drawn
    table = torch.from_numpy(coefficients).transpose(-1, -2).reshape(-1, KNOTS.lateral**2)
    rest = torch.tensor([1, 0]), torch.from_numpy(position[2:]), torch.from_numpy(defocus[2:])
    double = spline_images(KNOTS, table, *rest, (11, 11), PIXEL_NM)
    single = spline_images(KNOTS, table.float(), rest[0], rest[1].float(), rest[2].float(), (11, 11), PIXEL_NM)
    largest = double.abs().amax(dim=(1, 2, 3, 4), keepdim=True)
    assert ((single - double).abs() / largest).max() < 2e-5
    monkeypatch.setattr("planeloc.psf.cubic_spline._BYTES", 1)  # one emitter at a time
    assert torch.equal(spline_images(KNOTS, table, *rest, (11, 11), PIXEL_NM), double)


def test_knots_that_do_not_divide_a_pixel_are_refused():
    values = random_spline().as_dict()
    values["knots"]["lateral_nm"] = 100.0
    with pytest.raises(ValueError, match="whole number of knot spacings"):
        SplinePSF.from_dict(values, random_spline().coefficients)


def test_no_emitters_have_no_images():
    psf = random_spline()
    position, defocus = torch.zeros(0, 4, 2), torch.zeros(0, 4)
    image, slopes = psf.unit_derivatives(position, defocus, (11, 7))
    for images in (psf.unit_images(position, defocus, (11, 7)), image, *slopes):
        assert images.shape == (0, 4, 11, 7)
