"""Linking: which localizations belong to one blink of a molecule.

Molecules are followed from frame to frame. In every frame, a localization may continue a molecule or be a new one; both
explanations are weighed by their likelihood, from the precision of the localization and of the molecule so far, the law
by which molecules blink, and the density of new molecules at that place. Where several localizations and molecules
compete, the most likely assignment of all is taken.

Localizations that have no partner nearby need no decision, and groups without a connection do not influence each other.
All groups are therefore followed together: the first frames of all, then the second frames of all, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from planeloc.postprocessing.blink_law import Births, BlinkLaw, first_guess, refined
from planeloc.postprocessing.blinks import chains
from planeloc.postprocessing.frame_pairs import close_pairs

_LARGEST_CHI2 = 20.0  # of a link, on three axes; 0.02 % of true ones are larger
_REACH_QUANTILE = 0.97
_MEMORY = 10.0  # localizations over which the position of a molecule is averaged: what is always on may drift
_TEACHING_ROWS, _ROUNDS = 300_000, 5
_RESCALED = 0.1  # relative change of the standard deviations after which candidates are searched again
_SAMPLE, _CROWD = 500, 300.0  # rows that are looked at, and neighbours in time and space of one that are too many
_NONE = -1


@dataclass(frozen=True)
class Localizations:
    """What linking knows of a table, in the order of frames.

    Attributes
    ----------
    frame : (rows,) ascending.
    position, sd : (rows, 3) nm, all known.
    """

    frame: NDArray[np.int64]
    position: NDArray[np.float64]
    sd: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be links, in the order of their turn.

    Attributes
    ----------
    first, second : (pairs,) rows; `first` is earlier.
    turn : (turns + 1,) the pairs of turn t are those from turn[t] to turn[t + 1]; within one, no row is in both places.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    turn: NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """The links of a table.

    Attributes
    ----------
    previous : (rows,) the localization before it in its blink; −1 for the first.
    probability : (rows,) that this link is right, NaN for the first.
    found : (2, lags) number of links by their lag, each counted by its probability, also those that were not taken;
        first those from the first localization of a blink.
    law : the law that was used.
    """

    previous: NDArray[np.int32]
    probability: NDArray[np.float32]
    found: NDArray[np.float64]
    law: BlinkLaw

    def origin(self) -> NDArray[np.int64]:
        """(rows,) the first row of the blink of every row."""
        later = np.flatnonzero(self.previous != _NONE)
        return chains(len(self.previous), self.previous[later], later)

    @property
    def expected_false(self) -> float:
        """Expected number of links between different molecules."""
        return float(np.nansum(1 - self.probability, dtype=np.float64))


def link(rows: Localizations, lags: int) -> Links:
    """Link localizations, with the law of blinking estimated from them.

    Parameters
    ----------
    rows : at least one.
    lags : largest number of frames from one localization of a blink to the next.
    """
    law = learn(_middle(rows), lags)
    births = Births(rows.frame, rows.position, rows.sd)
    candidates = find_candidates(rows, law.scale, lags)
    log_birth = births.uniform(max(len(rows) * (1 - law.goes_on), 1.0))
    links = _follow(rows, candidates, law, log_birth)
    for _ in range(2):
        links = _follow(rows, candidates, law, births.around(links.origin()))
    return links


def too_dense(rows: Localizations, lags: int) -> bool:
    """Whether so many localizations are close to each other that links would say nothing."""
    some = _middle(rows)
    reach = np.sqrt(2 * _LARGEST_CHI2) * np.median(some.sd, axis=0)
    scaled = np.column_stack([some.position / reach, some.frame / (lags + 0.5)])
    sample = scaled[np.unique(np.linspace(0, len(some) - 1, _SAMPLE).astype(int))]
    return bool(cKDTree(scaled).query_ball_point(sample, 1.0, p=np.inf, return_length=True).mean() > _CROWD)


def learn(rows: Localizations, lags: int) -> BlinkLaw:
    """The law of blinking by expectation maximization: links given the law, the law given the links."""
    law = first_guess(lags)
    births = Births(rows.frame, rows.position, rows.sd)
    log_birth = births.uniform(len(rows))
    at_risk = rows.frame <= rows.frame[-1] - lags
    searched, candidates = law.scale, find_candidates(rows, law.scale, lags)
    for _ in range(_ROUNDS):
        if (np.abs(np.log(law.scale / searched)) > _RESCALED).any():
            searched, candidates = law.scale, find_candidates(rows, law.scale, lags)
        links = _follow(rows, candidates, law, log_birth)
        number = np.bincount(links.previous[at_risk] != _NONE, minlength=2).astype(np.float64)
        law = refined(links.found, number, _scale(rows, links, law))
        log_birth = births.around(links.origin())
    return law


def _middle(rows: Localizations) -> Localizations:
    """Consecutive frames with enough localizations to learn from."""
    if len(rows) <= _TEACHING_ROWS:
        return rows
    start = (len(rows) - _TEACHING_ROWS) // 2
    low, high = (np.searchsorted(rows.frame, rows.frame[at]) for at in (start, start + _TEACHING_ROWS))
    part = slice(int(low), max(int(high), int(low) + 1))
    return Localizations(rows.frame[part], rows.position[part], rows.sd[part])


def _scale(rows: Localizations, links: Links, law: BlinkLaw) -> NDArray[np.float64]:
    """(3,) rms difference of linked localizations over its standard deviation as stated."""
    second = np.flatnonzero(links.previous != _NONE)
    if len(second) < 10:
        return law.scale
    return np.sqrt((normalised_differences(rows, links.previous[second], second) ** 2).mean(axis=0))


def normalised_differences(rows: Localizations, first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """(pairs, 3) differences of positions over their standard deviations as stated."""
    variance = rows.sd[first] ** 2 + rows.sd[second] ** 2
    return (rows.position[second] - rows.position[first]) / np.sqrt(variance)


def find_candidates(rows: Localizations, scale: NDArray[np.float64], lags: int) -> Candidates:
    """Pairs that may be links, for localizations with standard deviations of `scale` times those stated."""
    pairs = close_pairs(
        rows.frame,
        rows.position,
        rows.sd * scale,
        largest_lag=lags,
        largest_chi2=_LARGEST_CHI2,
        quantile=_REACH_QUANTILE,
    )
    kept = [(first.astype(np.int32), second.astype(np.int32)) for first, second, _ in pairs]
    first, second = (np.concatenate(each) for each in zip(*kept, strict=True))
    del kept
    turn = _turns(rows.frame, first, second)[second]
    order = np.lexsort((first, second, turn))
    ends = np.cumsum(np.bincount(turn)) if len(turn) else np.zeros(1, np.int64)
    return Candidates(first[order], second[order], np.concatenate([[0], ends]))


def _turns(frame: NDArray[np.int64], first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32]:
    """(rows,) when each row has its turn: the number of earlier frames with a row of its group."""
    rows = len(frame)
    ones = np.ones(len(first), np.int8)
    group = connected_components(coo_matrix((ones, (first, second)), (rows, rows)), directed=False)[1]
    order = np.argsort(group, kind="stable")  # rows of a group stay in the order of frames
    group, frame = group[order], frame[order]
    new_group = np.diff(group, prepend=-1) != 0
    number = np.cumsum(new_group | (np.diff(frame, prepend=-1) != 0)).astype(np.int32)
    turn = np.empty(rows, np.int32)
    turn[order] = number - np.maximum.accumulate(np.where(new_group, number, 0))
    return turn


def _follow(rows: Localizations, candidates: Candidates, law: BlinkLaw, log_birth: NDArray[np.float64]) -> Links:
    """Link by the law of blinking and the log density of new molecules at every row."""
    variance = np.square(rows.sd * law.scale, dtype=np.float32, casting="same_kind")
    place, weight = rows.position.astype(np.float32), 1 / variance  # of the molecule, up to each row
    log_odds, lags = law.log_odds(), len(law.next_lag)
    previous = np.full(len(rows), _NONE, np.int32)
    probability = np.full(len(rows), np.nan, np.float32)
    goes_on = np.zeros(len(rows), bool)
    found, sums = np.zeros(2 * lags), np.zeros(len(rows))
    last = rows.frame[-1] - lags
    for start, stop in pairwise(candidates.turn.tolist()):
        first, second = candidates.first[start:stop], candidates.second[start:stop]
        free = ~goes_on[first]
        first, second = first[free], second[free]
        spread = variance[second] + 1 / weight[first]
        chi2 = ((rows.position[second] - place[first]) ** 2 / spread).sum(axis=1)
        lag = rows.frame[second] - rows.frame[first] - 1
        later = (previous[first] != _NONE).astype(np.int64)
        gain = log_odds[later, lag] - 0.5 * (chi2 + np.log(2 * np.pi * spread).sum(axis=1)) - log_birth[second]
        likelihood = np.exp(np.minimum(gain, 500))
        chance = likelihood / (1 + _of_all(first, likelihood, sums) + _of_all(second, likelihood, sums) - likelihood)
        counted = rows.frame[first] <= last
        found += np.bincount((later * lags + lag)[counted], chance[counted], 2 * lags)
        taken = np.flatnonzero((gain > 0) & (chi2 < _LARGEST_CHI2))
        taken = taken[assign(first[taken], second[taken], gain[taken])]
        first, second = first[taken], second[taken]
        previous[second], probability[second], goes_on[first] = first, chance[taken], True
        own = weight[second]
        past = np.minimum(weight[first], (_MEMORY - 1) * own)
        place[second] = (past * place[first] + own * place[second]) / (past + own)
        weight[second] = past + own
    return Links(previous, probability, found.reshape(2, lags), law)


def _of_all(row: NDArray[np.int32], value: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every entry the sum of the values of all entries with the same row; `sums` (rows,) is overwritten."""
    sums[row] = 0.0
    np.add.at(sums, row, value)
    return sums[row]


