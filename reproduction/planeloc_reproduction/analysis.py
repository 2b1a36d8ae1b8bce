"""Numbers of the page that no experiment writes. Nothing is read or drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc_reproduction import published
from planeloc_reproduction.measures import (
    Interval,
    depth_bins,
    distance_to_curve,
    error_by_depth,
    error_counts,
    nearest_nm,
    same_voxel_share,
    voxel_errors,
)
from planeloc_reproduction.results import Bound, Helix, OneMolecule, Results, Speed, Sweep

REACH_VOXELS = 6
"""Largest error in the histograms of Fig. 7."""
CLOSE_NM = 250.0
"""Molecules with a neighbour within this lateral distance have overlapping spots."""
_COLUMNS = 6  # of a sweep's table


def histogram(one: OneMolecule) -> tuple[NDArray[np.int64], int]:
    """Fig. 7: numbers of molecules by voxel error along y and x, and how many lie beyond."""
    return error_counts(one.found_voxel, one.truth_voxel, REACH_VOXELS)


def right_column(one: OneMolecule) -> float:
    """Share of the molecules in the right voxel along x and y."""
    return float((one.found_voxel == one.truth_voxel)[:, :2].all(axis=1).mean())


def right_column_at_limit(bound: Bound) -> float:
    """The same share if errors were normal and as small as the limit with unknown inter-camera drift."""
    x, y = (
        same_voxel_share(bound.unknown_drift[axis], width)
        for axis, width in zip("xy", published.VOXEL_NM, strict=False)
    )
    return float(np.mean(x * y))


def profile(one: OneMolecule, voxels: bool = False) -> tuple[NDArray, list[list[Interval]]]:
    """Fig. 8: edges of the bins of depth, and the mean error of every axis in every bin."""
    edges = depth_bins(one.depth_range_nm, len(one.truth_nm))
    error = voxel_errors(one.found_voxel, one.truth_voxel, one.voxel_nm) if voxels else one.found_nm - one.truth_nm
    return edges, error_by_depth(one.truth_nm[:, 2], error, edges)


@dataclass(frozen=True)
class WorstBin:
    """The bin of depth with the largest mean error along one axis."""

    axis: str
    from_nm: float
    to_nm: float
    error: Interval
    voxel_nm: float

    @property
    def width_nm(self) -> float:
        """Width of the bin."""
        return self.to_nm - self.from_nm

    @property
    def within_voxel(self) -> str:
        """Whether the error is that of one fine voxel or less."""
        if self.error.value <= self.voxel_nm:
            return "yes"
        return "within the interval" if self.error.low <= self.voxel_nm else "no"


def worst_bins(one: OneMolecule, voxels: bool) -> list[WorstBin]:
    """The worst bin along x, y and z."""
    edges, axes = profile(one, voxels)
    worst = [int(np.nanargmax([interval.value for interval in axis])) for axis in axes]
    return [
        WorstBin(name, edges[i], edges[i + 1], axis[i], width)
        for name, i, axis, width in zip("xyz", worst, axes, published.VOXEL_NM, strict=True)
    ]


@dataclass(frozen=True)
class HelixShares:
    """How what was found lies on the helix (shares between 0 and 1)."""

    molecules: int
    voxels: int
    within_1_voxel: float
    within_2_voxels: float
    median_nm: float
    found: float  # molecules with a voxel above the threshold within 2 voxels
    found_close: float  # of those with a neighbour within `CLOSE_NM`
    found_alone: float
    peaks_per_molecule: float
    peaks_within_2_voxels: float


def helix_shares(helix: Helix) -> HelixShares:
    """Measure what was found on a helix."""
    unit = published.VOXEL_NM
    found, peaks = (np.concatenate([getattr(f, name) for f in helix.frames]) for name in ("found_nm", "peaks_nm"))
    close, seen = (np.concatenate(parts) for parts in zip(*map(_close_and_seen, helix.frames), strict=True))
    distance = distance_to_curve(found, helix.curve_nm, unit)
    return HelixShares(
        molecules=len(seen),
        voxels=len(found),
        within_1_voxel=_share(distance <= 1),
        within_2_voxels=_share(distance <= 2),
        median_nm=float(np.median(distance_to_curve(found, helix.curve_nm))) if len(found) else math.nan,
        found=_share(seen),
        found_close=_share(seen[close]),
        found_alone=_share(seen[~close]),
        peaks_per_molecule=len(peaks) / max(len(seen), 1),
        peaks_within_2_voxels=_share(distance_to_curve(peaks, helix.curve_nm, unit) <= 2),
    )


def _close_and_seen(frame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    lateral = np.hypot(*(frame.truth_nm[:, None, :2] - frame.truth_nm[None, :, :2]).transpose(2, 0, 1))
    np.fill_diagonal(lateral, math.inf)
    unit = np.asarray(published.VOXEL_NM)
    return (lateral <= CLOSE_NM).any(axis=1), nearest_nm(frame.truth_nm / unit, frame.found_nm / unit) <= 2


def _share(condition: NDArray[np.bool_]) -> float:
    return float(condition.mean()) if len(condition) else math.nan


def per_pixel_law(speed: Speed) -> NDArray[np.float64]:
    """Frames per second that are inversely proportional to the number of pixels, through the largest size."""
    return speed.frames_per_second[-1] * (speed.size_px[-1] / speed.size_px) ** 2


def columns(sweeps: dict[str, Sweep]) -> list[float]:
    """At most six of the conditions of a sweep."""
    values = np.unique(np.concatenate([sweep["value"] for sweep in sweeps.values()]))
    if len(values) > _COLUMNS:
        values = values[np.unique(np.linspace(0, len(values) - 1, _COLUMNS).round().astype(int))]
    return values.tolist()


def at(sweep: Sweep, column: str, value: float) -> float:
    """A sweep's number at a condition; NaN where it was not measured."""
    index = np.flatnonzero(np.isclose(sweep["value"], value))
    return float(sweep[column][index[0]]) if len(index) else math.nan


def measured(sweep: Sweep, column: str) -> list[tuple[float, float]]:
    """Conditions and numbers of a sweep where there is a number."""
    known = np.isfinite(sweep[column])
    return list(zip(sweep["value"][known], sweep[column][known], strict=True))


def molecules(sweeps: dict[str, Sweep]) -> list[float]:
    """The fewest and the most molecules of a point, once where they are equal."""
    counts = np.concatenate([sweep["molecules"] for sweep in sweeps.values()])
    counts = counts[np.isfinite(counts)]
    return sorted({counts.min(), counts.max()}) if len(counts) else []


def advantage_from(robust: Sweep, other: Sweep) -> float:
    """The condition from which on the robust network's lateral error is the smaller one; NaN where it never is."""
    common = np.intersect1d(robust["value"], other["value"])
    gain = np.array([at(other, "lateral", v) - at(robust, "lateral", v) for v in common])
    common, gain = common[np.isfinite(gain)], gain[np.isfinite(gain)]
    if not len(gain) or gain[-1] <= 0:
        return math.nan
    worse = np.flatnonzero(gain <= 0)
    return float(common[worse[-1] + 1] if len(worse) else common[0])


def used_architecture(results: Results) -> str | None:
    """The variant of the study that the robust network is."""
    robust = results.training.get("robust")
    names = [v.name for v in results.architecture if robust and dict(v.architecture) == dict(robust.architecture)]
    return next(iter(names), None)
