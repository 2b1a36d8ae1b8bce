"""The stage's sideways motion during a bead scan: its path, common to all beads and cameras, and how large it is.

There are two estimators of the path, as registration and calibration know different things of the beads.

- `remove_stage_drift` (registration) needs neither the beads' depths nor a prior. It finds the whole path and its
  covariance, from which the uncertainty of a transform follows.
- `uneven_stage_drift` (calibration) knows every bead's defocus. It separates the stage's motion from a spot that walks
  with defocus, as aberrations make it, and so loses the even part of the path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.beads.fits import BeadFits
from planeloc.core.arrays import Array, Indices, Mask
from planeloc.core.robust_fit import common_scatter, huber, irls, without_group_means

_REWEIGHTINGS = 8
_LEAST_FREEDOM = 0.05  # degrees of freedom over positions; with less, no outlier can be recognized
_MOTION_FACTOR = 4.0  # a bead that moves by this much more than most is loose
_MOTION_LEAST_PX = 0.02
_MOTION_SIGNIFICANT = 5.0  # standard deviations
_WALK_POWERS = (2, 3, 4)  # of the defocus; the first cannot be distinguished from an even motion of the stage
_WALK_REWEIGHTINGS = 6
_FEWEST_SERIES = 2
_LEAST_SD_NM = 1.0
_TYPICAL_DISPLACEMENT_NM = 6.0  # of the stage, from slice to slice
_TYPICAL_WALK_NM = 30.0  # of a spot, at one depth of focus from its focus
_BRIGHT = 0.3  # of a bead's highest peak: slices on which its position is compared
_FEWEST_FOR_COMMON = 3


@dataclass(frozen=True)
class DriftFreeBeads:
    """Positions of beads without the stage's path. Variances are per axis; a series is one bead on one camera."""

    position_px: Array  # (series, 2)
    variance_px2: Array  # (series,) of each independently
    path_weight: Array  # (series, slices) by how much a position changes with the path on a slice
    path_covariance_px2: Array  # (slices, slices)
    bead_motion_px: Array  # (series,) rms motion, both axes together, beyond path and noise
    moves: Mask  # (series,) whether that is far more than most beads have

    def shared_covariance_px2(self, source: Indices, target: Indices) -> Array:
        """(n, n) covariance, by the path's uncertainty, of the differences of positions target − source."""
        weight = self.path_weight[target] - self.path_weight[source]
        return weight @ self.path_covariance_px2 @ weight.T


def remove_stage_drift(position_px: Array, variance_px2: Array, camera: Indices, corrected: Mask) -> DriftFreeBeads:
    """Positions of beads without the path of the stage, from positions on every slice.

    Cameras image a bead best on different slices, between which the stage moves. On slice s, bead b is at P_b + path_s;
    both follow from weighted least squares over all beads of all cameras. The path is known up to a constant, which is
    the same for all beads and drops out of a transform. A scatter of single positions beyond their variance
    (aberrations) is estimated and added; outliers get Huber weights.

    Parameters
    ----------
    position_px : (series, slices, 2) turned onto the reference.
    variance_px2 : (series, slices) infinite where the position is unknown.
    camera : (series,) which camera images each.
    corrected : (series,) whether the path is estimated from it and removed from it.
    """
    known = np.isfinite(variance_px2)
    noise = np.where(known, variance_px2, 1.0)
    slices = position_px.shape[1]
    freedom = max(1 - (len(known) + (slices if corrected.any() else 0)) / max(known.sum(), 1), _LEAST_FREEDOM)
    corrected = corrected[:, None]

    def fit(weights: Array) -> tuple[tuple[Array, ...], Array]:
        total = weights.sum(axis=1, keepdims=True)
        share = weights / total
        away = position_px - np.sum(share[..., None] * position_px, axis=1, keepdims=True)
        used = corrected * weights
        normal = np.diag(used.sum(axis=0)) - share.T @ used  # the beads' positions are eliminated
        # What the beads do not determine (the constant, slices without beads) becomes zero.
        covariance = np.linalg.pinv(normal, rcond=1e-9, hermitian=True)
        path = covariance @ np.sum(used[..., None] * away, axis=0)
        without_path = position_px - corrected[..., None] * path
        position = np.sum(share[..., None] * without_path, axis=1)
        rest = without_path - position[:, None]
        squared = np.sum(rest**2, axis=-1) / 2
        scatter = common_scatter(squared[known], noise[known], freedom)
        factor = np.where(known, huber(squared / (noise + scatter)), 0.0)
        return (position, total, share, covariance, rest), factor / (noise + scatter)

    rounds = _REWEIGHTINGS if freedom > _LEAST_FREEDOM else 1
    (position, total, share, covariance, rest), _ = irls(fit, known / noise, rounds)
    own, moves = _bead_motion(rest, np.where(known, 1 / noise, 0.0), camera)
    return DriftFreeBeads(position, 1 / total[:, 0], corrected * share, covariance, own, moves)


