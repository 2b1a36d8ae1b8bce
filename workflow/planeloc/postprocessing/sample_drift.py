"""The drift of the sample, from the localizations alone, and whether anything can be told of it.

Localizations are merged into blinks. Images of parts of the movie against each other give a coarse trajectory, which
maximum likelihood refines: first with widened Gaussians, then with each blink's own precision. The same is done with
two halves of the field on their own. The correction is used if the trajectory of either half makes the other sharper.
The significance of that is at most the square root of the number of structures. It may be lower if both halves show the
same trajectory, far from zero: structures that move each on its own do not.

The likelihood has several maxima, and with few blinks the fit of a half may end in a lower one. If the trajectory of
another fit is clearly better for the blinks of a half, the half begins again there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planeloc.postprocessing.blinks import Blinks, merge_blinks, some_of
from planeloc.postprocessing.cross_correlation import coarse_drift
from planeloc.postprocessing.drift_refinement import Level, Refinement, Trajectory, log_density
from planeloc.postprocessing.sample_jumps import follow_jumps, place_jumps

_LEVELS = (
    Level((60.0, 90.0), 1000, 60_000, 40, 8),
    Level((25.0, 40.0), 2000, 150_000, 30, 8),
    Level((0.0, 0.0), 50_000, 600_000, 16, 10),
)
_HALF_TIMES, _HALF_BLINKS = 1000, 60_000  # enough to decide, at a small part of the time
_FEWEST_BLINKS, _FEWEST_FRAMES = 100, 100  # of a half of the field, of the movie
_HALF_TILES = 8
_ARTIFICIAL_SD = 6.0
_AGREEING, _FAR = 2.5, 8.0  # standard deviations: largest rms difference of the halves, smallest rms drift
_CLEARLY = 3.0  # standard deviations of the gain by which another trajectory must be better


@dataclass(frozen=True)
class SampleDrift:
    """What is known of the drift.

    Attributes
    ----------
    trajectory : drift and standard deviation, (frames, 3) nm.
    halves : trajectories of two halves of the field, each by its own.
    disagreement : (3,) rms difference of the halves over its standard deviation; 1 if what they state is true.
    significance : of the gain in sharpness that each half's trajectory brings to the other half, standard deviations.
    detectability : significance of the loss in sharpness by an artificial drift of some precisions, in standard
        deviations; small where nothing can be told.
    entropy_reduction : of a blink, by the trajectory, nats.
    blinks : number of blinks.
    alike : whether both halves, before they knew of each other, show the same drift, and one far from zero.
    consistent : whether the halves, and the trajectory, do not contradict each other by far; on a periodic structure
        they may be periods apart.
    """

    trajectory: Trajectory
    halves: tuple[Trajectory, ...]
    disagreement: NDArray[np.float64]
    significance: float
    detectability: float
    entropy_reduction: float
    blinks: int
    alike: bool = False
    consistent: bool = True

    def beyond_doubt(self, minimum_significance: float) -> bool:
        """Whether the drift is to be corrected; half the significance is enough if both halves are alike."""
        return self.consistent and self.significance > minimum_significance * (0.5 if self.alike else 1.0)


def sample_drift(
    frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64], frames: int
) -> SampleDrift:
    """Estimate the drift of the sample.

    Parameters
    ----------
    frame : (rows,) from 0 to `frames` − 1.
    position, sd : (rows, 3) nm, all known.
    """
    merged = merge_blinks(frame, position, sd)
    blinks = replace(merged, rows=None)
    halves = [some_of(blinks[rows], _HALF_BLINKS) for rows in _halves(blinks)] if len(blinks) else [blinks]
    if min(map(len, halves)) < _FEWEST_BLINKS or frames < _FEWEST_FRAMES:
        nothing = Trajectory(np.zeros((frames, 3)), np.full((frames, 3), np.nan))
        return SampleDrift(nothing, (), np.full(3, np.nan), 0.0, 0.0, 0.0, len(blinks))
    levels = tuple(replace(level, most_times=_HALF_TIMES) for level in _LEVELS)
    of_halves = [_fit(half, frames, levels, rounds=2) for half in halves]
    gains = [_gain(half, other.drift_nm) for half, other in zip(halves, of_halves[::-1], strict=True)]
    gain = np.concatenate(gains)
    alike = _alike(blinks, *of_halves)
    some = some_of(blinks, _HALF_BLINKS)
    whole = _fit(blinks, frames, _LEVELS[:-1], rounds=3)
    whole = _by_localizations(merged, whole.drift_nm, frame, position, sd)
    for number, half in enumerate(halves):
        better = _better(half, of_halves[number], (whole, of_halves[1 - number]))
        if better is not None:
            of_halves[number] = _refine(half, better.drift_nm, levels[1:])
    disagreement = _disagreement(blinks, *of_halves)
    apart = [*disagreement, *(_far_apart(blinks, whole, half) for half in of_halves)]
    whole = Trajectory(whole.drift_nm, whole.sd_nm * np.maximum(disagreement, 1.0))
    return SampleDrift(
        whole,
        tuple(of_halves),
        disagreement,
        _significance(gain),
        _detectability(some, whole.drift_nm),
        float(gain.sum() / sum(map(len, halves))),
        len(blinks),
        alike,
        bool(np.max(apart) <= _FAR),
    )


def _significance(sums: NDArray[np.float64]) -> float:
    """The sum over its standard deviation, which is that between the parts of the field."""
    scatter = np.sqrt(len(sums) / max(len(sums) - 1, 1) * ((sums - sums.mean()) ** 2).sum())
    return float(sums.sum() / max(scatter, 1e-9))


def _detectability(blinks: Blinks, drift: NDArray[np.float64]) -> float:
    """How much less sharp the sample is with an artificial drift, of six precisions along every axis."""
    ramp = np.linspace(-0.5, 0.5, len(drift))[:, None] * _ARTIFICIAL_SD * np.median(blinks.sd, axis=0)
    return _significance(-_gain(blinks, drift + ramp, drift))


def _halves(blinks: Blinks) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Black and white fields of a chess board over the sample."""
    low, high = np.quantile(blinks.position[:, :2], [0.005, 0.995], axis=0)
    cell = np.floor((blinks.position[:, :2] - low) / np.maximum(high - low, 1e-9) * _HALF_TILES).astype(np.int64)
    black = cell.sum(axis=1) % 2 == 0
    return black, ~black


