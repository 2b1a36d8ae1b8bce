"""Where the cameras look during the movie, compared with where their transforms say.

Molecules that turn on or off change all cameras at the same place of the sample. The changes of a camera's registered
images are correlated with those of all others, at every displacement up to some pixels: the peak is where the camera
looks. Defocus widens the peak and does not move it. Parts of the field give a rotation and a magnification as well, and
stretches of the movie give the uncertainty, inter-camera drift between them included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from planeloc.diagnostics.registered_changes import (
    LARGEST_PX,
    PIXELS,
    RegisteredChanges,
    Tile,
    frames_looked_at,
    peak_of,
)
from planeloc.movie.store import Movie
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

_LEAST_SIGNIFICANCE = 6.0  # of a peak that a camera is shifted by
_FEW_PIXELS = 600_000  # that are looked at first
_CLEAR = 100.0  # significance of every camera's peak from which more frames need not be looked at
_LOST = 10.0  # a camera without a peak of this significance nearby is looked for further away
_TILE_PX = 24  # parts of the field are at least so large
_MOST_TILES = 6  # along a side
_LOCAL_ROUNDS = 2
_LOCAL_PX = 5  # displacement of a part, beyond that of the whole
_AROUND_PX = 14  # of a part: displacements at which its correlation is known
_SMALL_PX = 0.02  # displacements below are not worth another round
_FOUR_SIGMAS = 0.99997  # share of a normal distribution below four standard deviations
_AFFINE_GAIN = 25.0  # by which four more parameters must lower the weighted sum of squares: chance gives 4 ± 3


@dataclass(frozen=True)
class Displacement:
    """How a camera is displaced: it sees the point x of the reference camera where its transform puts x + d(x).

    d(x) = shift_px + slope @ (x − centre_px), along the axes of the reference camera.
    """

    shift_px: Array  # (2,)
    sd_px: Array  # (2,), nan if only one stretch could be measured
    slope: Array  # (2, 2); 0 where a shift explains all
    slope_sd: float  # of every element of it
    centre_px: Array  # (2,)
    significance: float  # height of the peak, in standard deviations of chance
    correlation: NDArray[np.float32]  # (2·reach + 1, same): before the update, by displacement along y, x

    def at(self, points: Array) -> Array:
        """Displacement (..., 2) at points (..., 2) of the reference camera."""
        return self.shift_px + (np.asarray(points) - self.centre_px) @ self.slope.T

    def farthest_px(self, field: Sequence[int]) -> float:
        """Largest displacement at the middle and the corners of a field of so many rows and columns."""
        rows, columns = field
        points = np.array([self.centre_px, (0, 0), (columns, 0), (0, rows), (columns, rows)], float)
        return float(np.hypot(*self.at(points).T).max())


def measure_displacements(movie: Movie, registration: Registration) -> list[Displacement]:
    """The displacement of every camera against its transform; that of the reference camera is zero.

    Cameras are corrected one after the other, the most displaced first: a displaced camera blurs what the others are
    compared with.
    """
    images, before, significance = _looked_at(movie, registration)
    total, slope = _bring_near(images, before, significance), np.zeros((movie.planes, 2, 2))
    total += _put_in_place(images)
    local = _local(images)
    for _ in range(_LOCAL_ROUNDS):  # parts of the field blur each other where a slope is left
        turned = [plane for plane, part in enumerate(local) if part.slope.any()]
        if not turned:
            break
        for plane in turned:
            slope[plane] += local[plane].slope
            total[plane] += local[plane].shift
            images.move(plane, local[plane].shift, local[plane].slope)
        local = _local(images)
    return [
        Displacement(
            total[plane] + local[plane].shift - total[0] - local[0].shift if plane else np.zeros(2),
            local[plane].sd,
            slope[plane] + local[plane].slope - slope[0] - local[0].slope,
            local[plane].slope_sd,
            images.centre,
            float(significance[plane]),
            before[plane].astype(np.float32),
        )
        for plane in range(movie.planes)
    ]


def _looked_at(movie: Movie, registration: Registration) -> tuple[RegisteredChanges, list[Array], Array]:
    """Registered changes of enough frames, every camera's correlation with the others, and its significance."""
    few = frames_looked_at(movie, _FEW_PIXELS) < frames_looked_at(movie, PIXELS)
    for most_pixels in (_FEW_PIXELS, PIXELS) if few else (PIXELS,):
        images = RegisteredChanges(movie, registration, most_pixels=most_pixels)
        before = [images.correlation(plane).sum(axis=0) for plane in range(movie.planes)]
        significance = np.array([peak_of(each)[1] for each in before])
        if (significance >= _CLEAR).all():
            break
    return images, before, significance


def _bring_near(images: RegisteredChanges, before: list[Array], significance: Array) -> Array:
    """Shift cameras that are displaced by more than `LARGEST_PX`, the clearest first; returns shifts (planes, 2).

    `before` and `significance` become those of the search that found them.
    """
    total = np.zeros((images.planes, 2))
    for _ in range(images.planes):
        lost = np.flatnonzero(significance < _LOST).tolist()
        found = {plane: images.far(plane) for plane in lost} if min(images.windows.size) > 2 * LARGEST_PX else {}
        clearest = max(found, key=lambda plane: found[plane][2], default=None)
        if clearest is None or found[clearest][2] < _LOST:
            break
        shift, _, significance[clearest], before[clearest] = found[clearest]
        total[clearest] = shift
        images.move(clearest, shift, np.zeros((2, 2)))
        for plane in lost:  # a displaced camera hides the others, most of all where there are two
            own = images.correlation(plane).sum(axis=0)
            near = peak_of(own)[1]
            if plane != clearest and near >= _LOST:
                significance[plane], before[plane] = near, own
    return total


