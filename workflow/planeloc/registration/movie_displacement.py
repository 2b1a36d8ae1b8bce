"""Where the cameras look during the movie, compared with where their transforms say.

Molecules that turn on or off change all cameras at the same place of the sample. The changes of a camera's registered
images are correlated with those of all others, at every displacement up to some pixels: the peak is where the camera
looks. Defocus widens the peak and does not move it. Parts of the field give a rotation and a magnification as well, and
stretches of the movie give the uncertainty, inter-camera drift between them included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from planeloc.movie.store import Movie
from planeloc.transforms.camera_transform import Affine, CameraTransform, Quadratic, Registration, polynomial_terms
from planeloc.transforms.resampling import Resampler

Array = NDArray[np.float64]

LARGEST_PX = 20  # displacement that can be found
_STRETCHES = 10
_PIXELS = 4_000_000  # of all frames together that are looked at, of every camera
_FEWEST_FRAMES, _MOST_FRAMES = 8, 100  # of a stretch
_LARGEST_FIELD_PX = 512  # of larger fields, the middle is looked at
_MOST_SIGMAS = 15.0  # a change counts at most so many standard deviations of the noise: no single molecule decides
_PEAK_PX = 3  # about the highest value, from which the place of the peak is found
_BESIDE_PX = 6  # further away, correlation is chance
_LEAST_SIGNIFICANCE = 6.0  # of a peak that a camera is shifted by
_TILE_PX = 24  # parts of the field are at least so large
_MOST_TILES = 6  # along a side
_LOCAL_ROUNDS = 2
_LOCAL_PX = 5  # displacement of a part, beyond that of the whole
_SMALL_PX = 0.02  # displacements below are not worth another round
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
    correlation: NDArray[np.float32]  # (2·LARGEST_PX + 1, same): before the update, by displacement along y, x

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
    images = _Images(list(_stretches(movie)), registration, *_field(movie))
    before = [images.correlation(plane).sum(axis=0) for plane in range(movie.planes)]
    total, slope = _put_in_place(images), np.zeros((movie.planes, 2, 2))
    local = [_local(images, plane) for plane in range(movie.planes)]
    for _ in range(_LOCAL_ROUNDS):  # parts of the field blur each other where a slope is left
        turned = [plane for plane, part in enumerate(local) if part.slope.any()]
        if not turned:
            break
        for plane in turned:
            slope[plane] += local[plane].slope
            total[plane] += local[plane].shift
            images.move(plane, local[plane].shift, local[plane].slope)
        local = [_local(images, plane) for plane in range(movie.planes)]
    return [
        Displacement(
            total[plane] + local[plane].shift - total[0] - local[0].shift if plane else np.zeros(2),
            local[plane].sd,
            slope[plane] - slope[0],
            local[plane].slope_sd,
            images.centre,
            peak_of(before[plane])[1],
            before[plane].astype(np.float32),
        )
        for plane in range(movie.planes)
    ]


def _put_in_place(images: _Images) -> Array:
    """Shift every camera, the most displaced first, until none is displaced; returns the shifts (planes, 2)."""
    planes = len(images.transforms)
    total = np.zeros((planes, 2))
    for _ in range(3 * planes):
        found = [peak_of(images.correlation(plane).sum(axis=0)) for plane in range(planes)]
        known = [np.hypot(*shift) if significance > _LEAST_SIGNIFICANCE else 0.0 for shift, significance in found]
        plane = int(np.argmax(known))
        if known[plane] < _SMALL_PX:
            break
        total[plane] += found[plane][0]
        images.move(plane, found[plane][0], np.zeros((2, 2)))
    return total


def moved(transform: CameraTransform, shift: Array, slope: Array, centre: Array) -> CameraTransform:
    """The transform x → transform(x + shift + slope @ (x − centre))."""
    matrix, offset = np.eye(2) + slope, shift - slope @ centre
    if isinstance(transform, Affine):
        return Affine(transform.matrix @ matrix, transform.matrix @ offset + transform.shift_px)
    u = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), axis=-1).reshape(-1, 2)  # determine all six terms
    points = u * transform.scale_px + transform.centre_px
    seen = transform(points @ matrix.T + offset)
    coefficients = np.linalg.lstsq(polynomial_terms(u, 2), seen, rcond=None)[0].T
    return Quadratic(transform.centre_px, transform.scale_px, coefficients)


def _field(movie: Movie) -> tuple[tuple[int, int], tuple[int, int]]:
    """Corner (x, y) and size (rows, columns) of the part of the field that is looked at."""
    size = tuple(min(length, _LARGEST_FIELD_PX) for length in movie.shape[2:])
    y, x = ((length - own) // 2 for length, own in zip(movie.shape[2:], size, strict=True))
    return (x, y), size


def _stretches(movie: Movie) -> Iterator[NDArray[np.float32]]:
    """Changes (frames, planes, rows, columns) of the counts in some stretches, in standard deviations of the noise."""
    _, (rows, columns) = _field(movie)
    most = min(_PIXELS // (_STRETCHES * rows * columns), movie.frames // _STRETCHES)
    length = min(int(np.clip(most, _FEWEST_FRAMES, _MOST_FRAMES)) + 1, movie.frames)
    count = int(np.clip(movie.frames // length, 1, _STRETCHES))
    for start in np.linspace(0, movie.frames - length, count).astype(int).tolist():
        whole = movie.camera_frames.whole(np.arange(start, start + length))
        counts = movie.read(start, start + length).astype(np.float32)
        steps = np.diff(counts, axis=0)[whole[1:] & whole[:-1]]
        if not len(steps):
            continue
        steps -= np.median(steps, axis=(2, 3), keepdims=True)
        sd = 1.4826 * np.median(np.abs(steps), axis=(0, 2, 3), keepdims=True)
        steps /= np.where(sd > 0, sd, np.inf)
        yield steps.clip(-_MOST_SIGMAS, _MOST_SIGMAS)


class _Local(NamedTuple):
    """What is left of a displacement, from parts of the field."""

    shift: Array
    sd: Array
    slope: Array
    slope_sd: float


class _Images:
    """Registered changes of all stretches, and their Fourier transforms."""

    def __init__(
        self,
        stretches: Sequence[NDArray[np.float32]],
        registration: Registration,
        corner: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        self._stretches, self.corner, self.size = stretches, corner, size
        self.centre = np.array(corner, float) + np.array(size[::-1]) / 2
        self.transforms = list(registration.transforms)
        self._padded = [fft.next_fast_len(length + 2 * LARGEST_PX, real=True) for length in size]
        planes = registration.planes
        self.registered: list[list[NDArray[np.float32]]] = [[None] * planes for _ in stretches]
        self._spectra: list[list[NDArray[np.complex64]]] = [[None] * planes for _ in stretches]
        for plane in range(planes):
            self._register(plane)

    def move(self, plane: int, shift: Array, slope: Array) -> None:
        """Register a plane by its transform of points displaced by shift + slope @ (x − centre)."""
        self.transforms[plane] = moved(self.transforms[plane], shift, slope, self.centre)
        self._register(plane)

    def _register(self, plane: int) -> None:
        if not self._stretches:
            return
        rows, columns = self._stretches[0].shape[2:]
        (x, y), (height, width) = self.corner, self.size
        resampler = Resampler(Registration((self.transforms[plane],), (0.0,)), rows, columns, torch.device("cpu"))
        for number, changes in enumerate(self._stretches):
            image = resampler(torch.from_numpy(changes[:, plane : plane + 1])).numpy()[:, 0]
            image = np.ascontiguousarray(image[:, y : y + height, x : x + width])
            self.registered[number][plane] = image
            self._spectra[number][plane] = fft.rfft2(image, self._padded)

    def correlation(self, plane: int, weight: NDArray[np.float32] | None = None) -> Array:
        """(stretches, 2·LARGEST_PX + 1, same) of a plane with all others, by displacement along y and x.

        `weight` (rows, columns) selects a part of the field.
        """
        found = np.zeros((len(self._stretches), 2 * LARGEST_PX + 1, 2 * LARGEST_PX + 1))
        for number, spectra in enumerate(self._spectra):
            if weight is None:
                others = sum(spectrum for other, spectrum in enumerate(spectra) if other != plane)
            else:
                images = self.registered[number]
                others = fft.rfft2(sum(e for other, e in enumerate(images) if other != plane) * weight, self._padded)
            product = (np.conj(others) * spectra[plane]).sum(axis=0)
            whole = fft.irfft2(product, self._padded)
            shifts = np.arange(-LARGEST_PX, LARGEST_PX + 1)
            found[number] = whole[np.ix_(shifts % self._padded[0], shifts % self._padded[1])]
        return found


def peak_of(correlation: Array, largest_px: int = LARGEST_PX) -> tuple[Array, float]:
    """Place (x, y) of the highest peak within ± `largest_px`, and its height in standard deviations of chance.

    The place is that of a Gaussian through the values around the highest one, weighted by their heights.
    """
    middle = correlation.shape[0] // 2
    inner = correlation[middle - largest_px : middle + largest_px + 1, middle - largest_px : middle + largest_px + 1]
    y, x = np.unravel_index(inner.argmax(), inner.shape)
    row, column = y + middle - largest_px, x + middle - largest_px
    far = np.ones(correlation.shape, dtype=bool)
    far[max(row - _BESIDE_PX, 0) : row + _BESIDE_PX + 1, max(column - _BESIDE_PX, 0) : column + _BESIDE_PX + 1] = False
    chance = correlation[far]
    scatter = float(chance.std())
    if not scatter > 0:
        return np.zeros(2), 0.0
    significance = float((correlation[row, column] - chance.mean()) / scatter)
    row, column = (int(np.clip(at, _PEAK_PX, 2 * middle - _PEAK_PX)) for at in (row, column))
    around = correlation[row - _PEAK_PX : row + _PEAK_PX + 1, column - _PEAK_PX : column + _PEAK_PX + 1]
    height = np.maximum(around - np.median(chance), 0.05 * max(float(around.max() - np.median(chance)), 1e-30))
    v, u = np.mgrid[-_PEAK_PX : _PEAK_PX + 1, -_PEAK_PX : _PEAK_PX + 1].reshape(2, -1).astype(float)
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1) * height.reshape(-1, 1)
    k = np.linalg.lstsq(terms, np.log(height.ravel()) * height.ravel(), rcond=None)[0]
    curvature = np.array([[2 * k[3], k[4]], [k[4], 2 * k[5]]])
    place = np.zeros(2)
    if np.linalg.det(curvature) > 0 > curvature[0, 0]:
        place = np.clip(-np.linalg.solve(curvature, k[1:3]), -_PEAK_PX, _PEAK_PX)
    return np.array([column, row]) - middle + place, significance


def _local(images: _Images, plane: int) -> _Local:
    shift, sd = _over_stretches(images.correlation(plane), LARGEST_PX)
    none = np.zeros((2, 2))
    tiles = [int(np.clip(length // _TILE_PX, 1, _MOST_TILES)) for length in images.size]
    if min(tiles) < 2:
        return _Local(shift, sd, none, 0.0)
    places, shifts, sds = [], [], []
    for place, weight in _tiles(images.corner, images.size, tiles):
        own, own_sd = _over_stretches(images.correlation(plane, weight), _LOCAL_PX)
        if np.isfinite(own_sd).all():
            places.append(place), shifts.append(own), sds.append(own_sd)
    if len(places) < 4:
        return _Local(shift, sd, none, 0.0)
    terms = np.column_stack([np.ones(len(places)), np.array(places) - images.centre])
    weights = 1 / np.maximum(np.array(sds), _SMALL_PX) ** 2
    fits = [_weighted(terms, np.array(shifts)[:, axis], weights[:, axis]) for axis in (0, 1)]
    fitted, covariance, gain = zip(*fits, strict=True)
    if sum(gain) < _AFFINE_GAIN:
        return _Local(shift, sd, none, 0.0)
    slope = np.array([own[1:] for own in fitted])
    slope_sd = float(np.sqrt(np.mean([np.diag(own)[1:] for own in covariance])))
    sd = np.maximum(sd, [own[0, 0] ** 0.5 for own in covariance])
    return _Local(np.array([own[0] for own in fitted]), sd, slope, slope_sd)


def _over_stretches(correlation: Array, largest_px: int) -> tuple[Array, Array]:
    """Shift of the summed correlation, and its sd from the scatter over the stretches."""
    shift, _ = peak_of(correlation.sum(axis=0), largest_px)
    if len(correlation) < 3:
        return shift, np.full(2, np.nan)
    without = np.array([peak_of(correlation.sum(axis=0) - each, largest_px)[0] for each in correlation])  # jackknife
    count = len(correlation)
    return shift, np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))


def _tiles(
    corner: tuple[int, int], size: tuple[int, int], tiles: Sequence[int]
) -> Iterator[tuple[Array, NDArray[np.float32]]]:
    """Middle (x, y) of every part of the field, and its weight (rows, columns)."""
    edges = [np.linspace(0, length, count + 1).astype(int) for length, count in zip(size, tiles, strict=True)]
    for top, bottom in zip(edges[0][:-1], edges[0][1:], strict=True):
        for left, right in zip(edges[1][:-1], edges[1][1:], strict=True):
            weight = np.zeros(size, np.float32)
            weight[top:bottom, left:right] = 1
            yield np.array([corner[0] + (left + right) / 2, corner[1] + (top + bottom) / 2]), weight


def _weighted(terms: Array, values: Array, weights: Array) -> tuple[Array, Array, float]:
    """Weighted fit of a plane, covariance of its terms, and what it lowers the sum of squares by against a constant."""
    normal = terms.T @ (terms * weights[:, None])
    fitted = np.linalg.solve(normal, terms.T @ (weights * values))
    mean = np.average(values, weights=weights)
    gain = float((weights * (values - mean) ** 2).sum() - (weights * (values - terms @ fitted) ** 2).sum())
    return fitted, np.linalg.inv(normal), gain
