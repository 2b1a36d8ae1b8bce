"""Pairs of blinks that are close to each other, in bounded number, found by sorting them into a grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.postprocessing.blinks import Blinks

_CANDIDATES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """For every blink a sample of its neighbours.

    Attributes
    ----------
    start : (blinks + 1,) the pairs of blink i are those from start[i] to start[i + 1].
    other : (pairs,) the neighbour.
    share : (pairs,) how many neighbours a sampled one stands for, at least 1.
    """

    start: NDArray[np.int64]
    other: NDArray[np.int32]
    share: NDArray[np.float32]

    def portions(self, pairs: int) -> Iterator[tuple[int, int]]:
        """First and last blink of portions of about as many pairs."""
        first = 0
        while first < len(self.start) - 1:
            last = int(np.searchsorted(self.start, self.start[first] + pairs, side="right")) - 1
            last = min(max(last, first + 1), len(self.start) - 1)
            yield first, last
            first = last


def sort_into_grid(shifted: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order of the blinks by cells of a grid, of size `reach`; within a cell it is random."""
    random = np.random.default_rng(0).permutation(len(shifted))
    return random[np.argsort(_cells(shifted[random], reach)[0], kind="stable")]


def find_pairs(
    blinks: Blinks, shifted: NDArray[np.float64], reach: NDArray[np.float64], pairs_per_blink: int, apart: int
) -> Pairs:
    """Neighbours of every blink within an ellipsoid, apart in time.

    Parameters
    ----------
    blinks : in the order of `sort_into_grid`.
    shifted : (blinks, 3) nm, positions corrected as far as the drift is known.
    reach : (3,) semi-axes of the ellipsoid, nm.
    pairs_per_blink : about the largest number of neighbours; where there are more, evenly spaced ones are taken.
    apart : smallest difference of the frames of a pair.
    """
    key, step = _cells(shifted, reach)
    scaled = (shifted / reach).astype(np.float32)
    most = max(1, round(3 * pairs_per_blink / 9 * 2))  # of 9 columns of cells some are empty, most candidates too far
    counts = np.zeros(len(blinks), np.int64)
    others, shares = [], []
    size = max(1, _CANDIDATES_AT_ONCE // (9 * most))
    for first in range(0, len(blinks), size):
        rows = np.arange(first, min(first + size, len(blinks)))
        one, other, share = _candidates(key, step, rows, most)
        near = np.abs(blinks.frame[one] - blinks.frame[other]) >= apart
        near &= ((scaled[one] - scaled[other]) ** 2).sum(axis=1) < 1
        one, other, share = one[near], other[near], share[near]
        order = np.argsort(one, kind="stable")
        counts[first : first + len(rows)] = np.bincount(one - first, minlength=len(rows))
        others.append(other[order].astype(np.int32))
        shares.append(share[order].astype(np.float32))
    start = np.concatenate([[0], np.cumsum(counts)])
    return Pairs(start, np.concatenate(others), np.concatenate(shares))


def _cells(shifted: NDArray[np.float64], reach: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Number of every blink's cell, and the steps in number along x and y; z runs fastest, with empty cells around."""
    cell = np.floor((shifted - shifted.min(axis=0)) / reach).astype(np.int64) + 1
    _, ny, nz = cell.max(axis=0) + 2
    step = (int(ny) * int(nz), int(nz))
    return cell[:, 0] * step[0] + cell[:, 1] * step[1] + cell[:, 2], step


def _candidates(
    key: NDArray[np.int64], step: tuple[int, int], rows: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Blinks of the cells around those of `rows`, at most `most` of each column of three cells along z."""
    ones, others, shares = [], [], []
    for along_x in (-1, 0, 1):
        for along_y in (-1, 0, 1):
            column = key[rows] + along_x * step[0] + along_y * step[1]
            start = np.searchsorted(key, column - 1, side="left")
            count = np.searchsorted(key, column + 1, side="right") - start
            taken = np.minimum(count, most)
            one = np.repeat(np.arange(len(rows)), taken)
            number = np.arange(len(one)) - np.repeat(np.cumsum(taken) - taken, taken)
            spacing = count / np.maximum(taken, 1)
            other = start[one] + ((number + _scatter(rows)[one]) * spacing[one]).astype(np.int64)
            ones.append(rows[one])
            others.append(other)
            shares.append(spacing[one])
    return np.concatenate(ones), np.concatenate(others), np.concatenate(shares)


def _scatter(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for every row, evenly spread (golden ratio)."""
    return rows * 0.6180339887498949 % 1.0
