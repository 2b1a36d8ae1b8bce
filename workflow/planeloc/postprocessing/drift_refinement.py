"""Maximum likelihood of the sample drift, from pairs of blinks of different times.

The information, which decides how much the trajectory is smoothed and what its standard deviation is, is that of an
estimator whose scores vary between parts of the field as much as they are seen to (Godambe information). It holds
whatever is correlated within a part: blinks of one molecule, or blinks that were not merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from planeloc.postprocessing.blink_rows import BlinkRows
from planeloc.postprocessing.blinks import Blinks, some_of
from planeloc.postprocessing.neighbours import Pairs, find_pairs, sort_into_grid
from planeloc.postprocessing.pair_likelihood import Agreement, agreement
from planeloc.postprocessing.trajectory import Information, Posterior, Walk, expected_variances, most_likely_walk

_APART = 20  # frames, so that two pieces of a blink are no pair
_PARTS = 10  # intervals of time in which pairs are counted
_TILES_ACROSS = 12
_REACH_SD = 3.0
_LONGEST_STEP, _STILL, _SEARCH_AGAIN = 2.0, 0.05, 0.7  # in units of the Gaussians' width
_SMOOTHNESS_STEPS = 3  # steps after which the smoothness is kept; more where each localization is at its own frame
_MORE_SMOOTHNESS_STEPS, _SAME = 10, 0.1  # and changes of it that do not matter


@dataclass(frozen=True)
class Level:
    """One round of the refinement.

    Attributes
    ----------
    widening_nm : lateral and axial standard deviation by which the Gaussians are widened.
    most_times, most_blinks : limits of the resolution in time and of the blinks that are used.
    pairs_per_blink : about the largest number of neighbours.
    steps : largest number of steps.
    """

    widening_nm: tuple[float, float]
    most_times: int
    most_blinks: int
    pairs_per_blink: int
    steps: int


@dataclass(frozen=True)
class Trajectory:
    """Drift of the sample at every frame and its standard deviation, (frames, 3) nm; the mean drift is zero."""

    drift_nm: NDArray[np.float64]
    sd_nm: NDArray[np.float64]


class Refinement:
    """A trajectory that is improved step by step.

    Parameters
    ----------
    drift : (frames, 3) nm, where to begin.
    """

    def __init__(self, blinks: Blinks, drift: NDArray[np.float64], level: Level) -> None:
        self._blinks, self._frames, self._level = some_of(blinks, level.most_blinks), len(drift), level
        self._widening = np.array(level.widening_nm)[[0, 0, 1]]
        self._reach = _REACH_SD * np.sqrt(2 * np.quantile(self._blinks.sd, 0.8, axis=0) ** 2 + self._widening**2)
        self._width = np.sqrt(2 * np.median(self._blinks.sd, axis=0) ** 2 + self._widening**2)
        self._times = min(self._frames, level.most_times, max(20, len(self._blinks) // 2))
        self._parts = min(_PARTS, self._times)
        self._between = _interpolation(self._frames, self._times)
        self._tile = tiles(self._blinks.position)
        middle = (np.arange(self._times) + 0.5) * self._frames / self._times - 0.5
        self._path = drift[np.rint(middle).astype(np.int64)]
        self._walks = [_first_walk(self._path[:, axis]) for axis in range(3)]
        self._rows = BlinkRows(self._blinks.rows, self._frames, self._times) if self._blinks.rows else None

    def run(self) -> Trajectory:
        """Improve the trajectory until it moves no more."""
        since, learning = np.inf, True
        most = _MORE_SMOOTHNESS_STEPS if self._rows else _SMOOTHNESS_STEPS
        for number in range(self._level.steps):
            if since > _SEARCH_AGAIN:
                pairs, since = self._pairs(), 0.0
            before = self._walks
            moved = self._step(pairs, learn=learning, search=number == 0)
            learning = learning and number + 1 < most and _change(before, self._walks) > _SAME
            since += moved
            if moved < _STILL and not learning:
                break
        return Trajectory(self._between @ self._path, self._sd())

    def _drift(self) -> NDArray[np.float64]:
        return self._between @ self._path

    def _shifted(self) -> NDArray[np.float64]:
        if self._rows:
            return self._rows.mean_position(self._drift())
        return self._blinks.position - self._drift()[self._blinks.frame]

    def _pairs(self) -> Pairs:
        """Sort the blinks by place and find the neighbours of each."""
        order = sort_into_grid(self._shifted(), self._reach)
        self._blinks, self._tile = self._blinks[order], self._tile[order]
        if self._blinks.rows:
            self._rows = BlinkRows(self._blinks.rows, self._frames, self._times)
        return find_pairs(self._blinks, self._shifted(), self._reach, self._level.pairs_per_blink, _APART)

    def _step(self, pairs: Pairs, learn: bool, search: bool) -> float:
        """One Newton step; returns the largest change in units of the Gaussians' width."""
        part = self._blinks.frame * self._parts // self._frames
        found = agreement(self._blinks, self._shifted(), pairs, self._widening, part, self._parts)
        unit = self._information(found)
        inverse, gain = _newton(found.curvature, self._scatter(found.force, found.weight))
        ahead = self._gradient(found.force) @ inverse
        within = self._rows.within(self._drift()) if self._rows else [(0.0, 0.0)] * 3
        path, self._walks = np.empty_like(self._path), list(self._walks)
        own, self._posteriors = self._own, []
        for axis, (band, score) in enumerate(within):
            information = unit.scaled(gain[axis], band)
            pull = information.times(self._path[:, axis]) + gain[axis] * ahead[:, axis] + score
            pull -= pull.sum() * own / own.sum()  # the mean is unknown; what is left of it is rounding
            if learn:
                self._walks[axis] = most_likely_walk(information, pull, self._walks[axis], search)
            self._posteriors.append(Posterior(self._walks[axis], information, pull))
            path[:, axis] = self._posteriors[axis].mean
        path -= own @ path / own.sum()
        change = path - self._path
        moved = float(np.abs((change - own @ change / own.sum()) / self._width).max())
        self._path = self._path + change * min(1.0, _LONGEST_STEP / max(moved, 1e-9))
        return moved

    def _information(self, found: Agreement) -> Information:
        """Of all blinks on a trajectory along one axis, for a curvature of 1 nm⁻²; `_own` are its row sums."""
        band = self._rows.of_blinks(found.weight) if self._rows else self._at_times(found.weight)[None]
        own = self._rows.spread_out(found.weight[:, None])[:, 0] if self._rows else band[0]
        nothing = 1e-9 * own.sum() / self._times + 1e-12  # there may be no pairs
        self._own, band[0] = own + nothing, band[0] + nothing
        part_of_time = (np.arange(self._times) + 0.5) * self._parts / self._times
        spread = np.zeros((self._times, self._parts))
        spread[np.arange(self._times), part_of_time.astype(np.int64)] = self._own
        total, sum_ = spread.sum(axis=0), self._own.sum()
        return Information(band / sum_, spread / total, _with_row_sums(found.coupling, total / sum_))

    def _time(self) -> NDArray[np.int64]:
        return self._blinks.frame * self._times // self._frames

    def _at_times(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self._time(), weight, self._times)

    def _gradient(self, force: NDArray[np.float64]) -> NDArray[np.float64]:
        """(times, 3) sums of the forces, that of a blink distributed over its rows."""
        if self._rows:
            return self._rows.spread_out(force)
        return np.stack([self._at_times(force[:, axis]) for axis in range(3)], axis=1)

    def _scatter(self, force: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3) covariance of the scores, for weights with a sum of one, from their scatter between tiles.

        The forces of a blink count at its mean frame.
        """
        cell, time = np.unique(self._tile * self._times + self._time(), return_inverse=True)
        cells = np.stack([np.bincount(time, force[:, axis]) for axis in range(3)])
        time = cell % self._times
        weight = self._at_times(weight)
        usable, tiles_ = weight > 1e-3 * weight.mean(), int(self._tile.max()) + 1
        scale = np.zeros(self._times)
        scale[usable] = 1 / weight[usable]
        sums = np.stack([np.bincount(time, row, self._times) for row in cells])
        squares = (cells * scale[time]) @ cells.T - (sums * scale) @ sums.T / tiles_
        return squares * weight.sum() / max(usable.sum(), 1) * tiles_ / max(tiles_ - 1, 1)

    def _sd(self) -> NDArray[np.float64]:
        """(frames, 3) nm: of the trajectory at the times, of the walk between two times and during a blink.

        The position of a blink is that of the mean drift during it.
        """
        length = self._blinks.duration
        during = 0.0 if self._rows else (length - 1 / length) / 12 * self._times / self._frames
        columns = []
        for walk, posterior in zip(self._walks, self._posteriors, strict=True):
            variance = np.maximum(posterior.variance(self._own), 0)
            between = 1 / 6 if self._times < self._frames else 0.0  # mean of a Brownian bridge
            variance += (between + during) * np.append(walk.variances[0], walk.variances[0][-1])
            columns.append(np.sqrt(variance))
        return self._between @ np.stack(columns, axis=1)


def tiles(position: NDArray[np.float64]) -> NDArray[np.int64]:
    """Part of the field of every blink, numbered from 0."""
    low, high = np.quantile(position[:, :2], [0.005, 0.995], axis=0)
    cell = (position[:, :2] - low) / np.maximum(high - low, 1e-9) * _TILES_ACROSS
    cell = np.clip(cell, 0, _TILES_ACROSS - 1).astype(np.int64)
    return np.unique(cell @ [_TILES_ACROSS, 1], return_inverse=True)[1]


def log_density(
    blinks: Blinks, drift: NDArray[np.float64], level: Level
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log density of the sample at every blink if the drift is right, and the blink's tile; in the same order."""
    widening = np.array(level.widening_nm)[[0, 0, 1]]
    reach = _REACH_SD * np.sqrt(2 * np.quantile(blinks.sd, 0.8, axis=0) ** 2 + widening**2)
    tile = tiles(blinks.position)
    order = sort_into_grid(blinks.position - drift[blinks.frame], reach)
    blinks = blinks[order]
    shifted = blinks.position - drift[blinks.frame]
    pairs = find_pairs(blinks, shifted, reach, level.pairs_per_blink, _APART)
    found = agreement(blinks, shifted, pairs, widening, np.zeros(len(blinks), np.int64), 1)
    return found.value, tile[order]


