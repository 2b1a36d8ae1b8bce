"""The sideways path of a scan, common to all beads and cameras, and the beads' places without it.

Cameras see a bead best on different slices of a scan, between which the stage or the objective wander. What bead b is
seen at on slice s is its place plus the path: P_b + path_s. Both are found by weighted least squares from all beads of
all cameras at once (the images of a camera are turned onto the reference first); the path only up to a constant, which
is the same for all and drops out of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.core.robust import common_scatter, huber

Array = NDArray[np.float64]

_REWEIGHTINGS = 8
_OWN_FACTOR = 4.0  # a bead that moves by this much more than most is not one of them
_OWN_LEAST_PX = 0.02
_OWN_SIGNIFICANT = 5.0  # deviations


@dataclass(frozen=True)
class Still:
    """Places of beads without the path. Variances are per axis; a series is one bead on one camera."""

    place_px: Array  # (series, 2)
    variance_px2: Array  # (series,) of each by itself
    lean: Array  # (series, slices) by how much a place changes with the path on a slice
    path_covariance_px2: Array  # (slices, slices)
    own_motion_px: Array  # (series,) rms motion, both axes together, beyond path and noise
    moves: NDArray[np.bool_]  # (series,) whether that is far more than most beads have

    def shared_px2(self, source: NDArray[np.int64], target: NDArray[np.int64]) -> Array:
        """(n, n) covariance, by the path's uncertainty, of the differences of places target − source."""
        lean = self.lean[target] - self.lean[source]
        return lean @ self.path_covariance_px2 @ lean.T


def hold_still(position_px: Array, variance_px2: Array, camera: NDArray[np.int64], follows: NDArray[np.bool_]) -> Still:
    """Take out the path of series of positions (series, slices, 2) with variances (series, slices), infinite where
    the position is unknown. `camera` (series,) says which camera sees each, `follows` (series,) whether the path is to
    be found from it and taken out of it.

    A scatter of single positions beyond their variance (aberrations) is estimated and added; single bad positions get
    Huber weights.
    """
    known = np.isfinite(variance_px2)
    noise = np.where(known, variance_px2, 1.0)
    slices = position_px.shape[1]
    freedom = 1 - (len(known) + (slices if follows.any() else 0)) / max(known.sum(), 1)
    follows = follows[:, None]
    factor, scatter = known.astype(float), 0.0
    for _ in range(_REWEIGHTINGS):
        weights = factor / (noise + scatter)
        total = weights.sum(axis=1, keepdims=True)
        lean = weights / total
        away = position_px - np.sum(lean[..., None] * position_px, axis=1, keepdims=True)
        said = follows * weights
        normal = np.diag(said.sum(axis=0)) - lean.T @ said  # the beads' places are eliminated
        # What the beads do not say (the constant, slices without beads) becomes zero.
        covariance = np.linalg.pinv(normal, rcond=1e-9, hermitian=True)
        path = covariance @ np.sum(said[..., None] * away, axis=0)
        stilled = position_px - follows[..., None] * path
        place = np.sum(lean[..., None] * stilled, axis=1)
        rest = stilled - place[:, None]
        squared = np.sum(rest**2, axis=-1) / 2
        if freedom <= 0.05:
            break
        scatter = common_scatter(squared[known], noise[known], freedom)
        factor = np.where(known, huber(squared / (noise + scatter)), 0.0)
    own, moves = _own_motion(rest, np.where(known, 1 / noise, 0.0), camera)
    return Still(place, 1 / total[:, 0], follows * lean, covariance, own, moves)


def _own_motion(rest: Array, weights: Array, camera: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
    """Rms motion (series,) of every bead beyond its camera's mean motion and the noise, and which beads stand out."""
    for c in np.unique(camera):
        here = camera == c
        if here.sum() >= 4:  # an aberrated spot walks with its defocus, the same way for all beads of a camera
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
    far = own > np.maximum(_OWN_FACTOR * usual, _OWN_LEAST_PX)
    return own, far & (excess > _OWN_SIGNIFICANT * np.sqrt(2 * np.maximum(freedom, 1.0)))
