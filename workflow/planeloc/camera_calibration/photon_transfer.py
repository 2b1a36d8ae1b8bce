"""Photon transfer: offset, gain and noise of a camera from a movie in the dark and one of (nearly) steady light.

Of every pixel, the mean over time tells the light and the variance over time the noise, and over all pixels

    variance = read variance + F²·K·(mean − offset),    K = em_gain / electrons_per_count,    F² = 2 − 1/em_gain

in counts (Janesick 2007, Photon Transfer; F²: Robbins and Hadwen 2003). Neither uneven light nor a fixed pattern in the
offset disturbs, since no two pixels are compared. The variance is that of neighbouring frames, (x₂ − x₁)²/2 of disjoint
pairs, in which slow drift of the light cancels; what all pixels do together (flicker) is measured and taken out.

Pixels are gathered in levels of light. A level must not be chosen by the very counts that are averaged in it, or
their noise would be sorted, too: so the pairs of a block of frames are dealt into two halves, and each is sorted by the
means of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.core.robust import huber_weights, irls

Array = NDArray[np.float64]

BLOCK_FRAMES = 20  # within them, the light of a pixel is taken for constant
QUANTIZATION_VARIANCE = 1 / 12  # of rounding to whole counts

_LEVELS = 24
_PIXELS_PER_LEVEL = 100
_HOT_SIGMAS = 10.0  # of the fixed pattern
_NOISY = 25.0  # times the median variance in the dark
_OUTLIER_SIGMAS = 15.0  # a variance of few pairs has a long tail: only cosmic rays lie this far out
_STEADY = 0.1  # pairs between which the light changes by more are steps to another level
_DRIFT_GROUPS = 10
_HUBER = 3.0
_FIT_ROUNDS = 20
_BEND_SIGMAS, _BEND_SHARE = 4.0, 0.05  # a level is off the line if it deviates by more than both
_SMOOTHING_PX = 3.0


@dataclass(frozen=True)
class Dark:
    """A camera in the dark; images are (rows, columns)."""

    offset_counts: float
    offset_sd_counts: float
    read_variance: float  # counts², rounding included; as every variance here
    read_variance_sd: float
    drift_counts: float  # largest change of the offset during the movie, beyond its noise
    at_zero: float  # share of the counts that are 0: noise that was cut off
    mean: Array
    usable: NDArray[np.bool_]  # neither hot nor much noisier than the others


class DarkSum:
    """Collects the dark movie of one camera, block by block."""

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

    def result(self) -> Dark:
        mean, variance = self._sum / self._frames, self._squares / self._pairs
        pattern = mean - np.median(mean)
        hot = pattern > _HOT_SIGMAS * 1.4826 * np.median(np.abs(pattern)) + 1
        usable = ~hot & (variance <= _NOISY * np.median(variance) + 1)
        means = np.concatenate(self._means)
        frame_sd = np.sqrt(0.5 * np.mean((means[1::2] - means[::2]) ** 2))
        return Dark(
            offset_counts=float(mean[usable].mean()),
            offset_sd_counts=float(frame_sd / np.sqrt(len(means))),
            read_variance=float(variance[usable].mean()),
            read_variance_sd=float(variance[usable].std() / np.sqrt(usable.sum())),
            drift_counts=_drift(means, frame_sd),
            at_zero=self._zeros / (self._frames * mean.size),
            mean=mean,
            usable=usable,
        )


def _drift(means: Array, frame_sd: float) -> float:
    """Range of the means of successive stretches of frames, without what noise makes of it."""
    groups = np.array_split(means, min(_DRIFT_GROUPS, max(2, len(means) // 4)))
    spread = np.ptp([group.mean() for group in groups])
    noise = 3.0 * frame_sd / np.sqrt(len(means) / len(groups))  # the range of ten normal numbers
    return float(np.sqrt(max(spread**2 - noise**2, 0.0)))


@dataclass(frozen=True)
class Levels:
    """Levels of light, dimmest first: one entry of every array per level.

    `moments` are sums over pixels of (1, s, v, s², v², s·v), with s counts above the offset and v variance, counts².
    """

    key: Array  # counts by which the pixels were sorted
    moments: Array  # (levels, 6)
    saturated: NDArray[np.bool_]

    @property
    def signal(self) -> Array:
        return self.moments[:, 1] / self.moments[:, 0]

    @property
    def variance(self) -> Array:
        return self.moments[:, 2] / self.moments[:, 0]

    def residual_sd(self, slope: float) -> Array:
        """Standard deviation of variance − slope·signal of a level, from the spread of its pixels."""
        n, s, v, ss, vv, sv = self.moments.T
        spread = vv / n - (v / n) ** 2 - 2 * slope * (sv / n - s * v / n**2) + slope**2 * (ss / n - (s / n) ** 2)
        return np.sqrt(np.maximum(spread, 1e-12) / n)


@dataclass(frozen=True)
class Bright:
    """A camera in steady light."""

    levels: Levels
    frames: int
    mean: Array  # (rows, columns) counts
    saturated: NDArray[np.bool_]  # pixels that ever reached saturation
    saturated_share: float  # of the usable ones
    flicker: float  # rms of the light from frame to frame, relative, shot noise taken off
    steady: float  # share of the pairs between which the light did not step


class BrightSum:
    """Collects the bright movie of one camera, block by block; `limit_counts` is where a pixel is saturated."""

    def __init__(self, dark: Dark, limit_counts: float) -> None:
        self._dark, self._limit = dark, limit_counts
        self._parts: list[Levels] = []
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
        # A change common to all pixels goes; with it, of the shot noise, the share of each pixel in all the light.
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

    def result(self) -> Bright | None:
        """None if the light was never steady for two pairs of frames."""
        if not self._parts:
            return None
        excess = (self._common - self._common_noise) / (2 * self._steady)
        return Bright(
            _joined(self._parts),
            self._frames,
            self._sum / self._frames,
            self._saturated,
            float(self._saturated[self._dark.usable].mean()),
            float(np.sqrt(max(excess, 0.0))),
            self._steady / self._pairs,
        )


def _common_change(difference: Array, signal: Array) -> Array:
    """Relative change of the light between the frames of every pair, over all pixels but those hit by cosmic rays."""
    scaled = difference / np.sqrt(np.maximum(signal, 1.0))
    scaled = np.abs(scaled - np.median(scaled, axis=1, keepdims=True))
    plain = scaled <= _OUTLIER_SIGMAS * 1.4826 * np.median(scaled, axis=1, keepdims=True)
    light = (signal * plain).sum(axis=1)
    return np.divide((difference * plain).sum(axis=1), light, out=np.zeros(len(light)), where=light > 0)


def _sorted_levels(key: Array, signal: Array, variance: Array, saturated: NDArray[np.bool_]) -> Levels:
    """Pixels in order of `key`, in groups of equal size."""
    groups = np.array_split(np.argsort(key), int(np.clip(len(key) // _PIXELS_PER_LEVEL, 1, _LEVELS)))
    moments = []
    for group in groups:
        v = variance[group]
        scale = 1.4826 * np.median(np.abs(v - np.median(v)))
        kept = v <= np.median(v) + _OUTLIER_SIGMAS * scale if scale > 0 else np.ones(len(v), dtype=bool)
        s, v = signal[group][kept], v[kept]
        moments.append([len(s), s.sum(), v.sum(), s @ s, v @ v, s @ v])
    full = np.array([saturated[group].any() for group in groups])
    return Levels(np.array([key[group].mean() for group in groups]), np.array(moments, dtype=float), full)


def _joined(parts: Sequence[Levels]) -> Levels:
    """Few levels from those of all blocks; saturated ones are kept apart, so that they spoil no other."""
    key = np.concatenate([part.key for part in parts])
    moments = np.concatenate([part.moments for part in parts])
    saturated = np.concatenate([part.saturated for part in parts])
    order = np.lexsort((key, saturated))
    groups = [g for full in (False, True) for g in _shared(order[saturated[order] == full])]
    groups.sort(key=lambda group: key[group].mean())
    return Levels(
        np.array([key[group].mean() for group in groups]),
        np.array([moments[group].sum(axis=0) for group in groups]),
        np.array([saturated[group[0]] for group in groups]),
    )


def _shared(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(order, min(len(order), _LEVELS)) if len(order) else []


@dataclass(frozen=True)
class Line:
    """variance = intercept + slope·signal, with the levels that it rests on."""

    intercept: float
    slope: float
    slope_sd: float
    used: NDArray[np.bool_]  # per level
    curvature: float  # departure from the line at the brightest level used if it bends, over the shot noise there
    curvature_sd: float
    dark_gap_counts: float  # by how much the offset would have to differ for the dark to lie on the levels' own line
    dark_gap_sd_counts: float


def fit_line(levels: Levels, dark: Dark) -> Line | None:
    """Weighted, robust straight line through the dark and the levels; None if the noise does not grow with light.

    Saturated levels are left out, and from where the levels leave the line for good, all brighter ones.
    """
    usable = np.flatnonzero(~levels.saturated)
    if not len(usable) or levels.signal[usable[-1]] <= 0:
        return None
    kept = _straight_part(levels, usable, dark)
    solved = _solve(levels, kept, dark)
    if solved is None:
        return None
    (intercept, slope), covariance = solved
    used = np.zeros(len(levels.key), dtype=bool)
    used[kept] = True
    top = levels.signal[kept].max()
    bent = _solve(levels, kept, dark, degree=2) if len(kept) >= 4 else None
    alone = _solve(levels, kept, None) if len(kept) >= 4 else None
    gap = gap_sd = 0.0
    if alone is not None:
        (there, own_slope), own = alone
        gap = (there - dark.read_variance) / own_slope
        gap_sd = np.sqrt(own[0, 0] + dark.read_variance_sd**2 + gap**2 * own[1, 1] - 2 * gap * own[0, 1]) / own_slope
    return Line(
        intercept=intercept,
        slope=slope,
        slope_sd=float(np.sqrt(covariance[1, 1])),
        used=used,
        curvature=float(bent[0][2] * top / bent[0][1]) if bent else 0.0,
        curvature_sd=float(np.sqrt(bent[1][2, 2]) * top / bent[0][1]) if bent else 0.0,
        dark_gap_counts=float(gap),
        dark_gap_sd_counts=float(gap_sd),
    )


def _straight_part(levels: Levels, usable: NDArray[np.int64], dark: Dark) -> NDArray[np.int64]:
    """The levels from the dimmest up to where two in a row (or the last) are off the line through those below."""
    start = min(len(usable), max(4, len(usable) // 3))
    kept, off = list(usable[:start]), 0
    for position, level in enumerate(usable[start:], start=start):
        solved = _solve(levels, np.array(kept), dark)
        if solved is None:
            break
        (intercept, slope), covariance = solved
        x = np.array([1.0, levels.signal[level]])
        predicted = intercept + slope * x[1]
        sd = np.sqrt(levels.residual_sd(slope)[level] ** 2 + x @ covariance @ x)
        deviation = abs(levels.variance[level] - predicted)
        if deviation > _BEND_SIGMAS * sd and deviation > _BEND_SHARE * abs(predicted):
            off += 1
            if off == 2 or position == len(usable) - 1:
                break
        else:
            kept += [*usable[position - off : position], level] if off else [level]
            off = 0
    return np.array(kept)


def _solve(
    levels: Levels, kept: NDArray[np.int64], dark: Dark | None, degree: int = 1
) -> tuple[tuple[float, ...], Array] | None:
    """Coefficients of a polynomial and their covariance; `dark` is one more point, at signal 0.

    Weights follow from one smooth model of the noise of a variance, since the measured ones are correlated with the
    variances and would pull the line down; the covariance then takes the measured ones (a "sandwich").
    """
    signal, variance, pixels = levels.signal[kept], levels.variance[kept], levels.moments[kept, 0]
    extra = 0 if dark is None else 1
    x = np.concatenate([np.zeros(extra), signal])
    y = np.concatenate([[dark.read_variance] if dark else [], variance])
    design = np.vander(x, degree + 1, increasing=True)
    if len(np.unique(x)) <= degree:
        return None
    weights = np.concatenate([np.full(extra, pixels.sum()), pixels]) / np.maximum(y, 1e-3) ** 2
    dark_sd = [dark.read_variance_sd] if dark else []

    def fit(weights: Array) -> tuple[tuple[Array, ...], Array]:
        normal = design.T @ (weights[:, None] * design)
        solution = np.linalg.solve(normal, design.T @ (weights * y))
        predicted = np.maximum(design @ solution, 1e-3)
        measured = levels.residual_sd(float(solution[1]))[kept]
        relative = np.median(measured**2 * pixels / predicted[extra:] ** 2)
        sd = np.concatenate([dark_sd, predicted[extra:] * np.sqrt(relative / pixels)])
        deviation = np.abs(y - design @ solution) / sd
        grows = solution[1] > 0  # else the same weights end the iteration
        return (solution, normal, measured, deviation), huber_weights(
            deviation, _HUBER, 1 / sd**2
        ) if grows else weights

    (solution, normal, measured, deviation), weights = irls(fit, weights, _FIT_ROUNDS, rtol=1e-6)
    if solution[1] <= 0:
        return None
    inverse = np.linalg.inv(normal)
    spread = (weights * np.concatenate([dark_sd, measured]))[:, None]
    covariance = inverse @ (design.T @ (spread**2 * design)) @ inverse
    freedom = len(x) - degree - 1
    scatter = float((np.minimum(deviation, _HUBER) ** 2).sum() / freedom) if freedom else 1.0
    if freedom and scatter > 1 + 3 * np.sqrt(2 / freedom):  # the line explains less than the noise allows
        covariance = covariance * scatter
    return tuple(map(float, solution)), covariance


@dataclass(frozen=True)
class Measurement:
    """One camera as measured, with standard deviations; `sheet` is what was declared."""

    camera: Camera
    sheet: Camera
    offset_sd_counts: float
    electrons_per_count_sd: float  # 0 where the sheet's value is kept
    em_gain_sd: float
    read_noise_sd_electrons: float
    gain_sd: float  # of the counts per photoelectron, relative
    excess_noise: float  # F²; only measured with a movie without EM gain, else that of the camera
    excess_noise_sd: float
    dark: Dark
    bright: Bright
    line: Line
    bright_without_em: Bright | None = None
    line_without_em: Line | None = None

    @property
    def light_in_the_dark_counts(self) -> float:
        """Mean light in the dark movie, counts, as far as it is sure: the dark image's share of the bright one.

        Only uneven light can be recognised in another image; 0 where it is even.
        """
        seen = ndimage.gaussian_filter(self.bright.mean - self.dark.mean, _SMOOTHING_PX)[self.dark.usable]
        spread = seen.std()
        if not spread > 0.1 * abs(seen.mean()):
            return 0.0
        image = self.dark.mean[self.dark.usable]
        share = np.mean((seen - seen.mean()) * (image - image.mean())) / spread**2
        noise = (image - share * seen).std() / (spread * np.sqrt(len(seen)))
        return float(max(share - 3 * noise, 0.0) * seen.mean())


def measure(
    sheet: Camera,
    dark: Dark,
    bright: Bright,
    line: Line,
    bright_without_em: Bright | None = None,
    line_without_em: Line | None = None,
) -> Measurement:
    """Turn the line, F²·K counts, into the camera's values.

    Without EM gain 1/K is electrons_per_count. With it, one line cannot tell both: the sheet's electrons_per_count is
    kept, and slope·electrons_per_count = F²·em_gain = 2·em_gain − 1. The same light without EM gain tells them
    apart: electrons_per_count from its own slope, em_gain from the ratio of the signals, F² from that of the slopes.
    """
    electrons, electrons_sd, gain, gain_sd = sheet.electrons_per_count, 0.0, 1.0, 0.0
    relative_sd = line.slope_sd / line.slope
    excess = excess_sd = None
    if sheet.em_gain <= 1:
        bright_without_em = line_without_em = None
        electrons = 1 / line.slope
        electrons_sd = electrons * relative_sd
    elif bright_without_em is None or line_without_em is None:
        gain = max(1.0, 0.5 * (line.slope * electrons + 1))
        gain_sd = 0.5 * line.slope_sd * electrons
        relative_sd = gain_sd / gain
    else:
        electrons = 1 / line_without_em.slope
        electrons_sd = electrons * line_without_em.slope_sd / line_without_em.slope
        ratio, ratio_sd = _ratio(dark, bright, bright_without_em)
        gain, gain_sd = max(1.0, ratio), ratio_sd
        excess = line.slope / line_without_em.slope / ratio
        excess_sd = excess * np.sqrt(
            relative_sd**2 + (electrons_sd / electrons) ** 2 + (gain_sd / max(ratio, 1e-9)) ** 2
        )
        relative_sd = float(np.hypot(electrons_sd / electrons, gain_sd / gain))
    variance = max(dark.read_variance - QUANTIZATION_VARIANCE, 0.0)
    read_noise = np.sqrt(variance) * electrons
    noise_sd = 0.5 * dark.read_variance_sd / variance if variance > 0 else 0.0
    camera = replace(
        sheet,
        offset_counts=max(dark.offset_counts, 0.0),
        electrons_per_count=electrons,
        em_gain=gain,
        read_noise_electrons=float(read_noise),
    )
    return Measurement(
        camera=camera,
        sheet=sheet,
        offset_sd_counts=dark.offset_sd_counts,
        electrons_per_count_sd=float(electrons_sd),
        em_gain_sd=float(gain_sd),
        read_noise_sd_electrons=float(read_noise * np.hypot(noise_sd, electrons_sd / electrons)),
        gain_sd=float(relative_sd),
        excess_noise=camera.excess_noise if excess is None else float(excess),
        excess_noise_sd=0.0 if excess_sd is None else float(excess_sd),
        dark=dark,
        bright=bright,
        line=line,
        bright_without_em=bright_without_em,
        line_without_em=line_without_em,
    )


def _ratio(dark: Dark, bright: Bright, without: Bright) -> tuple[float, float]:
    """Signal with over signal without EM gain, over all pixels that never saturated, and its standard deviation."""
    pixels = dark.usable & ~bright.saturated & ~without.saturated
    totals, relative_variance = [], 0.0
    for movie in (bright, without):
        total = float((movie.mean - dark.mean)[pixels].sum())
        if total <= 0:
            return float("nan"), float("nan")
        noise = float(movie.levels.moments[:, 2].sum() / movie.levels.moments[:, 0].sum())
        relative_variance += (noise * pixels.sum() / total**2 + movie.flicker**2) / movie.frames
        totals.append(total)
    ratio = totals[0] / totals[1]
    offset = dark.offset_sd_counts * pixels.sum() * (ratio - 1) / totals[1]  # one dark image for both
    return ratio, float(np.hypot(ratio * np.sqrt(relative_variance), offset))