def _first_walk(path: NDArray[np.float64]) -> Walk:
    """A prior to begin with: steps that are much larger than others have a larger variance."""
    step = np.diff(path)
    typical = max(np.median(np.abs(step)) / 0.67, 30.0 / np.sqrt(len(step)))
    return Walk(30.0, 30.0, expected_variances(step**2 / typical**2))


def _change(before: list[Walk], after: list[Walk]) -> float:
    """Largest relative change of the walk from one prior to another."""
    return max(abs(np.log(one.walk_nm / other.walk_nm)) for one, other in zip(before, after, strict=True))


def _newton(
    curvature: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inverse curvature, and the information of every axis if the scores have the variance."""
    variance = variance + 1e-9 * (np.trace(variance) + 1e-9) * np.eye(3)
    values, vectors = np.linalg.eigh(curvature)
    values = np.maximum(values, 1e-3 * np.trace(variance) / 3)  # where nothing can be told, it may be negative
    inverse = (vectors / values) @ vectors.T
    return inverse, 1 / np.diag(inverse @ variance @ inverse)


def _with_row_sums(coupling: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric matrix, scaled so that its rows have about the sums."""
    for _ in range(10):
        factor = np.sqrt(sums / np.maximum(coupling.sum(axis=1), 1e-30))
        coupling = coupling * factor[:, None] * factor
    return coupling


def _interpolation(frames: int, times: int) -> csr_array:
    """(frames, times): linear interpolation between the middles of equal intervals."""
    place = np.clip((np.arange(frames) + 0.5) * times / frames - 0.5, 0, times - 1)
    before = np.minimum(place.astype(np.int64), max(times - 2, 0))
    share = place - before
    columns = np.concatenate([before, np.minimum(before + 1, times - 1)])
    rows = np.tile(np.arange(frames), 2)
    return csr_array((np.concatenate([1 - share, share]), (rows, columns)), (frames, times))