def _fit(blinks: Blinks, frames: int, levels: tuple[Level, ...], rounds: int) -> Trajectory:
    drift = coarse_drift(blinks, frames, rounds)
    for number, level in enumerate(levels):
        trajectory = Refinement(blinks, drift, level).run()
        drift = follow_jumps(blinks, trajectory.drift_nm) if number == 0 else trajectory.drift_nm
    return trajectory


def _by_localizations(
    blinks: Blinks,
    drift: NDArray[np.float64],
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    sd: NDArray[np.float64],
) -> Trajectory:
    """The last refinement: blinks are merged again with the drift known, and each localization is at its own frame."""
    drift = place_jumps(blinks, drift)
    return Refinement(merge_blinks(frame, position, sd, drift[frame]), drift, _LEVELS[-1]).run()


def _refine(blinks: Blinks, drift: NDArray[np.float64], levels: tuple[Level, ...]) -> Trajectory:
    for level in levels:
        trajectory = Refinement(blinks, drift, level).run()
        drift = trajectory.drift_nm
    return trajectory


def _far_apart(blinks: Blinks, one: Trajectory, other: Trajectory) -> float:
    """Rms difference of two trajectories, in standard deviations, along the axis where it is largest."""
    return float(_rms_over_sd(blinks, one.drift_nm - other.drift_nm, one, other).max())


def _better(blinks: Blinks, found: Trajectory, others: Sequence[Trajectory]) -> Trajectory | None:
    """The one of the other trajectories that fits the blinks best, if it fits them clearly better than their own."""
    own = _sharpness(blinks, found.drift_nm)
    gains = [_significance(_sharpness(blinks, other.drift_nm) - own) for other in others]
    best = int(np.argmax(gains))
    return others[best] if gains[best] > _CLEARLY else None


def _gain(blinks: Blinks, drift: NDArray[np.float64], before: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
    """Gain in log density by a drift, compared with that before, summed over every tile of the field."""
    return _sharpness(blinks, drift) - _sharpness(blinks, before + np.zeros_like(drift))


def _sharpness(blinks: Blinks, drift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log density, summed over every tile of the field."""
    value, tile = log_density(blinks, drift, _LEVELS[-1])
    return np.bincount(tile, value)


def _disagreement(blinks: Blinks, one: Trajectory, other: Trajectory) -> NDArray[np.float64]:
    """(3,) rms difference of two trajectories over its standard deviation."""
    return _rms_over_sd(blinks, one.drift_nm - other.drift_nm, one, other)


def _alike(blinks: Blinks, one: Trajectory, other: Trajectory) -> bool:
    """Whether the mean of two trajectories is far from zero, and their difference is not."""
    difference = _disagreement(blinks, one, other)
    size = _rms_over_sd(blinks, one.drift_nm + other.drift_nm, one, other) / np.maximum(difference, 1.0)
    return bool(np.sqrt((difference**2).mean()) < _AGREEING and size.max() > _FAR)


def _rms_over_sd(blinks: Blinks, path: NDArray[np.float64], one: Trajectory, other: Trajectory) -> NDArray[np.float64]:
    """(3,) of the sum or difference of two independent trajectories, less its mean."""
    weight = np.bincount(blinks.frame, minlength=len(path)) / len(blinks)
    return np.sqrt(weight @ ((path - weight @ path) ** 2 / (one.sd_nm**2 + other.sd_nm**2)))
