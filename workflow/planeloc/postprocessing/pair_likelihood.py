"""The likelihood of a drift: how well every blink agrees with the blinks of other times around it.

The density of the sample at a blink is estimated from its neighbours, each a Gaussian of the precision of both blinks.
The log of that density, summed over all blinks, is largest where the drift is right. It is the negative entropy of the
mixture (Cnossen et al., Optics Express 2021, doi:10.1364/OE.426620), here without the blink's own blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.postprocessing.blinks import Blinks
from planeloc.postprocessing.neighbours import Pairs

_PAIRS_AT_ONCE = 200_000  # fit into a processor's cache
_BLUR = 1.5  # of the variance of a pair: few neighbours give a smoother density, and forces of less scatter
_ALONE = 0.5  # density of a blink without neighbours, in units of one at the same place


@dataclass(frozen=True)
class Agreement:
    """Value and derivatives of the log likelihood at one drift.

    Attributes
    ----------
    value : (blinks,) log density at every blink.
    force : (blinks, 3) derivative with respect to the drift at the time of every blink, nm⁻¹.
    curvature : (3, 3) with respect to the drift of all blinks, nm⁻², if their times are independent of their places.
    weight : (blinks,) weights of the pairs of every blink.
    coupling : (bins, bins) weights of the pairs between intervals of time.
    """

    value: NDArray[np.float64]
    force: NDArray[np.float64]
    curvature: NDArray[np.float64]
    weight: NDArray[np.float64]
    coupling: NDArray[np.float64]


def agreement(
    blinks: Blinks,
    shifted: NDArray[np.float64],
    pairs: Pairs,
    widening: NDArray[np.float64],
    time_bin: NDArray[np.int64],
    bins: int,
) -> Agreement:
    """Evaluate the log likelihood.

    Parameters
    ----------
    blinks : blinks, of which the precision is used.
    shifted : (blinks, 3) nm, positions less the drift.
    pairs : from `planeloc.postprocessing.neighbours.find_pairs`.
    widening : (3,) nm, standard deviation by which the Gaussians are widened.
    time_bin : (blinks,) interval of time of every blink, for `coupling`.
    bins : number of intervals.
    """
    variance = (_BLUR * blinks.sd**2 + widening**2 / 2).astype(np.float32)
    alone = np.log(_ALONE) - 0.5 * np.log(2 * variance.astype(np.float64)).sum(axis=1)
    place = (shifted - shifted.mean(axis=0)).astype(np.float32)
    value, force = np.zeros(len(blinks)), np.zeros((len(blinks), 3))
    curvature, weights, coupling = np.zeros((3, 3)), np.zeros(len(blinks)), np.zeros(bins * bins)
    for first, last in pairs.portions(_PAIRS_AT_ONCE):
        span = slice(pairs.start[first], pairs.start[last])
        one = np.repeat(np.arange(last - first), np.diff(pairs.start[first : last + 1]))
        other = pairs.other[span]
        difference = place[first:last][one] - place[other]
        spread = variance[first:last][one] + variance[other]
        pull = difference / spread
        log_weight = np.log(pairs.share[span] / np.sqrt(spread.prod(axis=1))) - 0.5 * (difference * pull).sum(axis=1)
        weight = np.exp(log_weight - alone[first:last][one]).astype(np.float64)
        total = 1 + np.bincount(one, weight, last - first)
        value[first:last] = alone[first:last] + np.log(total)
        weight /= total[one]
        own = np.empty((last - first, 3))
        for axis in range(3):
            part = weight * pull[:, axis]
            own[:, axis] = np.bincount(one, part, last - first)
            force[:, axis] -= np.bincount(other, part, len(blinks))
        force[first:last] += own
        curvature += _curvature(weight, pull, spread, own)
        weights += np.bincount(other, weight, len(blinks))
        weights[first:last] += 1 - 1 / total
        coupling += np.bincount(time_bin[first:last][one] * bins + time_bin[other], weight, bins * bins)
    coupling = coupling.reshape(bins, bins)
    return Agreement(value, force, curvature, weights, coupling + coupling.T)


def _curvature(weight: NDArray, pull: NDArray, spread: NDArray, own: NDArray) -> NDArray[np.float64]:
    """Negative second derivative along shifts v of all blinks, independent with unit variance: (v_i − v_j)² is 2."""
    doubled = (2 * weight - weight**2)[:, None] * pull
    result = np.diag((2 * weight[:, None] / spread).sum(axis=0)) - doubled.T @ pull
    return result + own.T @ own
