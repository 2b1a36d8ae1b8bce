"""Matching of localizations with the ground truth.

The protocol of the 2016 SMLM challenge (Sage et al. 2019): in every frame, a localization and a molecule may be paired
within a cylinder (250 nm laterally, 500 nm axially). Of all one-to-one pairings with the most pairs, the one with the
least sum of 3D distances is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_ROWS_AT_ONCE = 1 << 16  # of either table, and the rest of the last frame


@dataclass(frozen=True)
class Points:
    """Positions of shape (n, 3) in nm (x, y, z), and the frame of each."""

    frame: NDArray[np.int64]
    position_nm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray[np.int64]) -> Points:
        return Points(self.frame[rows], self.position_nm[rows])


@dataclass(frozen=True)
class Pairs:
    """Row `found[k]` of the localizations matches row `truth[k]` of the ground truth."""

    found: NDArray[np.int64]
    truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.found)


def match(found: Points, truth: Points, lateral_nm: float, axial_nm: float) -> Pairs:
    """Pair localizations with molecules, one to one, in every frame: most pairs first, then least total 3D distance.

    Frames are matched in portions, so that time is linear in the number of rows and memory does not depend on how many
    pairs are possible.
    """
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for found_rows, truth_rows in _whole_frames(found.frame, truth.frame):
        some = _match_together(found[found_rows], truth[truth_rows], lateral_nm, axial_nm)
        pairs.append((found_rows[some.found], truth_rows[some.truth]))
    paired = Pairs(*(np.concatenate(rows) for rows in zip(*pairs, strict=True)))
    order = np.argsort(paired.found)  # where frames are not in order
    return Pairs(paired.found[order], paired.truth[order])


def _whole_frames(
    found: NDArray[np.int64], truth: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of both tables, in portions of whole frames."""
    orders = [np.argsort(frame, kind="stable") for frame in (found, truth)]
    frames = [found[orders[0]], truth[orders[1]]]
    firsts = np.unique(np.concatenate([frame[::_ROWS_AT_ONCE] for frame in frames]))
    bounds = [[*np.searchsorted(frame, firsts), len(frame)] for frame in frames]
    for (low, high), (truth_low, truth_high) in zip(*map(itertools.pairwise, bounds), strict=True):
        yield orders[0][low:high], orders[1][truth_low:truth_high]


def _match_together(found: Points, truth: Points, lateral_nm: float, axial_nm: float) -> Pairs:
    """Match frames at once.

    Possible pairs form small connected groups, even in dense frames, which are solved independently. Groups of one
    localization and one molecule, by far the most, need no solving.
    """
    candidates, distance = _candidates(found, truth, lateral_nm, axial_nm)
    if not len(candidates):
        return candidates
    group = _groups(candidates, len(found), len(truth))
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))
    alone = np.diff(bounds) == 1
    chosen = [order[bounds[:-1][alone]]]
    rows, columns = (_places_in_group(group, members)[order] for members in (candidates.found, candidates.truth))
    distance = distance[order]
    for low, high in zip(bounds[:-1][~alone], bounds[1:][~alone], strict=True):
        chosen.append(order[low + _assign(rows[low:high], columns[low:high], distance[low:high])])
    pairs = np.sort(np.concatenate(chosen))
    return Pairs(candidates.found[pairs], candidates.truth[pairs])


def _candidates(found: Points, truth: Points, lateral_nm: float, axial_nm: float) -> tuple[Pairs, NDArray[np.float64]]:
    """All pairs in the same frame and within the cylinder, and their 3D distances, nm."""
    # frames become a third axis on which neighbours are out of reach
    trees = [
        cKDTree(np.column_stack([points.position_nm[:, :2], points.frame * (2 * lateral_nm + 1.0)]))
        for points in (found, truth)
    ]
    close = trees[0].sparse_distance_matrix(trees[1], lateral_nm, output_type="ndarray")
    pairs = Pairs(close["i"].astype(np.int64), close["j"].astype(np.int64))
    difference = found.position_nm[pairs.found] - truth.position_nm[pairs.truth]
    within = np.abs(difference[:, 2]) <= axial_nm
    distance = np.sqrt((difference**2).sum(axis=1))
    order = np.lexsort((pairs.truth[within], pairs.found[within]))  # the order of the tree is not defined
    return Pairs(pairs.found[within][order], pairs.truth[within][order]), distance[within][order]


def _groups(pairs: Pairs, found: int, truth: int) -> NDArray[np.int64]:
    """The connected group of every candidate pair."""
    size = found + truth
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs.found, found + pairs.truth)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    return label[pairs.found].astype(np.int64)


def _places_in_group(group: NDArray[np.int64], member: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each member among the different members of its group, from 0."""
    order = np.lexsort((member, group))
    number = np.cumsum(np.diff(member[order], prepend=-1) != 0)
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    lengths = np.diff(first, append=len(group))
    place = np.empty_like(number)
    place[order] = number - np.repeat(number[first], lengths)
    return place


def _assign(rows: NDArray[np.int64], columns: NDArray[np.int64], distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of a group's candidate pairs are taken; `rows` and `columns` number its localizations and molecules."""
    # an impossible pair costs more than all possible ones together: no possible pair is lost for distance
    cost = np.full((rows.max() + 1, columns.max() + 1), distance.sum() + 1.0)
    cost[rows, columns] = distance
    index = np.full(cost.shape, -1)
    index[rows, columns] = np.arange(len(distance))
    taken = index[linear_sum_assignment(cost)]
    return taken[taken >= 0]
