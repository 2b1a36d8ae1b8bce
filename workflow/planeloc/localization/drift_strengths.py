"""How strongly the cameras drift: strengths of the walk and of what is new in every frame, jumps, and loose frames.

The strengths are those that make the movie most probable. The derivative of that probability by a variance follows from
the mean square of the steps, given all frames (Fisher's identity; Shumway and Stoffer 1982, J. Time Ser. Anal. 3, 253).

A step or a frame that contradicts the strengths is found by its auxiliary residual: the significance of a shift at this
place that nothing else explains (de Jong and Penzer 1998, J. Am. Stat. Assoc. 93, 796). It is set free, and the
strengths are estimated again, until nothing contradicts them. A jump thus neither smears nor counts as a strong walk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.localization.drift_model import FREE_SD_NM, FrameInformation, Posterior, Process, posterior

Array = NDArray[np.float64]

_STEP_SD_NM = (1e-3, 300.0)  # bounds; of less than the first a movie cannot tell
_WHITE_SD_NM = (1e-2, 500.0)
_FIRST_SD_NM = (1.0, 10.0)  # of step and white part, to start from
_FALSE_ALARMS = 1e-3  # jumps and loose frames in a movie that has none
_APART = 20  # frames between two places that are set free at once
_ROUNDS = 12
_MOST_FREE, _MOST_FREE_SHARE = 200, 0.1  # of a movie: so many, or this share of frames times planes
_LEAST_INFORMATION = 1e-4  # 1/nm², of a plane in a frame that may be loose
_TOLERANCE = 0.01  # of the logarithm of the probability
_STEPS = 60
_STRETCHES, _STRETCH_FRAMES = 8, 400  # of a long movie, that give the strengths to start from


@dataclass(frozen=True)
class Strengths:
    """Variances (q,) of every plane's x and y, and where they do not hold."""

    step: Array  # nm² per frame
    white: Array  # nm²
    jumps: tuple[tuple[int, int], ...] = ()  # frame after the jump, plane − 1
    loose: tuple[tuple[int, int], ...] = ()  # frame, plane − 1

    def process(self, frames: int) -> Process:
        """The variances of every frame."""
        step, white = np.tile(self.step, (frames - 1, 1)), np.tile(self.white, (frames, 1))
        for frame, plane in self.jumps:
            step[frame - 1, 2 * plane : 2 * plane + 2] += FREE_SD_NM**2
        for frame, plane in self.loose:
            white[frame, 2 * plane : 2 * plane + 2] += FREE_SD_NM**2
        return Process(step, white)


