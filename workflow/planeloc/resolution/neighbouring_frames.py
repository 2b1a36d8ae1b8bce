"""Localization precision from molecules that are on in two neighbouring frames (NeNA, Endesfelder et al. 2014).

Two localizations of one molecule differ by √2 of their standard deviation. All pairs from one frame to the next within
some reach are taken; those of different molecules are part of the model: neighbours on a line, and neighbours anywhere.
A precision in nm is a mean over bright and dim molecules. Whether the stated precision is true is therefore asked of
differences over their own stated standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import ive

_MOST_ROWS, _PORTIONS = 1_000_000, 20  # of larger tables, portions of neighbouring frames over the whole movie
_MOST_PAIRS = 2_000_000
_MOST_NEIGHBOURS = 20_000_000  # of a portion, all frames together
_REACH_SD, _SMALLEST_REACH_NM, _LARGEST_REACH_NM = 12.0, 60.0, 400.0
_UNKNOWN_SD_NM = (12.0, 12.0, 40.0)
_BINS = 120
_REACH_NORMALISED = 8.0  # of differences over the stated standard deviation of one localization
_TIGHTEST = 1e-3  # of the reach, below which a distribution is a point

Shapes = Callable[[float, NDArray[np.float64]], tuple[NDArray[np.float64], ...]]


@dataclass(frozen=True)
class FramePairs:
    """Differences of localizations in neighbouring frames.

    Attributes
    ----------
    difference : (pairs, 3) nm, later less earlier.
    sd : (pairs, 3) nm, stated standard deviation of one localization, the rms of both; NaN where unknown.
    depth : (pairs,) nm, mean of both.
    reach : (lateral, axial) nm, up to which pairs were looked for.
    """

    difference: NDArray[np.float64]
    sd: NDArray[np.float64]
    depth: NDArray[np.float64]
    reach: tuple[float, float]

    def __len__(self) -> int:
        return len(self.depth)

    def __getitem__(self, rows: NDArray) -> FramePairs:
        return FramePairs(self.difference[rows], self.sd[rows], self.depth[rows], self.reach)


def frame_pairs(frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64]) -> FramePairs:
    """Find all pairs of localizations from one frame to the next that are near each other.

    Parameters
    ----------
    frame : (rows,) in any order.
    position, sd : (rows, 3) nm; positions are finite.
    """
    order = np.argsort(frame, kind="stable")
    known = [v[np.isfinite(v) & (v > 0)] for v in sd.T]
    median = [float(np.median(v)) if len(v) else d for v, d in zip(known, _UNKNOWN_SD_NM, strict=True)]
    reaches = (_REACH_SD * max(median[:2]), _REACH_SD * median[2])
    reach = tuple(float(np.clip(r, _SMALLEST_REACH_NM, _LARGEST_REACH_NM)) for r in reaches)
    found = [np.empty((0, 2), dtype=np.int64)]
    for rows, last in _portions(order, frame):
        pairs = _close(np.column_stack([position[rows] / (reach[0], reach[0], reach[1]), frame[rows] / 1.5]))
        earlier, later = rows[pairs].T
        found.append(rows[pairs[(frame[later] == frame[earlier] + 1) & (frame[earlier] <= last)]])
    first, second = np.concatenate(found)[:_MOST_PAIRS].T
    return FramePairs(
        position[second] - position[first],
        np.sqrt((sd[first] ** 2 + sd[second] ** 2) / 2),
        (position[first, 2] + position[second, 2]) / 2,
        reach,
    )


def _portions(order: NDArray[np.int64], frame: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Rows in the order of their frames, in portions, and the last frame of each portion; of a large table not all.

    A portion also holds the frame after its last.
    """
    rows = len(order)
    size = _MOST_ROWS // _PORTIONS
    starts = np.arange(0, rows, size) if rows <= _MOST_ROWS else np.linspace(0, rows - size, _PORTIONS).astype(int)
    ordered = frame[order]
    for start in starts:
        stop = start + size
        last = int(ordered[stop] - 1 if stop < rows else ordered[-1])
        low = np.searchsorted(ordered, ordered[start])
        high = np.searchsorted(ordered, last + 1, side="right")
        yield order[low:high], last


