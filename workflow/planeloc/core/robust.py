"""Least squares that few bad points cannot bend: Huber weights, and the scatter that the noise does not explain.

Residuals are of points in the plane, both axes alike. With variance V per axis, q = (dx² + dy²) / 2V of a good point
follows the exponential distribution of mean 1, from which all thresholds here come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOUND = 2.0  # deviations from which a point is held back; 1.8 % of the good ones are farther
_DOUBLINGS = 60
_BISECTIONS = 60


def huber(q: Array) -> Array:
    """Factor on the weight of every point: 1, and bound / deviation beyond the bound (Huber 1964)."""
    return 1 / np.maximum(np.sqrt(q) / BOUND, 1.0)


def common_scatter(squared: Array, variance: Array, freedom: float) -> float:
    """Variance per axis to add to all points so that their residuals are as large as they are.

    `squared` (n,): half of the squared residual; `variance` (n,): what noise explains; `freedom`: degrees of freedom
    over points. Huber's Proposal 2: the mean of min(q, bound²) has its expectation 1 − exp(−bound²), so a wrong point
    counts no more than one at the bound. 0 where noise explains all.
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
