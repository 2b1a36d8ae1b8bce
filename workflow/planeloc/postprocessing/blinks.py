"""Blinks: a molecule that is on for several frames is one observation of its position, not several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.postprocessing.frame_pairs import close_pairs

_LARGEST_GAP = 2  # frames from one localization of a blink to the next
_LARGEST_CHI2 = 16.0  # of the difference of two positions on three axes; 0.1 % of true pairs are larger
_LONGEST = 10  # frames; a bead that is always on becomes many observations, over each of which it stands still


@dataclass(frozen=True)
class Blinks:
    """One row per blink: the mean position of its localizations, weighted by their precision.

    Attributes
    ----------
    frame : (blinks,) mean frame, rounded.
    position, sd : (blinks, 3) nm, x, y, z.
    duration : mean number of localizations of a blink, which is about its length in frames.
    """

    frame: NDArray[np.int64]
    position: NDArray[np.float64]
    sd: NDArray[np.float64]
    duration: float = 1.0

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray) -> Blinks:
        return Blinks(self.frame[rows], self.position[rows], self.sd[rows], self.duration)


def merge_blinks(frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64]) -> Blinks:
    """Merge localizations that follow each other, at the same place within their precision, into blinks.

    Parameters
    ----------
    frame : (rows,) in any order.
    position, sd : (rows, 3) nm.
    """
    order = np.argsort(frame, kind="stable")
    frame, position, sd = frame[order], position[order], sd[order]
    blink = chains(len(frame), *_successors(frame, position, sd))
    blink = _cut(blink, frame)
    weight = 1 / sd**2
    count = int(blink.max()) + 1 if len(blink) else 0
    total = np.stack([np.bincount(blink, weight[:, axis], count) for axis in range(3)], axis=1)
    place = np.stack([np.bincount(blink, (weight * position)[:, axis], count) for axis in range(3)], axis=1)
    time = np.bincount(blink, weight[:, 0] * frame, count) / total[:, 0]
    duration = len(frame) / max(count, 1)
    return Blinks(np.rint(time).astype(np.int64), place / total, 1 / np.sqrt(total), duration)


def _successors(
    frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows, earlier and later, of which each is the other's most likely neighbour in the blink."""
    pairs = list(close_pairs(frame, position, sd, largest_lag=_LARGEST_GAP, largest_chi2=_LARGEST_CHI2))
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second, chi2 = map(np.concatenate, zip(*pairs, strict=True))
    chi2 += _LARGEST_CHI2 * (frame[second] - frame[first] - 1)  # the next frame is preferred to later ones
    keep = _smallest(first, chi2) & _smallest(second, chi2)
    return first[keep], second[keep]


def _smallest(row: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which entries have the smallest value of all with the same row."""
    order = np.lexsort((value, row))
    smallest = np.zeros(len(row), dtype=bool)
    if len(row):
        smallest[order] = np.concatenate([[True], row[order][1:] != row[order][:-1]])
    return smallest


def chains(rows: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the chain of every row; the earliest row of each names it."""
    root = np.arange(rows)
    root[second] = first
    while True:  # pointer jumping: chains of n rows take log2(n) rounds
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further


def _cut(root: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """Consecutive numbers of the chains, cut where they become too long."""
    piece = (frame - frame[root]) // _LONGEST
    key = root * (int(piece.max(initial=0)) + 1) + piece
    return np.unique(key, return_inverse=True)[1]


def some_of(blinks: Blinks, most: int) -> Blinks:
    """The blinks, or `most` of them, chosen at random."""
    if len(blinks) <= most:
        return blinks
    return blinks[np.sort(np.random.default_rng(0).choice(len(blinks), most, replace=False))]
