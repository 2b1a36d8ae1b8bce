"""Error measures of the reproduction: from positions and voxels to numbers with intervals. Nothing is read or drawn.

Positions are (n, 3) as x, y, z in nm, voxels (n, 3) as column, row, slice, so that both run along the same axes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtr

_RESAMPLES = 2000
_LEVEL = 0.95
_BLOCK = 1 << 20  # draws of the bootstrap held at once


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the interval."""
        return self.low <= value <= self.high

    def over(self, limit: float) -> Interval:
        """The interval in units of a limit."""
        return self.map(lambda value: value / limit)

    def map(self, function) -> Interval:
        """The interval of an increasing function of the value."""
        return Interval(*(function(number) for number in (self.value, self.low, self.high)))


@dataclass(frozen=True)
class Errors:
    """How one estimator did: lateral is the 2-D distance, axial the distance along z, all in nm with 95 % intervals."""

    voxel_lateral: Interval  # mean distance of the voxel found from the true one (the paper's Table 3)
    voxel_axial: Interval
    mean_lateral: Interval  # mean distance of the position found from the true position
    mean_axial: Interval
    rmse_lateral: Interval  # sqrt(mean(dx² + dy²)) of the positions
    rmse_axial: Interval
    exact: Interval  # share of the molecules in exactly the right voxel
    jaccard: Interval  # of the voxels


def mean_and_interval(values: ArrayLike, seed: int = 0) -> Interval:
    """Mean of `values` and its 95 % percentile bootstrap interval (2,000 resamples); the seed fixes the draws."""
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    means = np.empty(_RESAMPLES)
    block = max(1, _BLOCK // len(values))
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        means[start : start + rows] = values[generator.integers(len(values), size=(rows, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def rms_and_interval(values: ArrayLike, seed: int = 0) -> Interval:
    """Root of the mean square of `values`, with its bootstrap interval."""
    return mean_and_interval(np.square(np.asarray(values, dtype=np.float64)), seed).map(math.sqrt)


def voxel_errors(found_voxel: ArrayLike, truth_voxel: ArrayLike, voxel_nm: ArrayLike) -> NDArray[np.float64]:
    """Found minus true voxel, (n, 3) nm."""
    return (np.asarray(found_voxel) - np.asarray(truth_voxel)) * np.asarray(voxel_nm, dtype=np.float64)


def lateral_distance(error_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """2-D distance of errors (n, 3) → (n,)."""
    return np.hypot(error_nm[:, 0], error_nm[:, 1])


def jaccard(exact_share: float) -> float:
    """Voxel Jaccard index where every image holds one molecule and one is reported.

    A miss is a false positive and a false negative at once: hits / (2 n − hits), with hits = share · n.
    """
    return exact_share / (2.0 - exact_share)


def error_summary(
    truth_nm: NDArray, found_nm: NDArray, truth_voxel: NDArray, found_voxel: NDArray, voxel_nm: ArrayLike, seed: int = 0
) -> Errors:
    """All error measures of one estimator on images of one molecule."""
    voxel, continuous = voxel_errors(found_voxel, truth_voxel, voxel_nm), found_nm - truth_nm
    exact = mean_and_interval((found_voxel == truth_voxel).all(axis=1), seed)
    return Errors(
        voxel_lateral=mean_and_interval(lateral_distance(voxel), seed),
        voxel_axial=mean_and_interval(np.abs(voxel[:, 2]), seed),
        mean_lateral=mean_and_interval(lateral_distance(continuous), seed),
        mean_axial=mean_and_interval(np.abs(continuous[:, 2]), seed),
        rmse_lateral=rms_and_interval(lateral_distance(continuous), seed),
        rmse_axial=rms_and_interval(continuous[:, 2], seed),
        exact=exact,
        jaccard=exact.map(jaccard),
    )


def error_counts(found_voxel: NDArray, truth_voxel: NDArray, reach: int) -> tuple[NDArray[np.int64], int]:
    """2-D histogram of the voxel errors, and how many lie beyond it.

    The histogram is (2 reach + 1, 2 reach + 1) as (error along y, error along x), the right voxel in the middle.
    """
    column, row = (np.asarray(found_voxel) - np.asarray(truth_voxel))[:, :2].T.astype(np.int64)
    inside = (np.abs(column) <= reach) & (np.abs(row) <= reach)
    counts = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.int64)
    np.add.at(counts, (row[inside] + reach, column[inside] + reach), 1)
    return counts, int((~inside).sum())


def depth_bins(depth_range_nm: tuple[float, float], molecules: int) -> NDArray[np.float64]:
    """Edges of the bins of depth: 50, 100 or 200 nm wide, the finest that hold some 25 molecules each."""
    low, high = depth_range_nm
    width = next((w for w in (50.0, 100.0) if molecules * w / (high - low) >= 25), 200.0)
    return np.linspace(low, high, max(1, round((high - low) / width)) + 1)


def error_by_depth(depth_nm: NDArray, error_nm: NDArray, edges_nm: NDArray, seed: int = 0) -> list[list[Interval]]:
    """Mean |error| of every axis (outer list: columns of `error_nm`) in every bin of depth (inner); NaN where empty."""
    inside = [(depth_nm >= low) & (depth_nm < high) for low, high in itertools.pairwise(edges_nm)]
    inside[-1] |= depth_nm == edges_nm[-1]
    return [[mean_and_interval(np.abs(axis[chosen]), seed) for chosen in inside] for axis in error_nm.T]


def same_voxel_share(mean_error_nm: ArrayLike, width_nm: float) -> NDArray[np.float64]:
    """Share of the normal errors with this mean size that leave a position in its voxel, along one axis.

    For positions anywhere in the voxel, an error e keeps it with probability max(0, 1 − |e| / width); that is averaged
    over e ~ N(0, sd²), with sd = mean |e| · sqrt(π/2).
    """
    ratio = width_nm / (np.asarray(mean_error_nm, dtype=np.float64) * math.sqrt(math.pi / 2))
    edge = np.exp(-(ratio**2) / 2)
    return 2 * ndtr(ratio) - 1 - math.sqrt(2 / math.pi) * (1 - edge) / ratio


def distance_to_curve(points_nm: NDArray, curve_nm: NDArray, unit_nm: ArrayLike = (1.0, 1.0, 1.0)) -> NDArray:
    """Distance (n,) of points from a polyline, each axis counted in its unit (nm, or voxels of that many nm)."""
    points, curve = (np.reshape(p, (-1, 3)) / np.asarray(unit_nm, dtype=np.float64) for p in (points_nm, curve_nm))
    if not len(points):
        return np.empty(0)
    start, way = curve[:-1], np.diff(curve, axis=0)
    if not len(way):
        return np.linalg.norm(points - curve[0], axis=1)
    length = np.maximum((way**2).sum(axis=1), np.finfo(float).tiny)
    result = np.empty(len(points))
    block = max(1, _BLOCK // len(way))
    for first in range(0, len(points), block):
        offset = points[first : first + block, None] - start
        along = np.clip((offset * way).sum(axis=2) / length, 0, 1)
        result[first : first + block] = np.linalg.norm(offset - along[..., None] * way, axis=2).min(axis=1)
    return result


def nearest_nm(points: NDArray, others: NDArray) -> NDArray[np.float64]:
    """Distance of every point to the nearest of the others; infinite where there is none."""
    points, others = np.reshape(points, (-1, 3)), np.reshape(others, (-1, 3))
    return cKDTree(others).query(points)[0] if len(points) and len(others) else np.full(len(points), np.inf)