def _close(scaled: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pairs of rows less than 1 apart along every axis, the smaller first."""
    every = 1
    while True:
        tree = cKDTree(scaled[::every], balanced_tree=False, compact_nodes=False)
        if tree.count_neighbors(tree, 1.0, np.inf) <= _MOST_NEIGHBOURS:
            return np.sort(tree.query_pairs(1.0, np.inf, output_type="ndarray"), axis=1).astype(np.int64) * every
        every *= 2  # a crowd, of which a part is enough


@dataclass(frozen=True)
class Precision:
    """A precision from neighbouring frames, with the histogram that it was fitted to.

    Attributes
    ----------
    value : standard deviation of one localization along one axis, nm or relative to the stated one; NaN if unknown.
    sd : its standard deviation.
    edges, counts, fit, background : histogram of distances, and the model with and without the same molecule.
    """

    value: float
    sd: float
    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    fit: NDArray[np.float64]
    background: NDArray[np.float64]


def lateral_precision(pairs: FramePairs, fewest: int) -> Precision:
    """Precision along x and y, nm: of distances in the plane, a mean over molecules of all brightnesses."""
    near = np.abs(pairs.difference[:, 2]) < pairs.reach[1]
    distance = np.hypot(*pairs.difference[near, :2].T)

    def shapes(sd: float, r: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        same = r * np.exp(-((r / sd) ** 2) / 4)
        line = r * ive(0, (r / sd) ** 2 / 8)  # one coordinate as for the same molecule, the other anywhere
        return same, line, r

    return _fit(distance, pairs.reach[0], shapes, fewest)


def axial_precision(pairs: FramePairs, lateral_nm: float, fewest: int) -> Precision:
    """Precision along z, nm, from pairs that are at the same place within three standard deviations."""
    near = np.hypot(*pairs.difference[:, :2].T) < 3 * np.sqrt(2) * lateral_nm
    return _fit(np.abs(pairs.difference[near, 2]), pairs.reach[1], _gaussian_and_flat, fewest)


def precision_ratio(pairs: FramePairs, axis: int, fewest: int) -> Precision:
    """Measured over stated precision along an axis (0, 1, 2), from differences over their own stated precision."""
    normalised = np.abs(pairs.difference / pairs.sd)
    others = np.delete(normalised, axis, axis=1)
    near = (others < _REACH_NORMALISED).all(axis=1)  # NaN where it is not stated
    return _fit(normalised[near, axis], 1.5 * _REACH_NORMALISED, _gaussian_and_flat, fewest)


def _gaussian_and_flat(sd: float, r: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return np.exp(-((r / sd) ** 2) / 4), np.ones_like(r)


def _fit(distance: NDArray[np.float64], reach: float, shapes: Shapes, fewest: int) -> Precision:
    """Fit the first of `shapes`, which are densities of distance but for a factor, beside the others.

    The likelihood is that of counts in bins, so that the time does not depend on the number of pairs.
    """
    distance = distance[distance < reach]
    edges = np.linspace(0, reach, _BINS + 1)
    counts = np.histogram(distance, edges)[0].astype(np.float64)
    nothing = Precision(np.nan, np.nan, edges, counts, np.zeros(_BINS), np.zeros(_BINS))
    if counts.sum() < fewest:
        return nothing
    middle = (edges[1:] + edges[:-1]) / 2
    start = np.median(distance[distance <= np.quantile(distance, 0.5)]) / np.sqrt(2)
    if start < _TIGHTEST * reach:
        return nothing

    def model(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = np.array(shapes(np.exp(parameters[0]), middle))
        parts /= parts.sum(axis=1, keepdims=True)
        shares = np.exp(np.append(0.0, parameters[1:]) - np.max(np.append(0.0, parameters[1:])))
        return parts * (shares / shares.sum())[:, None]

    def loss(parameters: NDArray[np.float64]) -> float:
        return -float(counts @ np.log(model(parameters).sum(axis=0) + 1e-300)) / counts.sum()

    others = len(shapes(1.0, middle)) - 1
    tries = [[np.log(start * factor), *[-2.0] * others] for factor in (0.7, 1.5)]
    options = {"xatol": 1e-5, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000}
    best = min((minimize(loss, t, method="Nelder-Mead", options=options) for t in tries), key=lambda found: found.fun)
    parts = model(best.x) * counts.sum()
    same, sd = parts[0].sum(), float(np.exp(best.x[0]))
    known = same >= fewest / 2 and sd < reach / 3
    value = (sd, sd / np.sqrt(2 * same)) if known else (np.nan, np.nan)
    return Precision(*value, edges, counts, parts.sum(axis=0), parts[1:].sum(axis=0))
