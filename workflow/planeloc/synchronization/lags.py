"""The lag of every camera through the movie, from the changes of light that it shares with the others.

For one camera at a time, the changes of all others, put in step by their lags as known so far, are the template. The
agreement with it, summed over blocks, is large at the true lag and scatters about zero at all others, which shows how
much it scatters by chance. The most likely sequence of lags is found exactly (Viterbi): it may change anywhere, at a
cost that chance does not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.synchronization.block_changes import Changes

Array = NDArray[np.float64]
Lags = NDArray[np.int64]

BIN_FRAMES = 10  # successive frames whose agreement is summed
_CHANGE_COST = 25.0  # nats, of a lag that changes: one in 10^10 by chance
_MOST_SIGMAS = 10.0  # a bin's agreement counts at most so many standard deviations
_BLIND = 0.05  # part of the bins in which a camera may agree at no lag
_BESIDE = 1  # lags beside the best one that are not taken as chance
_LEAST_GAIN = 5.0  # nats, for the lags of a camera to be changed in a round
_MOST_ROUNDS = 40
_MOST_NATS = 10.0  # that one moment says about where a lag changes
_DOUBT = 5.0  # nats: moments this much less likely than the best are excluded


@dataclass(frozen=True)
class Stretch:
    """Changes of light in the moments [start, stop), and within the largest lag before and after.

    `changes` is (stop − start + 2·largest, planes, blocks); it is 0 beyond the ends of the movie.
    """

    start: int
    stop: int
    changes: Changes

    @property
    def largest(self) -> int:
        """Largest lag that can be measured."""
        return (len(self.changes) - (self.stop - self.start)) // 2

    def without(self, dark: Sequence[Sequence[range]]) -> Stretch:
        """The stretch with the changes of some frames of every plane set to zero, and the one after them."""
        changes = None
        for plane, ranges in enumerate(dark):
            for frames in ranges:
                first, stop = (edge - self.start + self.largest for edge in (frames.start, frames.stop + 1))
                own = slice(max(first, 0), max(stop, 0))
                if self.changes[own, plane].any():
                    changes = self.changes.copy() if changes is None else changes
                    changes[own, plane] = 0
        return self if changes is None else replace(self, changes=changes)

    def _cut(self, start: int, stop: int) -> Stretch:
        """A part of it."""
        return Stretch(start, stop, self.changes[start - self.start : stop - self.start + 2 * self.largest])


@dataclass(frozen=True)
class Bins:
    """Successive moments whose agreement is summed."""

    stretch: NDArray[np.int64]  # number of the stretch
    first: NDArray[np.int64]  # moment
    stop: NDArray[np.int64]

    @classmethod
    def of(cls, stretches: Sequence[Stretch]) -> Bins:
        """Cut stretches into bins."""
        rows = [
            (number, first, min(first + BIN_FRAMES, each.stop))
            for number, each in enumerate(stretches)
            for first in range(each.start, each.stop, BIN_FRAMES)
        ]
        return cls(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class MeasuredLags:
    """What the changes show of every plane."""

    bins: Bins
    lags: Lags  # (planes, bins), relative to what most cameras show
    significance: Array  # (planes,): agreement at these lags, in standard deviations of what chance gives
    curves: Array  # (planes, 2·largest + 1): mean agreement of a bin at every lag, in the same unit


def agreement(stretch: Stretch, plane: int, lags: Lags) -> Array:
    """(moments, 2·largest + 1): a plane's changes, at every lag, times those of the others in step.

    `lags` is (planes, moments): the lags of the other planes.
    """
    largest, moments = stretch.largest, np.arange(stretch.stop - stretch.start)
    template = np.zeros((len(moments), stretch.changes.shape[2]), np.float32)
    for other in range(len(lags)):
        if other != plane:
            row = moments + largest + lags[other]
            inside = (row >= 0) & (row < len(stretch.changes))
            template[inside] += stretch.changes[row[inside], other]
    own = stretch.changes[:, plane]
    scores = [np.einsum("nb,nb->n", own[lag : lag + len(moments)], template) for lag in range(2 * largest + 1)]
    return np.stack(scores, axis=1).astype(np.float64)


def measure_lags(stretches: Sequence[Stretch]) -> MeasuredLags:
    """The most likely lags of all planes, in the order of the stretches."""
    bins = Bins.of(stretches)
    planes = stretches[0].changes.shape[1]
    lags = np.zeros((planes, len(bins)), dtype=np.int64)
    largest = stretches[0].largest
    for _ in range(_MOST_ROUNDS):
        proposals = [_propose(stretches, bins, lags, plane) for plane in range(planes)]
        gains = np.array([proposal.gain for proposal in proposals])
        if planes == 2:  # which of two cameras is out of step is a convention
            gains[0] = 0.0
        best = int(gains.argmax())
        if gains[best] >= _LEAST_GAIN:
            lags[best] = proposals[best].lags
        elif not _fewer_slips(lags):
            break
        lags = (lags - _most_common(lags)).clip(-largest, largest)
    return MeasuredLags(
        bins,
        lags,
        np.array([proposal.significance for proposal in proposals]),
        np.array([proposal.curve for proposal in proposals]),
    )


class _Proposal(NamedTuple):
    """The best lags of one plane against the others."""

    lags: Lags  # (bins,)
    gain: float  # nats, over the present ones
    significance: float
    curve: Array  # mean agreement at every lag


def _propose(stretches: Sequence[Stretch], bins: Bins, lags: Lags, plane: int) -> _Proposal:
    scores = np.concatenate([_binned(each, plane, lags, bins, number) for number, each in enumerate(stretches)])
    z = _standardised(scores)
    middle = z.shape[1] // 2
    present = lags[plane] + middle
    likelihood = _log_likelihood(z)
    path = _most_likely_path(likelihood)
    at = np.arange(len(z))
    gain = _total(likelihood, path) - _total(likelihood, present)
    return _Proposal(path - middle, gain, float(z[at, path].sum() / np.sqrt(len(z))), z.mean(axis=0))


def _binned(stretch: Stretch, plane: int, lags: Lags, bins: Bins, number: int) -> Array:
    own = np.flatnonzero(bins.stretch == number)
    moments = np.repeat(lags[:, own], bins.stop[own] - bins.first[own], axis=1)
    return np.add.reduceat(agreement(stretch, plane, moments), bins.first[own] - stretch.start, axis=0)


def _standardised(scores: Array) -> Array:
    """(bins, lags) in standard deviations of what other lags than a bin's best give; the scatter is pooled."""
    best = scores.mean(axis=0).argmax()
    chance = np.abs(np.arange(scores.shape[1]) - best) > _BESIDE
    if not chance.any():
        return np.zeros_like(scores)
    others = scores[:, chance]
    sd = np.sqrt(np.median((others - others.mean(axis=1, keepdims=True)) ** 2, axis=1) / 0.455)
    typical = np.median(sd[sd > 0]) if (sd > 0).any() else 0.0
    sd = np.maximum(sd, typical)  # a quiet bin says little
    sd[sd == 0] = np.inf  # no camera saw anything
    z = (scores - np.median(others, axis=1, keepdims=True)) / sd[:, None]
    return z.clip(-_MOST_SIGMAS, _MOST_SIGMAS)


