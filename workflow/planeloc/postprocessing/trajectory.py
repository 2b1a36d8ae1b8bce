"""Trajectories over time, and how smooth they are, learned from the data.

A trajectory is a random walk whose slope is a random walk, too (a local linear trend; without the first walk it is a
cubic smoothing spline). The variances of both walks are those that make the data most likely (evidence), and a step
much larger than the others gets a variance of its own. All matrices are banded but for a few columns, so that time and
memory grow with the number of times, not with its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.optimize import minimize

_BOUNDS_NM = np.array([[0.1, 1.0], [3e3, 1e4]])  # of the walk and of the walk of the slope, over the whole movie
_STARTS_NM = ((0.3, 30.0), (30.0, 1.0), (30.0, 100.0), (300.0, 1.0), (3.0, 1000.0))
_FIRST_SD_NM = (1.0, 3e3)  # of the first value, which is arbitrary, and of the first slope
_FREEDOM = 4.0  # degrees of freedom of the steps (Student's t)


@dataclass(frozen=True)
class Information:
    """What the data know of a trajectory: a matrix own − spread · shared · spreadᵀ, nm⁻².

    Attributes
    ----------
    band : (1 + reach, times) of `own`, which is banded and symmetric: entry d, t is that of times t and t + d.
    spread : (times, parts) how the intervals of time, in which pairs are counted, are distributed over the times.
    shared : (parts, parts) symmetric.
    """

    band: NDArray[np.float64]
    spread: NDArray[np.float64]
    shared: NDArray[np.float64]

    def times(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrix times a vector."""
        return banded_times(self.band, vector) - self.spread @ (self.shared @ (self.spread.T @ vector))

    def scaled(self, factor: float, more: NDArray[np.float64] | float = 0.0) -> Information:
        """The matrix times a factor, and another band of the same shape added."""
        return Information(self.band * factor + more, self.spread, self.shared * factor)


