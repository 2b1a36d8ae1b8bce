"""Robust least squares: iterative reweighting with Huber weights, and scatter that the noise does not explain.

`common_scatter` and `huber` take residuals of points in the plane, both axes alike. With variance V per axis,
q = (dx² + dy²) / 2V of a good point follows the exponential distribution of mean 1, which all thresholds follow from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Fit = TypeVar("Fit")

BOUND = 2.0  # standard deviations beyond which a point loses weight; 1.8 % of the good ones are farther
_DOUBLINGS = 60
_BISECTIONS = 60


def irls(
    fit: Callable[[Array], tuple[Fit, Array]], weights: Array, rounds: int, rtol: float | None = None
) -> tuple[Fit, Array]:
    """Iteratively reweighted least squares.

    Parameters
    ----------
    fit : solves with the weights (n,) that it is given; returns the solution and the next weights (n,).
    weights : (n,), of the first round.
    rounds : largest number of rounds.
    rtol : relative change of the weights below which to stop.

    Returns
    -------
    The last solution, and the weights that follow from it.
    """
    for _ in range(rounds):
        before = weights
        solution, weights = fit(before)
        if rtol is not None and np.allclose(before, weights, rtol=rtol):
            break
    return solution, weights


def huber_weights(deviation: Array, bound: float, weights: Array | float = 1.0) -> Array:
    """Weights, times bound / deviation beyond the bound (Huber 1964); deviations in standard deviations."""
    return weights / np.maximum(deviation / bound, 1.0)


def huber_loss(deviation: Array, bound: float) -> Array:
    """Squared deviation, linear beyond the bound."""
    within = np.minimum(deviation, bound)
    return within * (2 * deviation - within)


def without_group_means(values: Array, group: NDArray[np.int64], weights: Array) -> Array:
    """Values (n, k) less the weighted mean of their group (n,): eliminates a constant that every group has."""
    total = np.bincount(group, weights)
    sums = np.stack([np.bincount(group, weights * column) for column in values.T], axis=1)
    return values - (sums / np.maximum(total, 1e-300)[:, None])[group]


def huber(q: Array) -> Array:
    """`huber_weights` of points in the plane, from q."""
    return huber_weights(np.sqrt(q), BOUND)


def common_scatter(squared: Array, variance: Array, freedom: float) -> float:
    """Variance per axis that the residuals have beyond the noise (Huber's Proposal 2); 0 where noise explains all.

    The mean of min(q, bound²) has the expectation 1 − exp(−bound²), so a wrong point counts no more than one at the
    bound.

    Parameters
    ----------
    squared : (n,): half of the squared residual.
    variance : (n,): variance per axis that the noise explains.
    freedom : degrees of freedom over number of points.
    """
    expected = freedom * (1 - np.exp(-(BOUND**2)))

    def excess(extra: float) -> float:
        return float(np.mean(np.minimum(squared / freedom / (variance + extra), BOUND**2))) * freedom - expected

    if not len(squared) or excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, float(np.mean(variance))
    for _ in range(_DOUBLINGS):
        if excess(high) <= 0:
            break
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
