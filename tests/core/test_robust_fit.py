"""Robust least squares."""

import numpy as np
import pytest

from planeloc.core.robust_fit import BOUND, huber, huber_loss, huber_weights, irls, without_group_means


def test_outliers_lose_weight():
    deviation = np.array([0.0, 1.0, 3.0, 6.0])
    assert huber_weights(deviation, 3.0) == pytest.approx([1, 1, 1, 0.5])
    assert huber_weights(deviation, 3.0, np.array([4.0, 4.0, 4.0, 4.0])) == pytest.approx([4, 4, 4, 2])
    assert huber(deviation**2) == pytest.approx(huber_weights(deviation, BOUND))
    assert huber_loss(deviation, 3.0) == pytest.approx([0, 1, 9, 27])


def test_a_line_through_points_with_outliers():
    random = np.random.default_rng(0)
    x = np.linspace(-1, 1, 200)
    y = 1 + 2 * x + random.normal(0, 0.1, 200)
    y[::20] += 10
    design = np.vander(x, 2, increasing=True)

    def fit(weights):
        solution = np.linalg.solve(design.T @ (weights[:, None] * design), design.T @ (weights * y))
        return solution, huber_weights(np.abs(y - design @ solution) / 0.1, 2.0)

    plain, _ = irls(fit, np.ones(200), 1)
    robust, weights = irls(fit, np.ones(200), 50, rtol=1e-6)
    assert abs(plain[0] - 1) > 0.3 and robust == pytest.approx([1, 2], abs=0.05)
    assert weights[::20].max() < 0.05 and np.median(weights) == 1


@pytest.mark.parametrize(("rtol", "rounds"), [(None, 7), (1e-3, 1)])
def test_rounds_end_early_only_with_a_tolerance(rtol, rounds):
    weights, calls = np.ones(3), []
    irls(lambda before: (calls.append(1), before), weights, 7, rtol)
    assert len(calls) == rounds


def test_a_constant_of_every_group_drops_out():
    random = np.random.default_rng(1)
    group, weights, values = random.integers(0, 4, 30), random.uniform(0.5, 2, 30), random.normal(0, 1, (30, 2))
    centred = without_group_means(values, group, weights)
    assert centred == pytest.approx(without_group_means(values + np.arange(4.0)[group, None], group, weights))
    for one in range(4):
        here = group == one
        assert weights[here] @ centred[here] == pytest.approx([0, 0])
