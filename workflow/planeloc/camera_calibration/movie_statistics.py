"""Statistics of dark and bright movies: mean and variance over time, gathered in levels of intensity.

The variance of a pixel is that of neighbouring frames, (x₂ − x₁)²/2 of disjoint pairs, in which slow drift of the
intensity cancels; changes common to all pixels (flicker) are measured and subtracted.

A level must not be selected by the counts that are averaged in it, or their noise would be selected, too: the pairs of
a block of frames form two halves, and each is sorted by the means of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.hot_pixels import hot_in_dark_movie

Array = NDArray[np.float64]

BLOCK_FRAMES = 20  # within them, the intensity on a pixel is taken as constant
_LEVELS = 24
_PIXELS_PER_LEVEL = 100
_NOISY = 25.0  # times the median variance in the dark
_OUTLIER_SIGMAS = 15.0  # a variance of few pairs has a long tail: only cosmic rays are this far out
_STEADY = 0.1  # pairs between which the intensity changes by more are steps to another level
_DRIFT_GROUPS = 10


@dataclass(frozen=True)
class CalibrationMovies:
    """The files of each movie, in the microscope's layout; `without_em` may be empty."""

    dark: list[Path]
    bright: list[Path]
    without_em: list[Path]


@dataclass(frozen=True)
class DarkStatistics:
    """Offset and noise of a camera without illumination; images are (rows, columns)."""

    offset_counts: float
    offset_sd_counts: float
    read_variance: float  # counts², rounding included, as in every variance here
    read_variance_sd: float
    drift_counts: float  # largest change of the offset during the movie, beyond its noise
    zero_share: float  # fraction of the counts that are 0: clipped noise
    mean: Array
    usable: NDArray[np.bool_]  # neither hot pixels nor much noisier than most


class DarkAccumulator:
    """Collects the statistics of one camera's dark movie, block by block."""

    def __init__(self) -> None:
        self._frames = self._pairs = self._zeros = 0
        self._sum: Array | float = 0.0
        self._squares: Array | float = 0.0
        self._means: list[Array] = []

    def add(self, counts: NDArray[np.uint16]) -> None:
        """Add an even number of neighbouring frames (frames, rows, columns)."""
        frames = counts.astype(np.float64)
        self._frames += len(frames)
        self._pairs += len(frames) // 2
        self._zeros += np.count_nonzero(counts == 0)
        self._sum = self._sum + frames.sum(axis=0)
        self._squares = self._squares + 0.5 * ((frames[1::2] - frames[::2]) ** 2).sum(axis=0)
        self._means.append(frames.mean(axis=(1, 2)))

    def result(self) -> DarkStatistics:
        """Statistics of all frames that were added."""
        mean, variance = self._sum / self._frames, self._squares / self._pairs
        usable = ~hot_in_dark_movie(mean) & (variance <= _NOISY * np.median(variance) + 1)
        means = np.concatenate(self._means)
        frame_sd = np.sqrt(0.5 * np.mean((means[1::2] - means[::2]) ** 2))
        return DarkStatistics(
            offset_counts=float(mean[usable].mean()),
            offset_sd_counts=float(frame_sd / np.sqrt(len(means))),
            read_variance=float(variance[usable].mean()),
            read_variance_sd=float(variance[usable].std() / np.sqrt(usable.sum())),
            drift_counts=_offset_drift(means, frame_sd),
            zero_share=self._zeros / (self._frames * mean.size),
            mean=mean,
            usable=usable,
        )


