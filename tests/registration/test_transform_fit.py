"""Transforms fitted to matched beads: true covariance, no outliers, second order only where it is there."""

import numpy as np
import pytest

from planeloc.beads.point_matching import ORIENTATIONS
from planeloc.core.robust_fit import common_scatter
from planeloc.registration.matched_beads import MatchedBeads
from planeloc.registration.transform_fit import fit_shift, fit_transform
from planeloc.transforms.camera_transform import Affine, Quadratic
from support.matched_beads import CURVED, FIELD_PX, random_beads

GRID = np.stack(np.meshgrid(np.linspace(0, FIELD_PX, 9), np.linspace(0, FIELD_PX, 9)), axis=-1)
TOL_NORMALISED_ERROR = 0.15
MOST_FALSE_QUADRATIC = 0.01  # of affine truths


def normalised_errors(fit, truth) -> np.ndarray:
    covariance = fit.uncertainty.covariance_at(GRID)
    return (fit.transform(GRID) - truth(GRID)) / np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))


@pytest.mark.parametrize(("number", "scatter_px"), [(16, 0.0), (16, 0.02), (8, 0.02), (6, 0.0)])
def test_the_covariance_is_true(number: int, scatter_px: float) -> None:
    random = np.random.default_rng(number)
    found = []
    for _ in range(150):
        beads, truth = random_beads(random, number, scatter_px)
        found.append(normalised_errors(fit_transform(beads, "affine"), truth))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=TOL_NORMALISED_ERROR)


def test_the_covariance_of_a_quadratic_map_is_true() -> None:
    random = np.random.default_rng(1)
    found = [
        normalised_errors(fit_transform(random_beads(random, 20, 0.01, CURVED)[0], "quadratic"), CURVED)
        for _ in range(100)
    ]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=TOL_NORMALISED_ERROR)


def test_second_order_only_where_it_is() -> None:
    random = np.random.default_rng(2)
    scatter = np.tile((0.0, 0.01), 100)
    affine = [fit_transform(random_beads(random, int(random.integers(4, 40)), s)[0]).transform for s in scatter]
    assert np.mean([isinstance(m, Quadratic) for m in affine]) <= MOST_FALSE_QUADRATIC
    bent = [fit_transform(random_beads(random, 16, 0.01, CURVED)[0]).transform for _ in range(20)]
    assert all(isinstance(m, Quadratic) for m in bent)
    assert isinstance(fit_transform(random_beads(random, 11, 0.01, CURVED)[0]).transform, Affine), (
        "too few beads to ask for it"
    )


def test_leave_one_out_is_the_brute_force_one() -> None:
    beads, _ = random_beads(np.random.default_rng(3), 12, 0.0)
    beads = beads._replace(variance_px2=np.full(12, 1e-4))  # so that no bead is held back and all weigh the same
    fit = fit_transform(beads, "affine")
    for i in range(12):
        rest = np.arange(12) != i
        others = fit_transform(MatchedBeads(*(a[rest] for a in beads[:3]), np.zeros((11, 11))), "affine")
        assert fit.left_out_px[i] == pytest.approx(beads.target[i] - others.transform(beads.source[i]), abs=1e-6)


def test_outliers_go_and_shared_errors_stay() -> None:
    random = np.random.default_rng(4)
    beads, truth = random_beads(random, 16, 0.0)
    beads.target[[2, 9]] += (0.7, -0.4)
    fit = fit_transform(beads)
    assert np.nonzero(~fit.kept)[0].tolist() == [2, 9]
    assert np.abs(normalised_errors(fit, truth)).max() < 4
    alike = fit_transform(beads._replace(shared_px2=np.full((16, 16), 0.1**2)))
    assert np.sqrt(alike.uncertainty.covariance_at(np.full(2, 64.0))[0, 0]) == pytest.approx(0.1, rel=0.01)


def test_scatter_is_what_noise_does_not_explain() -> None:
    random = np.random.default_rng(5)
    variance = random.uniform(0.5, 2, 4000)
    squared = np.sum(random.normal(0, 1, (4000, 2)) ** 2, axis=1) / 2 * (variance + 1.5)
    assert common_scatter(squared, variance, 1.0) == pytest.approx(1.5, rel=0.1)
    squared[:200] = 1e6  # one in twenty is wrong
    assert common_scatter(squared, variance, 1.0) < 3
    assert common_scatter(squared[200:] * 0.1, variance[200:], 1.0) == 0.0


def test_a_shift_does_not_claim_to_know_the_far_corner() -> None:
    random = np.random.default_rng(6)
    source = random.uniform(60, 64, (30, 2))
    beads = MatchedBeads(source, source @ ORIENTATIONS[5].T + (3, 4), np.full(30, 1e-4), np.zeros((30, 30)))
    fit = fit_shift(beads)
    assert np.array_equal(fit.transform.matrix, ORIENTATIONS[5])
    near, far = (fit.uncertainty.covariance_at(np.full(2, at))[0, 0] ** 0.5 for at in (62.0, 0.0))
    assert near < 0.02 and far == pytest.approx(0.005 * 62 * 2**0.5, rel=0.1)