def _put_in_place(images: RegisteredChanges) -> Array:
    """Shift every camera, the most displaced first, until none is displaced; returns the shifts (planes, 2)."""
    total = np.zeros((images.planes, 2))
    for _ in range(3 * images.planes):
        found = [peak_of(images.correlation(plane).sum(axis=0)) for plane in range(images.planes)]
        known = [np.hypot(*shift) if significance > _LEAST_SIGNIFICANCE else 0.0 for shift, significance in found]
        plane = int(np.argmax(known))
        if known[plane] < _SMALL_PX:
            break
        total[plane] += found[plane][0]
        images.move(plane, found[plane][0], np.zeros((2, 2)))
    return total


class _Local(NamedTuple):
    """What is left of a displacement, from parts of the field."""

    shift: Array
    sd: Array
    slope: Array
    slope_sd: float


def _local(images: RegisteredChanges) -> list[_Local]:
    """What is left of every camera's displacement."""
    tiles = list(images.tiles(_TILE_PX, _MOST_TILES))
    corners = np.array([place for place, _ in tiles])
    enough = all(len(np.unique(corners[:, axis])) > 1 for axis in (0, 1))
    parts = _of_tiles(images, [tile for _, tile in tiles]) if enough else []
    against_others = [
        _fitted(images, plane, corners, [part[plane] for part in parts]) for plane in range(images.planes)
    ]
    # A plane displaced by d is seen by the others displaced by d / (planes − 1) the other way: together, planes of
    # which each moves by this part of what it sees are in place.
    part = (images.planes - 1) / images.planes
    return [own._replace(shift=part * own.shift, slope=part * own.slope) for own in against_others]


def _of_tiles(images: RegisteredChanges, tiles: Sequence[Tile]) -> list[list[tuple[Array, Array]]]:
    """Shift and sd of every plane in every tile."""
    found = []
    for tile in tiles:
        correlations = images.tile_correlations(tile, _AROUND_PX)
        found.append([_over_stretches(own, _LOCAL_PX) for own in correlations])
    return found


def _fitted(images: RegisteredChanges, plane: int, middles: Array, parts: Sequence[tuple[Array, Array]]) -> _Local:
    correlation = images.correlation(plane)
    shift, sd = _over_stretches(correlation, LARGEST_PX)
    none = np.zeros((2, 2))
    known = [number for number, (_, own_sd) in enumerate(parts) if np.isfinite(own_sd).all()]
    if len(known) < 4:
        return _Local(shift, sd, none, 0.0)
    shifts, sds = (np.array([parts[number][each] for number in known]) for each in (0, 1))
    terms = np.column_stack([np.ones(len(known)), middles[known] - images.centre])
    weights = 1 / np.maximum(sds, _SMALL_PX) ** 2
    fits = [_weighted(terms, shifts[:, axis], weights[:, axis]) for axis in (0, 1)]
    fitted, covariance, gain = zip(*fits, strict=True)
    if sum(gain) < _AFFINE_GAIN:
        return _Local(shift, sd, none, 0.0)
    slope = np.array([own[1:] for own in fitted])
    slope_sd = float(np.sqrt(np.mean([np.diag(own)[1:] for own in covariance]))) * _of_few(len(correlation))
    sd = np.maximum(sd, [own[0, 0] ** 0.5 for own in covariance])
    return _Local(np.array([own[0] for own in fitted]), sd, slope, slope_sd)


def _of_few(stretches: int) -> float:
    """By how much four standard deviations grow if they come from the scatter of so few (Student's distribution)."""
    return float(stdtrit(max(stretches - 1, 1), _FOUR_SIGMAS) / ndtri(_FOUR_SIGMAS))


def _over_stretches(correlation: Array, largest_px: int) -> tuple[Array, Array]:
    """Shift of the summed correlation, and its sd from the scatter over the stretches."""
    shift, _ = peak_of(correlation.sum(axis=0), largest_px)
    if len(correlation) < 3:
        return shift, np.full(2, np.nan)
    without = np.array([peak_of(correlation.sum(axis=0) - each, largest_px)[0] for each in correlation])  # jackknife
    count = len(correlation)
    return shift, np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))


def _weighted(terms: Array, values: Array, weights: Array) -> tuple[Array, Array, float]:
    """Weighted fit of a plane, covariance of its terms, and what it lowers the sum of squares by against a constant."""
    normal = terms.T @ (terms * weights[:, None])
    fitted = np.linalg.solve(normal, terms.T @ (weights * values))
    mean = np.average(values, weights=weights)
    gain = float((weights * (values - mean) ** 2).sum() - (weights * (values - terms @ fitted) ** 2).sum())
    return fitted, np.linalg.inv(normal), gain