def _offset_drift(means: Array, frame_sd: float) -> float:
    """Range of the means of successive stretches of frames, less the range that noise causes."""
    groups = np.array_split(means, min(_DRIFT_GROUPS, max(2, len(means) // 4)))
    spread = np.ptp([group.mean() for group in groups])
    noise = 3.0 * frame_sd / np.sqrt(len(means) / len(groups))  # the range of ten normal numbers
    return float(np.sqrt(max(spread**2 - noise**2, 0.0)))


@dataclass(frozen=True)
class SignalLevels:
    """Levels of intensity, darkest first: one entry of every array per level.

    `moments` are sums over pixels of (1, s, v, s², v², s·v), with s counts above the offset and v variance, counts².
    """

    key: Array  # counts by which the pixels are sorted
    moments: Array  # (levels, 6)
    saturated: NDArray[np.bool_]

    @property
    def signal(self) -> Array:
        """Mean signal of every level, counts above the offset."""
        return self.moments[:, 1] / self.moments[:, 0]

    @property
    def variance(self) -> Array:
        """Mean variance over time of every level, counts²."""
        return self.moments[:, 2] / self.moments[:, 0]

    def residual_sd(self, slope: float) -> Array:
        """Standard deviation of variance − slope · signal of a level, from the spread of its pixels."""
        n, s, v, ss, vv, sv = self.moments.T
        spread = vv / n - (v / n) ** 2 - 2 * slope * (sv / n - s * v / n**2) + slope**2 * (ss / n - (s / n) ** 2)
        return np.sqrt(np.maximum(spread, 1e-12) / n)


@dataclass(frozen=True)
class BrightStatistics:
    """Signal and noise of a camera under steady illumination."""

    levels: SignalLevels
    frames: int
    mean: Array  # (rows, columns) counts
    saturated: NDArray[np.bool_]  # pixels that ever reached saturation
    saturated_fraction: float  # of the usable pixels
    flicker: float  # relative rms change of the intensity from frame to frame, less shot noise
    steady_share: float  # fraction of the frame pairs without a step in intensity


class BrightAccumulator:
    """Collects the statistics of one camera's bright movie, block by block; pixels saturate at `limit_counts`."""

    def __init__(self, dark: DarkStatistics, limit_counts: float) -> None:
        self._dark, self._limit = dark, limit_counts
        self._parts: list[SignalLevels] = []
        self._frames = self._pairs = self._steady = 0
        self._sum: Array | float = 0.0
        self._saturated = np.zeros(dark.mean.shape, dtype=bool)
        self._common = self._common_noise = 0.0

    def add(self, counts: NDArray[np.uint16]) -> None:
        """Add an even number of neighbouring frames (frames, rows, columns)."""
        self._frames += len(counts)
        self._sum = self._sum + counts.sum(axis=0, dtype=np.float64)
        full = counts.max(axis=0) >= self._limit
        self._saturated |= full
        frames = counts[:, self._dark.usable].astype(np.float64)
        offset, full = self._dark.mean[self._dark.usable], full[self._dark.usable]
        signal = frames.mean(axis=0) - offset
        total = signal.sum()
        difference = frames[1::2] - frames[::2]
        change = _common_change(difference, signal)
        steady = np.flatnonzero(np.abs(change) <= _STEADY)
        self._pairs += len(difference)
        self._steady += len(steady)
        if len(steady) < 2:
            return
        # Subtracting the change common to all pixels also removes each pixel's share of the shot noise.
        share = signal / total if total > 0 else np.zeros_like(signal)
        difference = difference[steady] - change[steady, None] * signal
        variance = 0.5 * difference**2 / np.maximum(1 - share, 0.5)
        level = 0.5 * (frames[1::2] + frames[::2])[steady]
        self._common += float((change[steady] ** 2).sum())
        self._common_noise += float(2 * variance.sum() / total**2) if total > 0 else 0.0
        for first in (0, 1):
            mine, other = slice(first, None, 2), slice(1 - first, None, 2)
            self._parts.append(
                _sorted_levels(
                    level[other].mean(axis=0), level[mine].mean(axis=0) - offset, variance[mine].mean(axis=0), full
                )
            )

    def result(self) -> BrightStatistics | None:
        """None if the intensity was never steady for two pairs of frames."""
        if not self._parts:
            return None
        excess = (self._common - self._common_noise) / (2 * self._steady)
        return BrightStatistics(
            _merged(self._parts),
            self._frames,
            self._sum / self._frames,
            self._saturated,
            float(self._saturated[self._dark.usable].mean()),
            float(np.sqrt(max(excess, 0.0))),
            self._steady / self._pairs,
        )


def _common_change(difference: Array, signal: Array) -> Array:
    """Relative change of intensity between the frames of every pair, from all pixels without cosmic rays."""
    scaled = difference / np.sqrt(np.maximum(signal, 1.0))
    scaled = np.abs(scaled - np.median(scaled, axis=1, keepdims=True))
    clean = scaled <= _OUTLIER_SIGMAS * 1.4826 * np.median(scaled, axis=1, keepdims=True)
    total = (signal * clean).sum(axis=1)
    return np.divide((difference * clean).sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)


def _sorted_levels(key: Array, signal: Array, variance: Array, saturated: NDArray[np.bool_]) -> SignalLevels:
    """Group pixels by `key` into levels of equal size."""
    groups = np.array_split(np.argsort(key), int(np.clip(len(key) // _PIXELS_PER_LEVEL, 1, _LEVELS)))
    moments = []
    for group in groups:
        v = variance[group]
        scale = 1.4826 * np.median(np.abs(v - np.median(v)))
        kept = v <= np.median(v) + _OUTLIER_SIGMAS * scale if scale > 0 else np.ones(len(v), dtype=bool)
        s, v = signal[group][kept], v[kept]
        moments.append([len(s), s.sum(), v.sum(), s @ s, v @ v, s @ v])
    full = np.array([saturated[group].any() for group in groups])
    return SignalLevels(np.array([key[group].mean() for group in groups]), np.array(moments, dtype=float), full)


def _merged(parts: Sequence[SignalLevels]) -> SignalLevels:
    """Merge the levels of all blocks; saturated levels only with each other."""
    key = np.concatenate([part.key for part in parts])
    moments = np.concatenate([part.moments for part in parts])
    saturated = np.concatenate([part.saturated for part in parts])
    order = np.lexsort((key, saturated))
    groups: list[NDArray[np.int64]] = []
    for own in (order[~saturated[order]], order[saturated[order]]):
        groups += np.array_split(own, min(len(own), _LEVELS)) if len(own) else []
    groups.sort(key=lambda group: key[group].mean())
    return SignalLevels(
        np.array([key[group].mean() for group in groups]),
        np.array([moments[group].sum(axis=0) for group in groups]),
        np.array([saturated[group[0]] for group in groups]),
    )