def _log_likelihood(z: Array) -> Array:
    """Of every lag in every bin, against chance: agreement is normal about a common mean at the true one.

    In some bins nothing agrees, as where a camera has no frame at the true lag: there, chance must not choose another.
    """
    mean = max(float(z.mean(axis=0).max()), 0.0)
    return np.logaddexp(np.log(1 - _BLIND) + mean * z - mean**2 / 2, np.log(_BLIND))


def _most_likely_path(likelihood: Array) -> Lags:
    """(bins,) of (bins, lags): the sequence whose likelihood, less the cost of changes, is largest."""
    count, lags = likelihood.shape
    total, came_from = np.zeros(lags), np.zeros((count, lags), dtype=np.int64)
    for number in range(count):
        best = int(total.argmax())
        changed = total[best] - _CHANGE_COST > total
        came_from[number] = np.where(changed, best, np.arange(lags))
        total = np.where(changed, total[best] - _CHANGE_COST, total) + likelihood[number]
    path = np.empty(count, dtype=np.int64)
    state = int(total.argmax())
    for number in range(count - 1, -1, -1):
        path[number] = state
        state = came_from[number, state]
    return path


def _total(likelihood: Array, path: Lags) -> float:
    """Likelihood of a path, less the cost of its changes."""
    changes = np.count_nonzero(np.diff(path))
    return float(likelihood[np.arange(len(path)), path].sum() - _CHANGE_COST * changes)


