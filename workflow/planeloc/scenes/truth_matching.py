"""Matching of localizations with the ground truth.

The protocol of the 2016 SMLM challenge (Sage et al. 2019): in every frame, a localization and a molecule may be paired
within a cylinder (250 nm laterally, 500 nm axially). Of all one-to-one pairings with the most pairs, the one with the
least sum of 3D distances is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Points:
    """Positions of shape (n, 3) in nm (x, y, z), and the frame of each."""

    frame: NDArray[np.int64]
    position_nm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Pairs:
    """Row `found[k]` of the localizations matches row `truth[k]` of the ground truth."""

    found: NDArray[np.int64]
    truth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.found)


def match(found: Points, truth: Points, lateral_nm: float, axial_nm: float) -> Pairs:
    """Pair localizations with molecules, one to one, in every frame: most pairs first, then least total 3D distance.

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
    for low, high in zip(bounds[:-1][~alone], bounds[1:][~alone], strict=True):
        members = order[low:high]
        chosen.append(members[_assign(candidates.found[members], candidates.truth[members], distance[members])])
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


def _assign(found: NDArray[np.int64], truth: NDArray[np.int64], distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of a group's candidate pairs are taken."""
    row_of, rows = np.unique(found, return_inverse=True)
    column_of, columns = np.unique(truth, return_inverse=True)
    # an impossible pair costs more than all possible ones together: no possible pair is lost for distance
    impossible = distance.sum() + 1.0
    cost = np.full((len(row_of), len(column_of)), impossible)
    cost[rows, columns] = distance
    index = np.full(cost.shape, -1)
    index[rows, columns] = np.arange(len(distance))
    taken = index[linear_sum_assignment(cost)]
    return taken[taken >= 0]
