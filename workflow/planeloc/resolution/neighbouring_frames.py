"""Localization precision from molecules that are on in two neighbouring frames (NeNA, Endesfelder et al. 2014).

Two localizations of one molecule differ by √2 of their standard deviation. All pairs from one frame to the next within
some reach are taken. Those of different molecules of the same structure have the distances that pairs many frames apart
have: these are part of the model, beside molecules anywhere.

Bright molecules are localized more precisely than dim ones: a single width fits the distances of neither, and leaves
the long distances of dim molecules to the other molecules. In nm, the standard deviations are therefore taken to be
log-normal, and the precision is their rms. Whether the stated precision is true is asked of differences over their own
stated standard deviation, which have one width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize
from scipy.spatial import cKDTree

_MOST_ROWS, _PORTIONS = 1_000_000, 20  # of larger tables, portions of neighbouring frames over the whole movie
_MOST_PAIRS = 2_000_000
_MOST_NEIGHBOURS = 20_000_000  # of a portion, all frames together
_REACH_SD, _SMALLEST_REACH_NM, _LARGEST_REACH_NM = 12.0, 60.0, 400.0
_UNKNOWN_SD_NM = (12.0, 12.0, 40.0)
_BINS = 120
_REACH_NORMALISED = 12.0  # of differences over the stated standard deviation of one localization
_OTHER_AXES = 8.0  # the same, along the axes that are not looked at
_FAR_FRAMES, _NEAREST_FAR_FRAMES = 50, 5  # longer than a blink; in a shorter movie, other molecules are anywhere
_FEWEST_OTHERS = 300  # pairs
_TIGHTEST = 1e-3  # of the reach, below which a distribution is a point
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(11)  # of the log-normal distribution of standard deviations
_WIDEST_SPREAD = 0.7  # standard deviation of their logarithm; more of it is other molecules


@dataclass(frozen=True)
class FramePairs:
    """Differences of localizations in neighbouring frames.

    Attributes
    ----------
    difference : (pairs, 3) nm, later less earlier.
    sd : (pairs, 3) nm, stated standard deviation of one localization, the rms of both; NaN where unknown.
    depth : (pairs,) nm, mean of both.
    reach : (lateral, axial) nm, up to which pairs were looked for.
    others : the same of frames far apart, whose pairs are different molecules; None where the movie is short.
    """

    difference: NDArray[np.float64]
    sd: NDArray[np.float64]
    depth: NDArray[np.float64]
    reach: tuple[float, float]
    others: FramePairs | None = None

    def __len__(self) -> int:
        return len(self.depth)

    def __getitem__(self, rows: NDArray) -> FramePairs:
        return FramePairs(self.difference[rows], self.sd[rows], self.depth[rows], self.reach, self.others)


def frame_pairs(frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64]) -> FramePairs:
    """Find all pairs of localizations from one frame to the next that are near each other.

    Parameters
    ----------
    frame : (rows,) in any order.
    position, sd : (rows, 3) nm; positions are finite.
    """
    known = [v[np.isfinite(v) & (v > 0)] for v in sd.T]
    median = [float(np.median(v)) if len(v) else d for v, d in zip(known, _UNKNOWN_SD_NM, strict=True)]
    reaches = (_REACH_SD * max(median[:2]), _REACH_SD * median[2])
    reach = tuple(float(np.clip(r, _SMALLEST_REACH_NM, _LARGEST_REACH_NM)) for r in reaches)
    order = np.argsort(frame, kind="stable")
    far = min(_FAR_FRAMES, int(np.ptp(frame)) // 4) if len(frame) else 0
    first, second = _pairs(order, frame, position / (reach[0], reach[0], reach[1]), 1)
    found = _differences(first, second, position, sd, reach)
    if far < _NEAREST_FAR_FRAMES:
        return found
    first, second = _pairs(order, frame, position / (reach[0], reach[0], reach[1]), far)
    return replace(found, others=_differences(first, second, position, sd, reach))


def _differences(first: NDArray, second: NDArray, position: NDArray, sd: NDArray, reach: tuple) -> FramePairs:
    return FramePairs(
        position[second] - position[first],
        np.sqrt((sd[first] ** 2 + sd[second] ** 2) / 2),
        (position[first, 2] + position[second, 2]) / 2,
        reach,
    )


def _pairs(
    order: NDArray[np.int64], frame: NDArray[np.int64], scaled: NDArray[np.float64], lag: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows `lag` frames apart that are less than 1 apart along every axis; of a large table not all.

    Parameters
    ----------
    order : rows in the order of their frames.
    """
    rows, ordered = len(order), frame[order]
    size = _MOST_ROWS // _PORTIONS
    starts = np.arange(0, rows, size) if rows <= _MOST_ROWS else np.linspace(0, rows - size, _PORTIONS).astype(int)
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in starts:
        stop = min(start + size, rows)
        earlier = order[start:stop]
        bounds = (
            np.searchsorted(ordered, ordered[start] + lag),
            np.searchsorted(ordered, ordered[stop - 1] + lag, "right"),
        )
        later = order[bounds[0] : bounds[1]]
        found.append(_close(earlier, later, frame, scaled, lag))
    pairs = np.concatenate(found)
    first, second = pairs[:: max(1, -(-len(pairs) // _MOST_PAIRS))].T  # evenly: they are in the order of frames
    return first, second


def _close(
    earlier: NDArray[np.int64], later: NDArray[np.int64], frame: NDArray, scaled: NDArray, lag: int
) -> NDArray[np.int64]:
    """(pairs, 2) rows of both that are `lag` frames apart and close; of a crowd, a part is enough."""
    while len(earlier) and len(later):
        trees = [
            cKDTree(np.column_stack([scaled[rows], 2.0 * (frame[rows] - shift)]), balanced_tree=False)
            for rows, shift in ((earlier, 0), (later, lag))
        ]
        if trees[0].count_neighbors(trees[1], 1.0, np.inf) <= _MOST_NEIGHBOURS:
            found = trees[0].sparse_distance_matrix(trees[1], 1.0, np.inf, output_type="ndarray")
            return np.column_stack([earlier[found["i"]], later[found["j"]]])
        earlier, later = earlier[::2], later[::2]
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Precision:
    """A precision from neighbouring frames, with the histogram that it was fitted to.

    Attributes
    ----------
    value : standard deviation of one localization along one axis (rms over the localizations), nm or relative to the
        stated one; NaN if unknown.
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
    """Precision along x and y, nm: of distances in the plane, rms over molecules of all brightnesses."""

    def distances(of: FramePairs) -> NDArray[np.float64]:
        return np.hypot(*of.difference[:, :2].T)

    return _fit(pairs, distances, pairs.reach[0], 2, fewest, mixed=True)


def axial_precision(pairs: FramePairs, lateral_nm: float, fewest: int) -> Precision:
    """Precision along z, nm, from pairs that are at the same place within three standard deviations."""

    def distances(of: FramePairs) -> NDArray[np.float64]:
        near = np.hypot(*of.difference[:, :2].T) < 3 * np.sqrt(2) * lateral_nm
        return np.abs(of.difference[near, 2])

    return _fit(pairs, distances, pairs.reach[1], 1, fewest, mixed=True)


def precision_ratio(pairs: FramePairs, axis: int, fewest: int) -> Precision:
    """Measured over stated precision along an axis (0, 1, 2), from differences over their own stated precision."""

    def distances(of: FramePairs) -> NDArray[np.float64]:
        normalised = np.abs(of.difference / of.sd)
        near = (np.delete(normalised, axis, axis=1) < _OTHER_AXES).all(axis=1)  # NaN where it is not stated
        return normalised[near, axis]

    return _fit(pairs, distances, _REACH_NORMALISED, 1, fewest, mixed=False)


def _fit(
    pairs: FramePairs,
    distances: Callable[[FramePairs], NDArray[np.float64]],
    reach: float,
    dimensions: int,
    fewest: int,
    *,
    mixed: bool,
) -> Precision:
    """Fit the distances of the same molecule along one axis or two, beside those of other molecules.

    The likelihood is that of counts in bins, so that the time does not depend on the number of pairs. With `mixed`,
    standard deviations are log-normal, otherwise all are the same.
    """
    edges = np.linspace(0, reach, _BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    near = distances(pairs)
    near = near[near < reach]
    counts = np.histogram(near, edges)[0].astype(np.float64)
    nothing = Precision(np.nan, np.nan, edges, counts, np.zeros(_BINS), np.zeros(_BINS))
    if counts.sum() < fewest:
        return nothing
    start = np.median(near[near <= np.median(near)]) / np.sqrt(2)
    if start < _TIGHTEST * reach:
        return nothing
    others = _others(pairs, distances, edges, middle ** (dimensions - 1))

    def model(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        same = _same_molecule(middle, np.exp(parameters[0]), _spread(parameters[1]) if mixed else 0.0, dimensions)
        parts = np.array([same / max(same.sum(), 1e-300), *others])
        logarithms = np.append(0.0, parameters[1 + mixed :])
        shares = np.exp(logarithms - logarithms.max())
        return parts * (shares / shares.sum())[:, None]

    def loss(parameters: NDArray[np.float64]) -> float:
        return -float(counts @ np.log(model(parameters).sum(axis=0) + 1e-300)) / counts.sum()

    more = [*[0.5] * mixed, *[-2.0] * len(others)]
    tries = [[np.log(start * factor), *more] for factor in (0.7, 1.5)]
    options = {"xatol": 1e-5, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000}
    best = min((minimize(loss, t, method="Nelder-Mead", options=options) for t in tries), key=lambda found: found.fun)
    parts = model(best.x) * counts.sum()
    same, spread = parts[0].sum(), _spread(best.x[1]) if mixed else 0.0
    rms = float(np.exp(best.x[0] + spread**2))
    known = same >= fewest / 2 and rms < reach / 3
    # of the mean square of distances whose variance is distributed log-normally
    relative_sd = np.sqrt((np.exp(4 * spread**2) * (dimensions + 2) / dimensions - 1) / (4 * max(same, 1)))
    value = (rms, rms * relative_sd) if known else (np.nan, np.nan)
    return Precision(*value, edges, counts, parts.sum(axis=0), parts[1:].sum(axis=0))


def _spread(parameter: float) -> float:
    """Standard deviation of the logarithm of the standard deviations, from a parameter without limits."""
    return float(_WIDEST_SPREAD * np.sin(parameter) ** 2)


def _same_molecule(distance: NDArray[np.float64], median: float, spread: float, dimensions: int) -> NDArray[np.float64]:
    """Density of the distances of two localizations whose standard deviation is log-normal, not normalised."""
    sd = median * np.exp(spread * (_NODES if spread > 0 else np.zeros(1)))[:, None]
    weights = _WEIGHTS if spread > 0 else np.ones(1)
    return weights @ (distance ** (dimensions - 1) / sd**dimensions * np.exp(-((distance / sd) ** 2) / 4))


def _others(
    pairs: FramePairs, distances: Callable[[FramePairs], NDArray[np.float64]], edges: NDArray, anywhere: NDArray
) -> list[NDArray[np.float64]]:
    """Distributions of the distances of other molecules: anywhere, and as many frames apart as there are enough."""
    found = [anywhere / anywhere.sum()]
    if pairs.others is not None:
        counts = np.histogram(distances(pairs.others), edges)[0].astype(np.float64)
        if counts.sum() >= _FEWEST_OTHERS:
            counts = gaussian_filter1d(counts, 2.0, mode="nearest") + 1e-3 * counts.mean()
            found.append(counts / counts.sum())
    return found
