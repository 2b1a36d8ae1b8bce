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
    rows : the localizations that were merged, if known.
    """

    frame: NDArray[np.int64]
    position: NDArray[np.float64]
    sd: NDArray[np.float64]
    duration: float = 1.0
    rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: NDArray) -> Blinks:
        rows = self.rows.of(chosen) if self.rows else None
        return Blinks(self.frame[chosen], self.position[chosen], self.sd[chosen], self.duration, rows)


@dataclass(frozen=True)
class Rows:
    """Localizations, blink by blink.

    Attributes
    ----------
    first : (blinks + 1,) the rows of blink i are those from first[i] to first[i + 1].
    frame : (rows,)
    position, sd : (rows, 3) nm.
    """

    first: NDArray[np.int64]
    frame: NDArray[np.int64]
    position: NDArray[np.float64]
    sd: NDArray[np.float64]

    @property
    def blink(self) -> NDArray[np.int64]:
        """(rows,) the blink of every row."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def of(self, chosen: NDArray) -> Rows:
        """The rows of some blinks, in the order of these."""
        chosen = np.arange(len(self.first) - 1)[chosen]
        count = np.diff(self.first)[chosen]
        first = np.concatenate([[0], np.cumsum(count)])
        row = np.arange(first[-1]) + np.repeat(self.first[:-1][chosen] - first[:-1], count)
        return Rows(first, self.frame[row], self.position[row], self.sd[row])


def merge_blinks(
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    sd: NDArray[np.float64],
    drift: NDArray[np.float64] | float = 0.0,
) -> Blinks:
    """Merge localizations that follow each other, at the same place within their precision, into blinks.

    Parameters
    ----------
    frame : (rows,) in any order.
    position, sd : (rows, 3) nm.
    drift : (rows, 3) nm, of the sample at every row, as far as it is known; it decides what is the same place.
    """
    drift = np.broadcast_to(drift, position.shape)
    order = np.argsort(frame, kind="stable")
    blink = chains(len(frame), *_successors(frame[order], (position - drift)[order], sd[order]))
    blink = _cut(blink, frame[order])
    count = int(blink.max()) + 1 if len(blink) else 0
    order = order[np.argsort(blink, kind="stable")]
    first = np.concatenate([[0], np.cumsum(np.bincount(blink, minlength=count))])
    rows = Rows(first, frame[order], position[order], sd[order])
    weight = 1 / rows.sd**2
    total, place = (sums(value, first) for value in (weight, weight * rows.position))
    time = sums((weight[:, :1] * rows.frame[:, None]), first)[:, 0] / total[:, 0]
    duration = len(frame) / max(count, 1)
    return Blinks(np.rint(time).astype(np.int64), place / total, 1 / np.sqrt(total), duration, rows)


def sums(values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """(blinks, columns): sums of the rows of every blink; every blink has a row."""
    return np.add.reduceat(values, first[:-1], axis=0) if len(values) else values


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