def banded_times(band: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A symmetric banded matrix, in the form of `Information.band`, times a vector."""
    product = band[0] * vector
    for offset in range(1, len(band)):
        product[:-offset] += band[offset, :-offset] * vector[offset:]
        product[offset:] += band[offset, :-offset] * vector[:-offset]
    return product


@dataclass(frozen=True)
class Walk:
    """Prior of one axis.

    Attributes
    ----------
    walk_nm, slope_nm : standard deviations of the last value, by the walk and by the walk of the slope.
    step : (times − 1,) relative variances of the steps of the walk.
    """

    walk_nm: float
    slope_nm: float
    step: NDArray[np.float64]

    @property
    def variances(self) -> tuple[NDArray[np.float64], float]:
        """Of every step of the walk, and of the slope's, which is in nm per movie; nm²."""
        steps = len(self.step)
        return self.walk_nm**2 / steps * self.step, 3 * self.slope_nm**2 / steps

    def precision(self) -> NDArray[np.float64]:
        """Inverse covariance of (value, slope) at all times, upper banded form with three diagonals beside the main."""
        steps = len(self.step)
        walk, slope = (1 / np.broadcast_to(v, steps) for v in self.variances)
        band = np.zeros((4, 2 * steps + 2))
        diagonal, first, second = band[3], band[2], band[1]
        diagonal[0], diagonal[1] = 1 / _FIRST_SD_NM[0] ** 2, 1 / _FIRST_SD_NM[1] ** 2
        # value' − value − slope/steps and slope' − slope, squared
        diagonal[0:-2:2] += walk
        diagonal[2::2] += walk
        diagonal[1:-2:2] += walk / steps**2 + slope
        diagonal[3::2] += slope
        first[1:-2:2] += walk / steps  # value, slope
        first[2::2] += -walk / steps  # slope, value'
        second[2::2] += -walk  # value, value'
        second[3::2] += -slope  # slope, slope'
        return band

    def log_determinant(self) -> float:
        """Of the precision."""
        walk, slope = self.variances
        return float(-np.log(walk).sum() - len(self.step) * np.log(slope) - 2 * np.log(_FIRST_SD_NM).sum())


class Posterior:
    """A trajectory, given a prior, what the data know and what they prefer.

    Parameters
    ----------
    pull : (times,) nm⁻¹, the information times the trajectory that the data alone prefer.
    """

    def __init__(self, walk: Walk, information: Information, pull: NDArray[np.float64]) -> None:
        band = _with_information(walk.precision(), information.band)
        self._walk, self._factor = walk, cholesky_banded(band)
        self._columns = self._solve(information.spread)
        self._shared = information.shared
        self._inner = np.eye(len(self._shared)) - self._shared @ (information.spread.T @ self._columns[::2])
        first = self._solve(pull[:, None])
        solved = first + self._columns @ np.linalg.solve(
            self._inner, self._shared @ (information.spread.T @ first[::2])
        )
        self.mean, self._slope = solved[::2, 0], solved[1::2, 0]
        determinant = 2 * np.log(self._factor[-1]).sum() + np.linalg.slogdet(self._inner)[1]
        self.log_evidence = 0.5 * (walk.log_determinant() - determinant + pull @ self.mean)

    def _solve(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        right = np.zeros((2 * len(columns), columns.shape[1]))
        right[::2] = columns
        return cho_solve_banded((self._factor, False), right)

    def variance(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """(times,) nm², of the value less its mean over the times, weighted by `weight`."""
        left, inner = self._columns[::2], np.linalg.solve(self._inner, self._shared)
        weight = weight / weight.sum()
        along = self._solve(weight[:, None])[::2, 0] + left @ (inner @ (left.T @ weight))
        return self._blocks()[0][:, 0, 0] + ((left @ inner) * left).sum(axis=1) - 2 * along + weight @ along

    def step_sizes(self) -> NDArray[np.float64]:
        """Relative variances of the steps that are expected of Student's t, given the trajectory."""
        here, next_ = self._blocks()
        steps = len(self._walk.step)
        error = np.diff(self.mean) - self._slope[:-1] / steps
        spread = here[1:, 0, 0] + here[:-1, 0, 0] + here[:-1, 1, 1] / steps**2
        spread += 2 * (here[:-1, 0, 1] - next_[:, 1, 0]) / steps - 2 * next_[:, 0, 0]
        typical = self._walk.walk_nm**2 / steps
        return expected_variances((error**2 + np.maximum(spread, 0)) / typical)

    def _blocks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Blocks (2, 2) of the inverse of the banded matrix: every time with itself, and with the next time."""
        own, after = _blocks_of_factor(self._factor)
        inverse = np.linalg.inv(own)
        local, gain = inverse @ inverse.transpose(0, 2, 1), inverse @ after
        here, next_ = np.empty_like(own), np.zeros_like(own)
        here[-1] = local[-1]
        for block in range(len(own) - 2, -1, -1):
            next_[block] = -gain[block] @ here[block + 1]
            here[block] = local[block] - next_[block] @ gain[block].T
        times, size = self._factor.shape[1] // 2, own.shape[1]
        first = 2 * np.arange(times) % size
        block = 2 * np.arange(times) // size
        pair = np.arange(2)
        rows, columns = first[:, None, None] + pair[:, None], first[:, None, None] + pair
        same = here[block[:, None, None], rows, columns]
        wide = np.concatenate([here, next_], axis=2)
        return same, wide[block[:, None, None], rows, columns + 2][:-1]


def expected_variances(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative variances of steps that are expected of Student's t, given their squares over the typical variance."""
    return np.maximum((_FREEDOM + square) / (_FREEDOM + 1), 0.5)


def _with_information(prior: NDArray[np.float64], band: NDArray[np.float64]) -> NDArray[np.float64]:
    """The prior's precision and the information of the values, in scipy's upper banded form."""
    width = max(len(prior) - 1, 2 * (len(band) - 1))
    both = np.zeros((width + 1, prior.shape[1]))
    both[width + 1 - len(prior) :] = prior
    for offset in range(len(band)):
        both[width - 2 * offset, 2 * offset :: 2] += band[offset, : band.shape[1] - offset]
    return both


def _blocks_of_factor(factor: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An upper banded factor as square blocks: those on the diagonal, and those on their right."""
    width, count = len(factor) - 1, factor.shape[1]
    size = width + width % 2
    number = -(-count // size)
    wide = np.zeros((number, size, 2 * size))
    for offset in range(width + 1):
        row = np.arange(count - offset)
        wide[row // size, row % size, row % size + offset] = factor[width - offset, offset:]
    rest = np.arange(count, number * size) % size
    wide[-1, rest, rest] = 1.0
    return wide[:, :, :size], wide[:, :, size:]


def most_likely_walk(information: Information, pull: NDArray[np.float64], start: Walk, search: bool) -> Walk:
    """The prior under which the data are most likely.

    Parameters
    ----------
    start : where to begin; the relative variances of its steps are used and then learned again.
    search : whether to begin at other places, too.
    """
    low, high = np.log(_BOUNDS_NM)

    def walk_of(logs: NDArray[np.float64]) -> Walk:
        return Walk(*np.exp(np.clip(logs, low, high)), start.step)

    def surprise(logs: NDArray[np.float64]) -> float:
        return (
            -Posterior(walk_of(logs), information, pull).log_evidence + np.square(logs - np.clip(logs, low, high)).sum()
        )

    begin = np.log([start.walk_nm, start.slope_nm])
    if search:
        begin = min([begin, *np.log(_STARTS_NM)], key=surprise)
    simplex = begin + np.array([[0, 0], [1.0, 0], [0, 1.0]])
    options = {"maxfev": 24 if search else 10, "xatol": 0.1, "fatol": 0.1, "initial_simplex": simplex}
    found = walk_of(minimize(surprise, begin, method="Nelder-Mead", options=options).x)
    return Walk(found.walk_nm, found.slope_nm, Posterior(found, information, pull).step_sizes())
