"""Sums over the rings of Fourier space, from which the correlation of two halves of a table follows.

Instead of many random divisions of a table, their mean is computed. If every row belongs to either half by the toss of
a coin, the mean of F₁F₂* over all divisions is (|F|² − N) / 4, and that of |F₁|² and |F₂|² is (|F|² + N) / 4. F is the
transform of all rows, and N the sum of their squared weights. One transform gives what infinitely many divisions do,
and no random number is drawn. Rows must be independent: one per molecule, not one per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 1 / 7
_FIRST = 3  # ring; below it, the window around a tile smears the mean of the image
_WIDENING = 0.04  # of the band over which rings are averaged, per ring
_START = 3.0  # standard deviations by which the curve must be above the threshold where it begins
_LARGEST_SD = THRESHOLD / 2  # of the curve where it crosses the threshold


@dataclass
class RingSums:
    """Sums of one pair of halves, by group of tiles and ring.

    Attributes
    ----------
    frequency : (rings,) 1/nm.
    coefficients : (groups, rings) number of independent Fourier coefficients.
    cross, first, second : (groups, rings) sums of Re F₁F₂*, |F₁|² and |F₂|².
    """

    frequency: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    cross: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def empty(cls, frequency: NDArray[np.float64], groups: int) -> RingSums:
        """Sums of nothing."""
        return cls(frequency, *(np.zeros((groups, len(frequency))) for _ in range(4)))

    def add_all_divisions(
        self, group: int, power: NDArray[np.float64], noise: float, count: NDArray[np.float64], weight: float
    ) -> None:
        """Add the mean over all random divisions of a tile, from its ring sums of |F|² and its squared weights."""
        self.cross[group] += weight * (power - noise * count) / 4
        self.first[group] += weight * (power + noise * count) / 4
        self.second[group] += weight * (power + noise * count) / 4
        self.coefficients[group] += count / 2  # those of q and −q are the same

    def add_halves(
        self,
        group: int,
        sums: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        count: NDArray[np.float64],
        weight: float,
    ) -> None:
        """Add the ring sums of one division of a tile: those of Re F₁F₂*, |F₁|² and |F₂|²."""
        for total, values in zip((self.cross, self.first, self.second), sums, strict=True):
            total[group] += weight * values
        self.coefficients[group] += count / 2

    def without(self, group: int) -> RingSums:
        """These sums without a group of tiles."""
        parts = (np.delete(a, group, axis=0) for a in (self.coefficients, self.cross, self.first, self.second))
        return RingSums(self.frequency, *parts)

    @property
    def groups(self) -> int:
        """Number of groups that hold anything."""
        return int((self.first.sum(axis=1) > 0).sum())

    @cached_property
    def correlation(self) -> NDArray[np.float64]:
        """(rings,) the correlation, every ring averaged with its neighbours; NaN where there is nothing."""
        cross, first, second = (_banded(a.sum(axis=0)) for a in (self.cross, self.first, self.second))
        scale = np.sqrt(np.maximum(first, 0) * np.maximum(second, 0))
        return np.divide(cross, scale, out=np.full_like(cross, np.nan), where=scale > 0)

    @cached_property
    def sd(self) -> NDArray[np.float64]:
        """(rings,) standard deviation of the correlation of halves that have nothing in common."""
        return 1 / np.sqrt(np.maximum(_banded(self.coefficients.sum(axis=0)), 1e-9))


def mean_of(sums: list[RingSums]) -> RingSums:
    """Sum of several divisions; the coefficients are those of one, since all are of the same rows."""
    parts = (np.sum([getattr(s, name) for s in sums], axis=0) for name in ("cross", "first", "second"))
    return RingSums(sums[0].frequency, sums[0].coefficients, *parts)


def _banded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every ring together with its neighbours, more of them farther out."""
    ring = np.arange(len(values))
    half = 1 + (_WIDENING * ring).astype(int)
    low, high = np.maximum(ring - half, 1), np.minimum(ring + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.where(ring > 0, total[np.maximum(high, low)] - total[low], values)


@dataclass(frozen=True)
class Resolution:
    """Where a correlation falls below 1/7.

    Attributes
    ----------
    nm : the resolution, NaN if it cannot be told.
    sd_nm : its standard deviation, NaN if there are too few groups of tiles: what they scatter (jackknife), and what
        the finite number of Fourier coefficients makes uncertain, in quadrature. Few groups are alike by chance.
    reason : why it cannot be told.
    """

    nm: float
    sd_nm: float = float("nan")
    reason: str = ""


def resolution(sums: RingSums) -> Resolution:
    """Resolution by the threshold of 1/7, with its standard deviation."""
    nm, reason = _crossing(sums)
    groups = sums.groups
    if reason or groups < 3:
        return Resolution(nm, reason=reason)
    held = np.flatnonzero(sums.first.sum(axis=1) > 0)
    frequencies = 1 / np.array([_crossing(sums.without(group))[0] for group in held])
    frequencies = frequencies[np.isfinite(frequencies)]
    if len(frequencies) < len(held):  # one group decides
        return Resolution(nm)
    variance = (groups - 1) / groups * ((frequencies - frequencies.mean()) ** 2).sum() + _noise(sums, 1 / nm) ** 2
    return Resolution(nm, float(nm**2 * np.sqrt(variance)))


def _noise(sums: RingSums, frequency: float) -> float:
    """Standard deviation of the frequency where the curve crosses, for that of the curve there: half the way between
    where it is one above and one below the threshold."""
    curve, ring = sums.correlation, int(np.searchsorted(sums.frequency, frequency))
    sd = sums.sd[min(ring, len(curve) - 1)]
    inside = np.arange(len(curve)) >= _FIRST
    high = np.flatnonzero(inside & ~(curve > THRESHOLD + sd))
    low = np.flatnonzero(inside & (curve < THRESHOLD - sd))
    first = sums.frequency[high[0]] if len(high) else frequency
    last = sums.frequency[low[0]] if len(low) else sums.frequency[-1]
    return float(last - first) / 2


def _crossing(sums: RingSums) -> tuple[float, str]:
    curve, sd = sums.correlation, sums.sd
    if len(curve) <= _FIRST + 1 or not np.isfinite(curve[_FIRST:]).all():
        return np.nan, "there is nothing to correlate"
    if not curve[_FIRST] > THRESHOLD + _START * min(sd[_FIRST], 0.2):
        return np.nan, "the halves have no structure in common"
    below = np.flatnonzero(curve[_FIRST:] < THRESHOLD) + _FIRST
    if not len(below):
        return np.nan, "the halves are alike down to the pixel"
    ring = below[0]
    if sd[ring] > _LARGEST_SD:
        return np.nan, "the field is too small"
    share = (curve[ring - 1] - THRESHOLD) / (curve[ring - 1] - curve[ring])
    frequency = sums.frequency[ring - 1] + share * (sums.frequency[ring] - sums.frequency[ring - 1])
    return float(1 / frequency), ""
