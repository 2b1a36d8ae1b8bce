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

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from planeloc.localization.drift_model import FREE_SD_NM, FrameInformation, Posterior, Process, posterior

Array = NDArray[np.float64]

_STEP_SD_NM = (1e-3, 300.0)  # bounds; of less than the first a movie cannot tell
_WHITE_SD_NM = (1e-2, 500.0)
_FIRST_SD_NM = (1.0, 10.0)  # of step and white part, to start from
_FALSE_ALARMS = 0.01  # jumps and loose frames in a movie that has none
_APART = 20  # frames between two places that are set free at once
_ROUNDS = 12
_MOST_FREE = 200  # of a movie
_LEAST_INFORMATION = 1e-4  # 1/nm², of a plane in a frame that may be loose
_TOLERANCE = 1e-3  # of the logarithm of the probability


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
    """The strengths of a movie, and its drift with them."""
    n, q = frames.moment.shape
    first, white = (np.full(q, sd**2) for sd in _FIRST_SD_NM)
    found, best = most_probable(frames, Strengths(first, white))
    for _ in range(_ROUNDS):
        jumps, loose = _contradictions(frames, found, best)
        free = len(found.jumps) + len(found.loose) + len(jumps) + len(loose)
        if not (jumps or loose) or free > _MOST_FREE:
            break
        more = replace(found, jumps=(*found.jumps, *jumps), loose=(*found.loose, *loose))
        found, best = most_probable(frames, more)
    kept = tuple(jump for jump in sorted(found.jumps) if _is_jump(best, *jump, n, q))
    if len(kept) < len(found.jumps):
        found, best = most_probable(frames, replace(found, jumps=kept))
    return replace(found, jumps=tuple(sorted(found.jumps)), loose=tuple(sorted(found.loose))), best


def most_probable(frames: FrameInformation, start: Strengths) -> tuple[Strengths, Posterior]:
    """The most probable variances, with jumps and loose frames where `start` has them."""
    n, q = frames.moment.shape
    free = start.process(n)
    steady, tight = free.step < FREE_SD_NM**2, free.white < FREE_SD_NM**2
    known = {}

    def cost(logarithms: Array) -> tuple[float, Array]:
        step, white = np.exp(logarithms).reshape(2, q)
        tried = replace(start, step=step, white=white)
        there = posterior(frames, tried.process(n))
        known["last"] = tried, there
        squares = (
            there.step**2 + np.einsum("nii->ni", there.step_covariance),
            there.white**2 + np.einsum("nii->ni", there.white_covariance),
        )
        slopes = [
            np.where(mask, square / variance - 1, 0.0).sum(axis=0) / 2
            for mask, square, variance in zip((steady, tight), squares, (step, white), strict=True)
        ]
        if "best" not in known or there.log_likelihood > known["best"][1].log_likelihood:
            known["best"] = tried, there
        return -there.log_likelihood, -np.concatenate(slopes)

    bounds = [_log_bounds(_STEP_SD_NM)] * q + [_log_bounds(_WHITE_SD_NM)] * q
    first = np.clip(np.log(np.concatenate((start.step, start.white))), *np.transpose(bounds))
    options = {"maxiter": 60, "ftol": 0.0, "gtol": 0.0}
    last = [math.inf]

    def enough(intermediate_result: object) -> None:
        now = float(intermediate_result.fun)
        if last[0] - now < _TOLERANCE:
            raise StopIteration
        last[0] = now

    minimize(cost, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=enough)
    return known["best"]


def _log_bounds(sd_nm: tuple[float, float]) -> tuple[float, float]:
    return 2 * math.log(sd_nm[0]), 2 * math.log(sd_nm[1])


def _contradictions(
    frames: FrameInformation, found: Strengths, best: Posterior
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Steps and frames that the strengths do not explain, the most significant ones of their surroundings."""
    n, q = frames.moment.shape
    process = found.process(n)
    steps = _significance(best.step, best.step_covariance, process.step)
    whites = _significance(best.white, best.white_covariance, process.white)
    own = np.einsum("nii->ni", frames.precision)
    whites[(own[:, 0::2] < _LEAST_INFORMATION) | (own[:, 1::2] < _LEAST_INFORMATION)] = 0
    jumps, loose = [], []
    least = 2 * math.log(2 * n * (q // 2) / _FALSE_ALARMS)
    for plane in range(q // 2):
        both = np.concatenate((steps[:, plane], whites[:, plane]))
        at = np.concatenate((np.arange(1, n), np.arange(n)))
        while len(both) and both.max() > least:
            place = int(both.argmax())
            (jumps if place < n - 1 else loose).append((int(at[place]), plane))
            both[abs(at - at[place]) < _APART] = 0
    return jumps, loose


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
