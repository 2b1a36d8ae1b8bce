"""Photon transfer: offset, gain and noise of a camera from a dark movie and one of (nearly) steady illumination.

Over all pixels, mean and variance over time obey

    variance = read variance + F²·K·(mean − offset),    K = em_gain / electrons_per_count,    F² = 2 − 1/em_gain

in counts (Janesick 2007, Photon Transfer; F²: Robbins and Hadwen 2003). Uneven illumination and a fixed pattern in the
offset do no harm, since no two pixels are compared. `movie_statistics` gathers mean and variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planeloc.camera_calibration.movie_statistics import BrightStatistics, DarkStatistics, SignalLevels
from planeloc.camera_calibration.results import CameraMeasurement, PhotonTransferLine
from planeloc.cameras.camera import Camera
from planeloc.core.robust_fit import irls

Array = NDArray[np.float64]

QUANTIZATION_VARIANCE = 1 / 12  # of rounding to whole counts

_HUBER = 3.0
_FIT_ROUNDS = 20
_BEND_SIGMAS, _BEND_SHARE = 4.0, 0.05  # a level is off the line if it deviates by more than both


def fit_line(bright: BrightStatistics, dark: DarkStatistics) -> PhotonTransferLine | None:
    """Fit the photon transfer line through both movies; None if noise does not grow with intensity.

    The fit is weighted and robust. It excludes saturated levels, and all levels above the linear range.
    """
    levels = bright.levels
    usable = np.flatnonzero(~levels.saturated)
    if not len(usable) or levels.signal[usable[-1]] <= 0:
        return None
    kept = _linear_range(levels, usable, dark)
    solved = _solve(levels, kept, dark)
    if solved is None:
        return None
    (intercept, slope), covariance = solved
    used = np.zeros(len(levels.key), dtype=bool)
    used[kept] = True
    top = levels.signal[kept].max()
    bent = _solve(levels, kept, dark, degree=2) if len(kept) >= 4 else None
    alone = _solve(levels, kept, None) if len(kept) >= 4 else None
    gap, gap_sd = _dark_gap(alone, dark) if alone else (0.0, 0.0)
    return PhotonTransferLine(
        bright=bright,
        intercept=intercept,
        slope=slope,
        slope_sd=float(np.sqrt(covariance[1, 1])),
        used=used,
        curvature=float(bent[0][2] * top / bent[0][1]) if bent else 0.0,
        curvature_sd=float(np.sqrt(bent[1][2, 2]) * top / bent[0][1]) if bent else 0.0,
        dark_gap_counts=gap,
        dark_gap_sd_counts=gap_sd,
    )


def _dark_gap(alone: tuple[tuple[float, ...], Array], dark: DarkStatistics) -> tuple[float, float]:
    """Distance, in counts, of the dark movie from the line through the levels alone, and its standard deviation."""
    (intercept, slope), covariance = alone
    gap = (intercept - dark.read_variance) / slope
    variance = covariance[0, 0] + dark.read_variance_sd**2 + gap**2 * covariance[1, 1] - 2 * gap * covariance[0, 1]
    return float(gap), float(np.sqrt(variance) / slope)


def _linear_range(levels: SignalLevels, usable: NDArray[np.int64], dark: DarkStatistics) -> NDArray[np.int64]:
    """Levels from the darkest up to where two in a row (or the last) are off the line through those below."""
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
    levels: SignalLevels, kept: NDArray[np.int64], dark: DarkStatistics | None, degree: int = 1
) -> tuple[tuple[float, ...], Array] | None:
    """Coefficients of a polynomial and their covariance; `dark` is one more point, at signal 0.

    Weights follow from a smooth model of the noise of a variance: the measured noise is correlated with the variances
    and would bias the slope. The covariance uses the measured noise (sandwich estimator).
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
        heavier = np.minimum(1, _HUBER / np.maximum(deviation, 1e-12)) / sd**2
        return (solution, normal, measured, deviation), heavier if grows else weights

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
class _Gains:
    """Gains with their standard deviations; `relative_sd` of the counts per photoelectron."""

    electrons_per_count: float
    em_gain: float
    relative_sd: float
    electrons_sd: float = 0.0
    em_gain_sd: float = 0.0
    excess_noise: float | None = None
    excess_noise_sd: float = 0.0


