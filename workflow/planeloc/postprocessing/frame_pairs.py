"""Pairs of localizations that are close in time and space, found frame portion by frame portion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_ROWS_AT_ONCE = 400_000

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def close_pairs(
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    sd: NDArray[np.float64],
    *,
    largest_lag: int,
    largest_chi2: float,
    quantile: float = 0.9,
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Iterator[Pairs]:
    """Yield pairs of rows, the earlier one first, with χ² of the difference of their positions.

    Parameters
    ----------
    frame : (rows,) in ascending order.
    position, sd : (rows, 3) nm.
    largest_lag : of the frames of a pair.
    largest_chi2 : of the difference of two positions, over the variances of both, on three axes.
    quantile : of the standard deviations; the reach is that of two such rows, so that larger ones lose far partners.
    rows_at_once : bounds the memory.
    """
    start = 0
    while start < len(frame):
        stop = min(start + rows_at_once, len(frame))
        stop = int(np.searchsorted(frame, frame[stop - 1], side="right"))
        end = int(np.searchsorted(frame, frame[stop - 1] + largest_lag, side="right"))
        part = slice(start, end)
        first, second, chi2 = _close(frame[part], position[part], sd[part], largest_lag, largest_chi2, quantile)
        own = first < stop - start
        yield first[own] + start, second[own] + start, chi2[own]
        start = stop


def _close(
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    sd: NDArray[np.float64],
    largest_lag: int,
    largest_chi2: float,
    quantile: float,
) -> Pairs:
    reach = np.sqrt(2 * largest_chi2) * np.quantile(sd, quantile, axis=0)
    scaled = np.column_stack([position / reach, frame / (largest_lag + 0.5)])
    pairs = cKDTree(scaled).query_pairs(1.0, p=np.inf, output_type="ndarray")
    first, second = pairs.min(axis=1), pairs.max(axis=1)  # rows are in the order of frames
    later = frame[second] > frame[first]
    first, second = first[later], second[later]
    difference = position[first] - position[second]
    chi2 = (difference**2 / (sd[first] ** 2 + sd[second] ** 2)).sum(axis=1)
    near = chi2 < largest_chi2
    return first[near], second[near], chi2[near]
