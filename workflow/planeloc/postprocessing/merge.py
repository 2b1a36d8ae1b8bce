"""Merging the localizations of a blink into one row, with a precision that is true.

The position is the mean weighted by the inverse variances. Its variance has three parts: errors of single frames,
which average down; errors that all frames of a blink share, which do not; and the error of the sample drift, which
neighbouring frames share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AXES = ("x", "y", "z")
_MEDIAN_CHI2 = 0.45494  # of a squared normal variable
_FEW = 1.65  # standard deviation of the ratio of a median to its expectation, times the root of the number
_TOLERANCE = 1.1  # stated variances are not true to more than that
_PRIOR = 4.0  # localizations of a blink that scatter as stated, in the estimate of its own scatter
_MEANS = ("goodness_of_fit", "local_density")

Columns = Mapping[str, NDArray]


@dataclass(frozen=True)
class Scatter:
    """How the localizations of a blink scatter.

    Attributes
    ----------
    ratio : (3,) variance between the frames of a blink, over the variance as stated (without that of the drift).
    shared : (3,) part of the stated variance that all frames of a blink share.
    """

    ratio: NDArray[np.float64]
    shared: NDArray[np.float64]

    @property
    def factor(self) -> NDArray[np.float64]:
        """(3,) by which stated variances are multiplied: they are never made smaller."""
        return np.maximum(self.ratio, 1.0)


def scatter(differences: NDArray[np.float64], shared: NDArray[np.float64]) -> Scatter:
    """How localizations scatter, from `differences` (pairs, 3) of successive ones over their standard deviations.

    Medians are compared, which few wrong links do not change; what differs from one by less than twice its standard
    deviation is taken as one. Frames that scatter clearly less than stated share the rest, but at least the part
    `shared` (3,).
    """
    if not len(differences):
        return Scatter(np.ones(3), shared)
    ratio = np.median(differences**2, axis=0) / _MEDIAN_CHI2
    doubt = 2 * _FEW / np.sqrt(len(differences))
    ratio = np.where(np.abs(ratio - 1) < doubt, 1.0, ratio)
    return Scatter(ratio, np.maximum(shared, 1 - np.minimum(_TOLERANCE * ratio, 1.0)))


def merge(
    columns: Columns,
    blink: NDArray[np.integer],
    known: NDArray[np.bool_],
    filled: NDArray[np.float64],
    drift_sd: NDArray[np.floating] | None,
    found: Scatter,
) -> dict[str, NDArray]:
    """The columns of the linked table, one row per blink.

    Parameters
    ----------
    columns : of the table that was linked.
    blink : (rows,) number of every row's blink, without gaps.
    known : (rows, 3) whether the standard deviation of x, y, z is known.
    filled : (rows, 3) nm, standard deviations, those of the settings where unknown.
    drift_sd : (rows, 3) nm, the part of the sample drift in it; None for none.
    found : how localizations scatter.
    """
    blinks = int(blink.max()) + 1 if len(blink) else 0
    number = np.bincount(blink, minlength=blinks)
    merged: dict[str, NDArray] = {"frame": _first(columns["frame"], blink, blinks)}
    excess = np.zeros(blinks)
    sds: dict[str, NDArray] = {}
    for axis, name in enumerate(_AXES):
        drift = np.zeros(len(blink)) if drift_sd is None else drift_sd[:, axis]
        own = _Axis(columns[name], blink, number, known[:, axis], filled[:, axis], drift)
        merged[name] = own.mean
        excess += own.chi2 / found.factor[axis]
        sds[f"{name}_sd"] = own.sd(found.factor[axis], found.shared[axis])
    merged["photons"] = _sum(columns["photons"], blink, blinks)
    weight = np.where(columns["photons"] > 0, columns["photons"], 0.0)
    merged["background"] = _mean(columns["background"], blink, blinks, weight)
    merged["probability"] = _any(columns["probability"], blink, blinks)
    freedom = 3.0 * (number - 1)
    scattered = np.sqrt(np.maximum((3 * _PRIOR + excess) / (3 * _PRIOR + freedom), 1.0))
    merged |= {name: np.where(number > 1, sd * scattered, sd) for name, sd in sds.items()}
    for name in _MEANS:
        if name in columns:
            merged[name] = _mean(columns[name], blink, blinks, np.ones(len(blink)))
    if "planes_seen" in columns:
        merged["planes_seen"] = _first(columns["planes_seen"], blink, blinks)
    if "group" in columns:  # of the first of its rows
        merged["group"] = np.asarray(columns["group"])[_first(np.arange(len(blink)), blink, blinks)]
    merged["last_frame"] = -_first(-columns.get("last_frame", columns["frame"]), blink, blinks)
    frames = columns.get("frames", np.ones(len(blink), np.int64))
    merged["frames"] = np.bincount(blink, frames, blinks).astype(np.int64)
    return merged


class _Axis:
    """Mean and variance along one axis."""

    def __init__(self, value, blink, number, known, sd, drift_sd) -> None:
        blinks = len(number)
        knows = np.bincount(blink, known, blinks) > 0
        counts = known | ~knows[blink]  # where a precision is known, only such rows count
        weight = np.where(counts, 1 / sd**2, 0.0)
        total = np.bincount(blink, weight, blinks)
        self.mean = np.bincount(blink, weight * value, blinks) / total
        share = weight / total[blink]
        drift = np.minimum(drift_sd, sd)
        single = sd**2 - drift**2
        self._independent = np.bincount(blink, share**2 * single, blinks)
        self._shared = np.bincount(blink, share * single, blinks)
        self._drift = np.bincount(blink, share * drift, blinks) ** 2
        residual = np.where(counts, value - self.mean[blink], 0.0)
        self.chi2 = np.bincount(blink, residual**2 / np.maximum(single, 1e-12), blinks)
        self._knows = knows

    def sd(self, factor: float, shared: float) -> NDArray[np.float64]:
        variance = factor * ((1 - shared) * self._independent + shared * self._shared) + self._drift
        return np.where(self._knows, np.sqrt(variance), np.nan)


def _first(value: NDArray, blink: NDArray[np.integer], blinks: int) -> NDArray:
    smallest = np.full(blinks, np.iinfo(np.int64).max)
    np.minimum.at(smallest, blink, value)
    return smallest


def _sum(value: NDArray, blink: NDArray[np.integer], blinks: int) -> NDArray[np.float64]:
    """Sum of the known values; NaN where none is known."""
    known = np.isfinite(value)
    total = np.bincount(blink, np.where(known, value, 0.0), blinks)
    return np.where(np.bincount(blink, known, blinks) > 0, total, np.nan)


def _mean(value: NDArray, blink: NDArray[np.integer], blinks: int, weight: NDArray) -> NDArray[np.float64]:
    """Weighted mean of the known values; a plain mean where all weights are zero or unknown."""
    known = np.isfinite(value)
    total = np.bincount(blink, np.where(known, weight, 0.0), blinks)
    weight = np.where(known, np.where(total[blink] > 0, weight, 1.0), 0.0)
    total = np.bincount(blink, weight, blinks)
    summed = np.bincount(blink, weight * np.where(known, value, 0.0), blinks)
    return np.divide(summed, total, out=np.full(blinks, np.nan), where=total > 0)


def _any(probability: NDArray, blink: NDArray[np.integer], blinks: int) -> NDArray[np.float64]:
    """Probability that at least one of independent localizations is right."""
    known = np.isfinite(probability)
    with np.errstate(divide="ignore"):  # a certain localization gives minus infinity
        log_wrong = np.where(known, np.log1p(-np.clip(probability, 0.0, 1.0)), 0.0)
    found = 1 - np.exp(np.bincount(blink, log_wrong, blinks))
    return np.where(np.bincount(blink, known, blinks) > 0, found, np.nan)