def measure_camera(
    declared: Camera,
    dark: DarkStatistics,
    line: PhotonTransferLine,
    line_without_em: PhotonTransferLine | None = None,
) -> CameraMeasurement:
    """Measure a camera from its photon transfer line, of slope F²·K counts.

    Without EM gain, electrons_per_count is 1/slope. With EM gain, one line cannot give both gains: the declared
    electrons_per_count is kept, and slope · electrons_per_count = F² · em_gain = 2 · em_gain − 1. A movie of the same
    illumination without EM gain gives electrons_per_count from its own slope, em_gain from the ratio of the signals,
    and F² from the ratio of the slopes.

    Parameters
    ----------
    declared : camera of the microscope file.
    dark : statistics of the dark movie.
    line, line_without_em : of the bright movie, and of one of the same illumination without EM gain.
    """
    gains = _gains(declared, dark, line, line_without_em)
    variance = max(dark.read_variance - QUANTIZATION_VARIANCE, 0.0)
    read_noise = np.sqrt(variance) * gains.electrons_per_count
    noise_sd = 0.5 * dark.read_variance_sd / variance if variance > 0 else 0.0
    camera = replace(
        declared,
        offset_counts=max(dark.offset_counts, 0.0),
        electrons_per_count=gains.electrons_per_count,
        em_gain=gains.em_gain,
        read_noise_electrons=float(read_noise),
    )
    return CameraMeasurement(
        camera=camera,
        declared=declared,
        sd={
            "offset_counts": dark.offset_sd_counts,
            "electrons_per_count": gains.electrons_sd,
            "em_gain": gains.em_gain_sd,
            "read_noise_electrons": float(
                read_noise * np.hypot(noise_sd, gains.electrons_sd / gains.electrons_per_count)
            ),
        },
        gain_sd=gains.relative_sd,
        excess_noise=camera.excess_noise if gains.excess_noise is None else gains.excess_noise,
        excess_noise_sd=gains.excess_noise_sd,
        dark=dark,
        line=line,
        line_without_em=line_without_em,
    )


def _gains(
    declared: Camera, dark: DarkStatistics, line: PhotonTransferLine, line_without_em: PhotonTransferLine | None
) -> _Gains:
    relative_sd = line.slope_sd / line.slope
    if declared.em_gain <= 1:
        electrons = 1 / line.slope
        return _Gains(electrons, 1.0, relative_sd, electrons * relative_sd)
    if line_without_em is None:
        em_gain = max(1.0, 0.5 * (line.slope * declared.electrons_per_count + 1))
        em_gain_sd = 0.5 * line.slope_sd * declared.electrons_per_count
        return _Gains(declared.electrons_per_count, em_gain, em_gain_sd / em_gain, em_gain_sd=em_gain_sd)
    ratio, ratio_sd = _signal_ratio(dark, line.bright, line_without_em.bright)
    electrons = 1 / line_without_em.slope
    electrons_sd = electrons * line_without_em.slope_sd / line_without_em.slope
    em_gain = max(1.0, ratio)
    excess = line.slope / line_without_em.slope / ratio
    excess_sd = excess * np.sqrt(relative_sd**2 + (electrons_sd / electrons) ** 2 + (ratio_sd / max(ratio, 1e-9)) ** 2)
    both_sd = float(np.hypot(electrons_sd / electrons, ratio_sd / em_gain))
    return _Gains(electrons, em_gain, both_sd, electrons_sd, ratio_sd, excess, float(excess_sd))


def _signal_ratio(dark: DarkStatistics, bright: BrightStatistics, without: BrightStatistics) -> tuple[float, float]:
    """Ratio of the signals with and without EM gain, over all unsaturated pixels, and its standard deviation."""
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