def assign(first: NDArray[np.int32], second: NDArray[np.int32], gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """The pairs of the one-to-one assignment with the largest total gain; all gains are positive."""
    if not len(first):
        return np.empty(0, np.int64)
    one, other = (np.unique(row, return_inverse=True)[1] for row in (first, second))
    alone = (np.bincount(one)[one] == 1) & (np.bincount(other)[other] == 1)
    if alone.all():
        return np.arange(len(first))
    rest = np.flatnonzero(~alone)
    one, other = one[rest], other[rest]
    size = int(max(one.max(), other.max())) + 1
    graph = coo_matrix((np.ones(len(rest), np.int8), (one, other + size)), (2 * size, 2 * size))
    group = connected_components(graph, directed=False)[1][one]
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order], append=-1)) + 1
    chosen = [np.flatnonzero(alone)]
    for low, high in pairwise([0, *ends.tolist()]):
        pairs = rest[order[low:high]]
        chosen.append(pairs[_best(first[pairs], second[pairs], gain[pairs])])
    return np.sort(np.concatenate(chosen))


def _best(first: NDArray[np.int32], second: NDArray[np.int32], gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best assignment of one group of competing pairs."""
    one, other = (np.unique(row, return_inverse=True)[1] for row in (first, second))
    if one.max() == 0 or other.max() == 0:  # all compete for the same
        return np.array([int(gain.argmax())])
    table = np.zeros((one.max() + 1, other.max() + 1))
    number = np.full(table.shape, _NONE)
    table[one, other], number[one, other] = gain, np.arange(len(gain))
    chosen = number[linear_sum_assignment(table, maximize=True)]
    return chosen[chosen != _NONE]