def _most_common(lags: Lags) -> int:
    """The lag that cameras have most often; of equally frequent ones, the smallest in size."""
    values, counts = np.unique(lags, return_counts=True)
    return int(min(zip(-counts, abs(values), values, strict=True))[2])


def _fewer_slips(lags: Lags) -> bool:
    """Where most cameras slip together, it is the others that slip, the other way: change `lags` in place to say so.

    Returns whether anything was changed. Two bins are looked at together, as the same slip may begin in either.
    """
    changed = False
    for number in range(1, lags.shape[1]):
        for last in (number, min(number + 1, lags.shape[1] - 1)):
            together = _most_common(lags[:, last] - lags[:, number - 1])
            if together:
                lags[:, number:last] = lags[:, number - 1, None]
                lags[:, last:] -= together
                changed = True
                break
    return changed


class Slip(NamedTuple):
    """A change of the lag of one plane."""

    plane: int
    before: int  # lag
    after: int
    earliest: int  # first moment with the new lag, at the earliest and at the latest
    latest: int


def locate_slips(stretches: Sequence[Stretch], measured: MeasuredLags) -> list[Slip]:
    """Every change of a lag, to the frame where the light tells. The two bins beside it must follow each other."""
    bins, found = measured.bins, []
    for plane, number in zip(*np.nonzero(np.diff(measured.lags, axis=1)), strict=True):
        pair = np.array([number, number + 1])
        scores = np.concatenate(
            [_of_moments(stretches[bins.stretch[b]], bins, measured.lags, plane, b) for b in pair], axis=0
        )
        before, after = measured.lags[plane, pair]
        earliest, latest = _where_it_changes(scores, before, after)
        first = int(bins.first[number])
        found.append(Slip(int(plane), int(before), int(after), first + earliest, first + latest))
    return found


def _of_moments(stretch: Stretch, bins: Bins, lags: Lags, plane: int, number: int) -> Array:
    """Agreement of a bin's moments, each for itself."""
    own = stretch._cut(int(bins.first[number]), int(bins.stop[number]))
    return agreement(own, plane, np.repeat(lags[:, number, None], own.stop - own.start, axis=1))


def _where_it_changes(scores: Array, before: int, after: int) -> tuple[int, int]:
    """First and last row of (moments, lags) that may be the first one with the new lag."""
    middle = scores.shape[1] // 2
    others = np.delete(scores, [middle + before, middle + after], axis=1)
    variance = max(float(others.var()), 1e-12)
    mean = max(float(np.maximum(scores[:, middle + before], scores[:, middle + after]).mean()), 0.0)
    ratio = mean * (scores[:, middle + before] - scores[:, middle + after]) / variance
    total = np.concatenate([[0.0], np.cumsum(ratio.clip(-_MOST_NATS, _MOST_NATS))])
    likely = np.flatnonzero(total >= total.max() - _DOUBT)
    return int(likely[0]), int(likely[-1])