def _bead_motion(rest: Array, weights: Array, camera: Indices) -> tuple[Array, Mask]:
    """Rms motion (series,) of every bead beyond its camera's mean motion and the noise, and which beads stand out."""
    for c in np.unique(camera):
        here = camera == c
        if here.sum() >= 4:  # an aberrated spot walks with its defocus, in the same way for all beads of a camera
            unknown = np.broadcast_to(weights[here, :, None] == 0, rest[here].shape)
            walk = np.ma.median(np.ma.masked_array(rest[here], unknown), axis=0).filled(0.0)
            rest = np.where(here[:, None, None], rest - walk, rest)
    total = np.maximum(weights.sum(axis=1), 1e-12)
    mean = np.sum(weights[..., None] * rest, axis=1) / total[:, None]
    squares = np.sum(weights * np.sum((rest - mean[:, None]) ** 2, axis=-1), axis=1)
    freedom = 2.0 * (np.count_nonzero(weights, axis=1) - 1)
    excess = np.maximum(squares - freedom, 0.0)
    own = np.sqrt(excess / total)
    usual = float(np.median(own)) if len(own) else 0.0
    far = own > np.maximum(_MOTION_FACTOR * usual, _MOTION_LEAST_PX)
    return own, far & (excess > _MOTION_SIGNIFICANT * np.sqrt(2 * np.maximum(freedom, 1.0)))


def uneven_stage_drift(position_nm: Array, sd_nm: Array, defocus: Array, usable: Mask) -> Array:
    """Displacement of the stage on every slice, less its even (linear) part.

    The stage's displacement belongs to the slice and is the same for all cameras. The walk of a spot belongs to the
    defocus, and is taken to be the same on all planes, which share the objective. Planes that focus on different slices
    distinguish the two, except for the even part.

    Parameters
    ----------
    position_nm : (series, slices, 2) of every bead on every camera, turned onto the reference.
    sd_nm, defocus, usable : (series, slices); defocus in depths of focus.

    Returns
    -------
    (slices, 2) nm; slices without beads take the displacement of their neighbours.
    """
    slices = usable.shape[1]
    displacement = np.zeros((slices, 2))
    usable = usable & (usable.sum(axis=1, keepdims=True) >= 3)
    if np.count_nonzero(usable.any(axis=1)) < _FEWEST_SERIES:
        return displacement
    row, place = np.nonzero(usable)
    design = np.zeros((len(row), slices + len(_WALK_POWERS)))
    design[np.arange(len(row)), place] = 1
    design[:, slices:] = np.stack([defocus[usable] ** power for power in _WALK_POWERS], axis=1)
    variance = sd_nm[usable] ** 2 + _LEAST_SD_NM**2
    typical = np.repeat((_TYPICAL_DISPLACEMENT_NM, _TYPICAL_WALK_NM), (slices, len(_WALK_POWERS)))

    def fit(weights: Array) -> tuple[Array, Array]:
        centred, target = (without_group_means(values, row, weights) for values in (design, position_nm[usable]))
        normal = centred.T @ (weights[:, None] * centred)
        solution = np.linalg.solve(normal + np.diag(typical**-2), centred.T @ (weights[:, None] * target))
        squared = np.sum((target - centred @ solution) ** 2, axis=1) / 2
        scale = max(1.0, float(np.median(squared / variance)))
        return solution, huber(squared / (variance * scale)) / variance

    solution, _ = irls(fit, 1 / variance, _WALK_REWEIGHTINGS)
    at = np.nonzero(usable.any(axis=0))[0]
    if len(at) >= 3:
        for axis, known in enumerate(solution[at].T):
            uneven = known - np.polyval(np.polyfit(at, known, 1), at)
            displacement[:, axis] = np.interp(np.arange(slices), at, uneven)
    return displacement


def bead_motion_px(fits: BeadFits) -> Array:
    """(beads,) rms motion of each bead of a camera beyond the noise, per axis, on slices where it is bright.

    What all beads do together is the stage's or the optics' and does not count.
    """
    bright = _bright(fits)
    squared = np.zeros(len(bright))
    for at, sd in ((fits.x_px, fits.x_sd_px), (fits.y_px, fits.y_sd_px)):
        weights = np.where(bright, 1 / (sd**2 + 1e-6), 0.0)
        total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        away = at - np.sum(weights * at, axis=1, keepdims=True) / total
        if len(away) >= _FEWEST_FOR_COMMON:
            away = away - np.nan_to_num(_median_where(away, bright))
        squared += np.sum(weights * (away**2 - sd**2), axis=1) / total[:, 0] / 2
    return np.sqrt(np.maximum(squared, 0.0))


def stage_drift_px(fits: BeadFits) -> float:
    """Rms motion of all beads of a camera together during the scan, per axis, less the noise."""
    bright = _bright(fits)
    squared, weight = 0.0, 1e-12
    for at, sd in ((fits.x_px, fits.x_sd_px), (fits.y_px, fits.y_sd_px)):
        weights = np.where(bright, 1 / (sd**2 + 1e-4), 0.0)
        total = weights.sum(axis=0)
        away = at - np.sum(weights * at, axis=1, keepdims=True) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        seen = bright.any(axis=0)
        displacement = _median_where(away, bright)[seen]
        # π/2: variance of a median over that of a mean.
        squared += float(np.sum(total[seen] * displacement**2 - np.pi / 2))
        weight += float(total.sum())
    return float(np.sqrt(max(squared, 0.0) / weight))


def _bright(fits: BeadFits) -> Mask:
    """(beads, slices) where a bead's position is worth comparing."""
    return fits.good & (fits.peak > _BRIGHT * fits.peak.max(axis=1, keepdims=True))


def _median_where(values: Array, usable: Mask) -> Array:
    """Median over the beads on every slice (slices,), nan where none is usable."""
    return np.array([np.median(v[u]) if u.any() else np.nan for v, u in zip(values.T, usable.T, strict=True)])