def estimate_strengths(frames: FrameInformation) -> tuple[Strengths, Posterior]:
    """The strengths of a movie, and its drift with them.

    x and y of a plane, or all planes, have the same strengths unless the movie says clearly that they have not: those
    of a short movie are uncertain.
    """
    n, q = frames.moment.shape
    first, white = (np.full(q, sd**2) for sd in _FIRST_SD_NM)
    of_planes = np.arange(q) // 2
    found, best = most_probable(frames, _of_stretches(frames, Strengths(first, white), of_planes), of_planes)
    most = max(_MOST_FREE, round(_MOST_FREE_SHARE * n * (q // 2)))
    for _ in range(_ROUNDS):
        left = most - len(found.jumps) - len(found.loose)
        places = _contradictions(frames, found, best)[:left]
        if not places:
            break
        jumps, loose = (tuple(each.at for each in places if each.is_jump is kind) for kind in (True, False))
        more = replace(found, jumps=(*found.jumps, *jumps), loose=(*found.loose, *loose))
        found, best = most_probable(frames, more, of_planes)
    kept = tuple(jump for jump in sorted(found.jumps) if _is_jump(best, *jump, n, q))
    if len(kept) < len(found.jumps):
        found, best = most_probable(frames, replace(found, jumps=kept), of_planes)
    found, best = _least_strengths(frames, found, best)
    return replace(found, loose=tuple(sorted(found.loose))), best


def _least_strengths(frames: FrameInformation, found: Strengths, best: Posterior) -> tuple[Strengths, Posterior]:
    """The strengths with as few different ones as the movie allows (Bayesian information criterion, Schwarz 1978)."""
    n, q = frames.moment.shape
    choices = [(best.log_likelihood - q / 2 * math.log(n), found, best)]
    for groups in (np.zeros(q, np.int64), np.arange(q)):
        tried, there = most_probable(frames, found, groups)
        choices.append((there.log_likelihood - (groups.max() + 1) * math.log(n), tried, there))
    return max(choices, key=lambda choice: choice[0])[1:]


def _of_stretches(frames: FrameInformation, start: Strengths, groups: NDArray[np.int64]) -> Strengths:
    """Strengths of a few stretches of a long movie, to start from."""
    n, q = frames.moment.shape
    if n <= 2 * _STRETCHES * _STRETCH_FRAMES:
        return start
    starts = np.linspace(0, n - _STRETCH_FRAMES, _STRETCHES).round().astype(int)
    rows = (starts[:, None] + np.arange(_STRETCH_FRAMES)).ravel()
    ends = range(_STRETCH_FRAMES, len(rows), _STRETCH_FRAMES)
    apart = tuple((end, plane) for end in ends for plane in range(q // 2))
    some = FrameInformation(frames.precision[rows], frames.moment[rows])
    return replace(most_probable(some, replace(start, jumps=apart), groups)[0], jumps=())


def most_probable(frames: FrameInformation, start: Strengths, groups: NDArray[np.int64]) -> tuple[Strengths, Posterior]:
    """The most probable variances, with jumps and loose frames where `start` has them.

    `groups` (q,): numbers of drift with the same number have the same variances.
    """
    n = len(frames.moment)
    free = start.process(n)
    steady, tight = free.step < FREE_SD_NM**2, free.white < FREE_SD_NM**2
    tried: list[tuple[Strengths, Posterior]] = []

    def cost(logarithms: Array) -> tuple[float, Array]:
        step, white = np.exp(logarithms).reshape(2, -1)[:, groups]
        strengths = replace(start, step=step, white=white)
        there = posterior(frames, strengths.process(n))
        tried[:] = [max([*tried, (strengths, there)], key=lambda one: one[1].log_likelihood)]
        slopes = [
            np.where(mask, (mean**2 + np.einsum("nii->ni", covariance)) / variance - 1, 0.0).sum(axis=0) / 2
            for mask, mean, covariance, variance in (
                (steady, there.step, there.step_covariance, step),
                (tight, there.white, there.white_covariance, white),
            )
        ]
        return -there.log_likelihood, -np.concatenate([np.bincount(groups, slope) for slope in slopes])

    count = np.bincount(groups)
    means = [np.bincount(groups, np.log(variance)) / count for variance in (start.step, start.white)]
    bounds = [_log_bounds(_STEP_SD_NM)] * len(count) + [_log_bounds(_WHITE_SD_NM)] * len(count)
    first = np.clip(np.concatenate(means), *np.transpose(bounds))
    last = [math.inf]

    def stop_when_flat(intermediate_result: Any) -> None:
        gain, last[0] = last[0] - float(intermediate_result.fun), float(intermediate_result.fun)
        if gain < _TOLERANCE:
            raise StopIteration

    options = {"maxiter": _STEPS, "ftol": 0.0, "gtol": 0.0}
    from scipy.optimize import minimize  # a tenth of a second, which workers need not spend

    minimize(cost, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=stop_when_flat)
    return tried[0]


def _log_bounds(sd_nm: tuple[float, float]) -> tuple[float, float]:
    return 2 * math.log(sd_nm[0]), 2 * math.log(sd_nm[1])


class _Contradiction(NamedTuple):
    """A step or a frame that the strengths do not explain."""

    significance: float
    is_jump: bool
    at: tuple[int, int]  # frame, plane − 1


def _contradictions(frames: FrameInformation, found: Strengths, best: Posterior) -> list[_Contradiction]:
    """The most significant contradictions of their surroundings, those first that are the most significant of all."""
    n, q = frames.moment.shape
    process = found.process(n)
    steps = _significance(best.step, best.step_covariance, process.step)
    whites = _significance(best.white, best.white_covariance, process.white)
    own = np.einsum("nii->ni", frames.precision)
    whites[(own[:, 0::2] < _LEAST_INFORMATION) | (own[:, 1::2] < _LEAST_INFORMATION)] = 0
    known = {True: set(found.jumps), False: set(found.loose)}
    places: list[_Contradiction] = []
    least = 2 * math.log(2 * n * (q // 2) / _FALSE_ALARMS)
    for plane in range(q // 2):
        both = np.concatenate((steps[:, plane], whites[:, plane]))
        at = np.concatenate((np.arange(1, n), np.arange(n)))
        while len(both) and both.max() > least:
            place = int(both.argmax())
            one = _Contradiction(float(both[place]), place < n - 1, (int(at[place]), plane))
            if one.at not in known[one.is_jump]:
                places.append(one)
            both[abs(at - at[place]) < _APART] = 0
    return sorted(places, reverse=True)


def _significance(mean: Array, covariance: Array, variance: Array) -> Array:
    """(n, planes) square of the auxiliary residual of x and y together: χ² with two degrees of freedom."""
    n, q = mean.shape
    residual = (mean / variance).reshape(n, q // 2, 2)
    scaled = covariance / variance[:, :, None] / variance[:, None, :]
    information = np.stack([np.diag([1, 1]) / variance[:, 2 * p : 2 * p + 2, None] for p in range(q // 2)], axis=1)
    information -= np.stack([scaled[:, 2 * p : 2 * p + 2, 2 * p : 2 * p + 2] for p in range(q // 2)], axis=1)
    a, b, c = information[..., 0, 0], information[..., 0, 1], information[..., 1, 1]
    x, y = residual[..., 0], residual[..., 1]
    determinant = a * c - b * b
    largest = 1 / variance.reshape(n, q // 2, 2).max(axis=2)
    known = (a > 1e-9 * largest) & (c > 1e-9 * largest) & (determinant > 1e-6 * a * c)
    square = (c * x * x - 2 * b * x * y + a * y * y) / np.where(known, determinant, 1)
    return np.where(known, square, 0.0)


def _is_jump(best: Posterior, frame: int, plane: int, n: int, q: int) -> bool:
    """Whether a step that is free is larger than its uncertainty."""
    own = slice(2 * plane, 2 * plane + 2)
    step, covariance = best.step[frame - 1, own], best.step_covariance[frame - 1, own, own]
    return float(step @ np.linalg.solve(covariance, step)) > math.log(n * q / _FALSE_ALARMS)
