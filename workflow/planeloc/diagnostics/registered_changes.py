"""Changes of light from frame to frame in a movie, registered, and how those of a camera correlate with the others.

Molecules that turn on or off change all cameras at the same place of the sample. The correlation of a camera's
registered changes with those of all others peaks at the displacement by which its transform is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from planeloc.movie.store import Movie
from planeloc.transforms.camera_transform import Affine, CameraTransform, Quadratic, Registration, polynomial_terms
from planeloc.transforms.resampling import Resampler

Array = NDArray[np.float64]
Images = NDArray[np.float32]  # (frames, rows, columns)

LARGEST_PX = 20  # displacement that is looked for at once; `Changes.far` looks further
_LARGEST_FIELD_PX = 512  # of larger fields, windows that together are as large are looked at
_WINDOWS = 3  # along a side of a larger field, evenly from edge to edge
PIXELS = 4_000_000  # of all frames together that are looked at, of every camera
_READ_PIXELS = 40_000_000  # of every camera at once
_MOST_FRAMES = 100  # of a stretch
_MOST_SIGMAS = 15.0  # a change counts at most so many standard deviations of the noise: no single molecule decides
_EDGE_PX = 3  # around a window, for the interpolation
_PEAK_PX = 3  # about the highest value, from which the place of the peak is found
_BESIDE_PX = 6  # further away, correlation is chance


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


@dataclass(frozen=True)
class Windows:
    """Parts of the reference camera's field, all of one size."""

    corners: tuple[tuple[int, int], ...]  # (x, y)
    size: tuple[int, int]  # rows, columns

    @classmethod
    def of(cls, field: Sequence[int]) -> Windows:
        """The whole of a field (rows, columns), or windows over all of a large one."""
        counts = [1 if length <= _LARGEST_FIELD_PX else _WINDOWS for length in field]
        size = [min(length, _LARGEST_FIELD_PX) // count for length, count in zip(field, counts, strict=True)]
        ys, xs = (
            np.linspace(0, length - own, count).astype(int).tolist()
            for length, own, count in zip(field, size, counts, strict=True)
        )
        return cls(tuple((x, y) for y in ys for x in xs), (size[0], size[1]))

    @property
    def pixels(self) -> int:
        """Number of all together."""
        return len(self.corners) * self.size[0] * self.size[1]

    def within(self, pixels: int) -> Windows:
        """Some of the windows, or the middle of one, of at most so many pixels together."""
        each = self.size[0] * self.size[1]
        count, scale = int(np.clip(pixels // each, 1, len(self.corners))), min(1.0, (pixels / each) ** 0.5)
        chosen = (2 * np.arange(count) + 1) * len(self.corners) // (2 * count)
        rows, columns = (max(int(length * scale), 1) for length in self.size)
        down, along = (self.size[0] - rows) // 2, (self.size[1] - columns) // 2
        corners = [self.corners[number] for number in chosen.tolist()]
        return Windows(tuple((x + along, y + down) for x, y in corners), (rows, columns))


@dataclass
class _Stretch:
    """Successive frames of a movie."""

    movie: Movie
    start: int
    stop: int

    @cached_property
    def kept(self) -> list[Images]:
        """The changes of every plane, for a field that memory holds."""
        return list(self._changes(range(self.movie.planes)))

    @cached_property
    def pieces(self) -> list[_Stretch]:
        """What is read at once: all of it, if memory holds that."""
        steps = max(_READ_PIXELS // math.prod(self.movie.shape[2:]) - 1, 1)
        starts = range(self.start, self.stop - 1, steps)
        return [_Stretch(self.movie, first, min(first + steps + 1, self.stop)) for first in starts]

    def changes(self, planes: Sequence[int], keep: bool) -> Iterable[Images]:
        """Changes of some planes from frame to frame, in standard deviations of the noise."""
        return [self.kept[plane] for plane in planes] if keep else self._changes(planes)

    def _changes(self, planes: Sequence[int]) -> Iterator[Images]:
        whole = self.movie.camera_frames.whole(np.arange(self.start, self.stop))
        counts = self.movie.read(self.start, self.stop)
        for plane in planes:
            steps = np.diff(counts[:, plane].astype(np.float32), axis=0)[whole[1:] & whole[:-1]]
            if len(steps):
                steps -= np.median(steps, axis=(1, 2), keepdims=True)
                sd = 1.4826 * float(np.median(np.abs(steps)))
                steps /= sd if sd > 0 else np.inf
            yield steps.clip(-_MOST_SIGMAS, _MOST_SIGMAS)


def _stretches(movie: Movie, windows: Windows, most: int, fewest_frames: int, most_pixels: int) -> list[_Stretch]:
    """Some stretches, at most `most`, evenly over a movie, of at least so many changes from frame to frame."""
    frames = min(most_pixels // (most * windows.pixels), movie.frames // most)
    length = min(int(np.clip(frames, fewest_frames, max(_MOST_FRAMES, fewest_frames))) + 1, movie.frames)
    count = int(np.clip(movie.frames // length, 1, most))
    starts = np.linspace(0, movie.frames - length, count).astype(int).tolist()
    whole = [movie.camera_frames.whole(np.arange(start, start + length)) for start in starts]
    return [
        _Stretch(movie, start, start + length)
        for start, known in zip(starts, whole, strict=True)
        if (known[1:] & known[:-1]).any()
    ]


def frames_looked_at(movie: Movie, most_pixels: int, most_stretches: int = 10, fewest_frames: int = 8) -> int:
    """Number of frames that `RegisteredChanges` looks at."""
    parts = _stretches(movie, Windows.of(movie.shape[2:]), most_stretches, fewest_frames, most_pixels)
    return sum(part.stop - part.start for part in parts)


class Tile(NamedTuple):
    """A part of a window."""

    window: int
    top: int
    bottom: int
    left: int
    right: int


class RegisteredChanges:
    """Registered changes of some stretches of a movie, by window, and their correlations.

    Attributes
    ----------
    transforms : of every plane, as moved so far.
    windows : where in the field.
    centre : (x, y) of the field, about which planes are turned.
    """

    def __init__(
        self,
        movie: Movie,
        registration: Registration,
        most_stretches: int = 10,
        fewest_frames: int = 8,
        most_pixels: int = PIXELS,
        windows: Windows | None = None,
    ) -> None:
        rows, columns = movie.shape[2:]
        self.windows, self.centre = windows or Windows.of((rows, columns)), np.array([columns, rows]) / 2
        self.transforms = list(registration.transforms)
        self._stretches = _stretches(movie, self.windows, most_stretches, fewest_frames, most_pixels)
        self._padded = [fft.next_fast_len(length + 2 * LARGEST_PX, real=True) for length in self.windows.size]
        parts = [[None] * movie.planes for _ in self.windows.corners]
        self._images: list[list[list[Images]]] = [[list(each) for each in parts] for _ in self._stretches]
        self._spectra: list[list[list[NDArray[np.complex64] | None]]] = [
            [list(each) for each in parts] for _ in self._stretches
        ]
        self._keep = self.windows.size == (rows, columns)
        self._register(range(movie.planes))

    @property
    def planes(self) -> int:
        """Number of planes."""
        return len(self.transforms)

    def move(self, plane: int, shift: Array, slope: Array) -> None:
        """Register a plane by its transform of points displaced by shift + slope @ (x − centre)."""
        self.transforms[plane] = moved(self.transforms[plane], shift, slope, self.centre)
        self._register([plane])

    def _register(self, planes: Sequence[int]) -> None:
        corners, size = self.windows.corners, self.windows.size
        parts = [[_Part.of(self.transforms[plane], corner, size) for corner in corners] for plane in planes]
        for number, stretch in enumerate(self._stretches):
            images = [[[] for _ in corners] for _ in planes]
            for piece in stretch.pieces:
                for place, changes in enumerate(piece.changes(planes, self._keep)):
                    for part, found in zip(parts[place], images[place], strict=True):
                        found += [part.registered(changes)] if len(changes) else []
            for plane, of_plane in zip(planes, images, strict=True):
                for window, found in enumerate(of_plane):
                    self._images[number][window][plane] = found[0] if len(found) == 1 else np.concatenate(found)
                    self._spectra[number][window][plane] = None

    def _spectra_of(self, number: int, window: int) -> list[NDArray[np.complex64]]:
        """Spectra of all planes of a stretch; those that were not asked for yet are computed."""
        spectra = self._spectra[number][window]
        for plane, image in enumerate(self._images[number][window]):
            if spectra[plane] is None:
                spectra[plane] = fft.rfft2(image, self._padded)
        return spectra

    def correlation(self, plane: int) -> Array:
        """(stretches, 2·LARGEST_PX + 1, same) of a plane with all others, by displacement along y and x."""
        place = np.ix_(*(np.arange(-LARGEST_PX, LARGEST_PX + 1) % length for length in self._padded))
        found = np.zeros((len(self._stretches), 2 * LARGEST_PX + 1, 2 * LARGEST_PX + 1))
        for number, windows in enumerate(self._spectra):
            known = (self._spectra_of(number, window) for window in range(len(windows)))
            product = sum(_product(_others(spectra, plane), spectra[plane]) for spectra in known)
            found[number] = fft.irfft2(product, self._padded)[place]
        return found

    def far(self, plane: int, lags: Sequence[int] = (0,)) -> tuple[Array, int, float, Array]:
        """The most significant displacement up to half a window, of a plane that may lag behind the others.

        Returns
        -------
        Displacement along x and y (whole pixels), lag (frames), significance in standard deviations of chance, and
        the correlation (2·reach + 1, same) at that lag, by displacement along y and x.
        """
        reach = min(self.windows.size) // 2
        padded = [fft.next_fast_len(length + reach, real=True) for length in self.windows.size]
        shifts = np.arange(-reach, reach + 1)
        place = np.ix_(*(shifts % length for length in padded))
        maps = np.zeros((len(lags), 2 * reach + 1, 2 * reach + 1))
        for windows in self._images:
            for images in windows:
                others, own = (fft.rfft2(each, padded) for each in (_others(images, plane), images[plane]))
                for number, lag in enumerate(lags):
                    late, there = own[max(lag, 0) : len(own) + min(lag, 0)], slice(max(-lag, 0), len(own) - max(lag, 0))
                    maps[number] += fft.irfft2(_product(others[there], late), padded)[place]
        down, along = (1 - np.abs(shifts) / length for length in self.windows.size)  # overlap of displaced windows
        maps /= np.sqrt(np.outer(down, along))
        found = [_highest(each) for each in maps]
        best = int(np.argmax([significance for _, significance in found]))
        return found[best][0], lags[best], found[best][1], maps[best]

    def tile_correlations(self, tile: Tile, reach_px: int) -> Array:
        """(planes, stretches, 2·reach_px + 1, same): of every plane with all others in a part of the field."""
        rows, columns = tile.bottom - tile.top, tile.right - tile.left
        padded = [fft.next_fast_len(length + 2 * reach_px, real=True) for length in (rows, columns)]
        found = np.zeros((self.planes, len(self._stretches), 2 * reach_px + 1, 2 * reach_px + 1))
        for number, windows in enumerate(self._images):
            images = windows[tile.window]
            inner = [fft.rfft2(each[:, tile.top : tile.bottom, tile.left : tile.right], padded) for each in images]
            for plane, each in enumerate(images):
                wide = fft.rfft2(_around(each, tile, reach_px), padded)
                whole = fft.irfft2(_product(_others(inner, plane), wide), padded)
                found[plane, number] = whole[: 2 * reach_px + 1, : 2 * reach_px + 1]
        return found

    def tiles(self, side_px: int, most: int) -> Iterator[tuple[Array, Tile]]:
        """Parts of the field and their middles (x, y): of about `side_px` or more, at most so many along a side."""
        alone = len(self.windows.corners) == 1
        for window, corner in enumerate(self.windows.corners):
            counts = [int(np.clip(length // side_px, 1, most if alone else 1)) for length in self.windows.size]
            down, along = (
                np.linspace(0, length, count + 1).astype(int).tolist()
                for length, count in zip(self.windows.size, counts, strict=True)
            )
            for top, bottom in pairwise(down):
                for left, right in pairwise(along):
                    middle = np.array([corner[0] + (left + right) / 2, corner[1] + (top + bottom) / 2])
                    yield middle, Tile(window, top, bottom, left, right)


def _others(parts: Sequence[NDArray], plane: int) -> NDArray:
    return sum(part for other, part in enumerate(parts) if other != plane)


def _product(others: NDArray[np.complex64], own: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Spectrum of the correlation, summed over frames."""
    return np.einsum("nyx,nyx->yx", others.conj(), own)


def _around(images: Images, tile: Tile, reach_px: int) -> Images:
    """A tile with what is up to `reach_px` around it; 0 outside the window."""
    rows, columns = images.shape[1:]
    wide = np.zeros(
        (len(images), tile.bottom - tile.top + 2 * reach_px, tile.right - tile.left + 2 * reach_px), np.float32
    )
    top, left = tile.top - reach_px, tile.left - reach_px
    y, x = (
        slice(max(top, 0), min(tile.bottom + reach_px, rows)),
        slice(max(left, 0), min(tile.right + reach_px, columns)),
    )
    wide[:, y.start - top : y.stop - top, x.start - left : x.stop - left] = images[:, y, x]
    return wide


@dataclass(frozen=True)
class _Part:
    """How a window of the reference camera's field is cut out of a camera's images."""

    resampler: Resampler
    low: tuple[int, int]  # row and column of what is cut out
    high: tuple[int, int]
    cut: tuple[int, int]  # its size with zeros beyond the sensor, at least that of the window
    size: tuple[int, int]

    @classmethod
    def of(cls, transform: CameraTransform, corner: tuple[int, int], size: tuple[int, int]) -> _Part:
        """For a window with its corner at (x, y) and a size (rows, columns)."""
        x, y = corner
        grid = np.meshgrid(np.linspace(x, x + size[1], 9), np.linspace(y, y + size[0], 9))
        seen = transform(np.stack(grid, axis=-1)).reshape(-1, 2)[:, ::-1]  # rows, columns
        low = np.maximum(np.floor(seen.min(axis=0)).astype(int) - _EDGE_PX, 0)
        high = np.maximum(np.ceil(seen.max(axis=0)).astype(int) + _EDGE_PX, low)
        cut = np.maximum(high - low, size)
        local = moved(transform, np.array(corner, float), np.zeros((2, 2)), np.zeros(2))
        local = _seen_from(local, low[::-1].astype(float))
        resampler = Resampler(Registration((local,), (0.0,)), int(cut[0]), int(cut[1]), torch.device("cpu"))
        return cls(resampler, *(tuple(each.tolist()) for each in (low, high, cut)), size)

    def registered(self, changes: Images) -> Images:
        """(frames, rows, columns) of the window, from the changes of the whole camera."""
        part = changes[:, self.low[0] : self.high[0], self.low[1] : self.high[1]]
        images = np.zeros((len(changes), 1, *self.cut), np.float32)
        images[:, 0, : part.shape[1], : part.shape[2]] = part
        registered = self.resampler(torch.from_numpy(images)).numpy()[:, 0]
        return np.ascontiguousarray(registered[:, : self.size[0], : self.size[1]])


def _seen_from(transform: CameraTransform, origin: Array) -> CameraTransform:
    """The transform to places counted from another origin (x, y) of the camera."""
    if isinstance(transform, Affine):
        return Affine(transform.matrix, transform.shift_px - origin)
    coefficients = transform.coefficients_px.copy()
    coefficients[:, 0] -= origin
    return replace(transform, coefficients_px=coefficients)


def peak_of(correlation: Array, largest_px: int = LARGEST_PX) -> tuple[Array, float]:
    """Place (x, y) of the highest peak within ± `largest_px`, and its height in standard deviations of chance.

    The place is that of a Gaussian through the values around the highest one, weighted by their heights.
    """
    middle = correlation.shape[0] // 2
    inner = slice(middle - largest_px, middle + largest_px + 1)
    place, significance = _highest(correlation, inner)
    if not significance:
        return place, 0.0
    chance = correlation[_far_from(correlation, place)]
    column, row = (int(np.clip(at + middle, _PEAK_PX, 2 * middle - _PEAK_PX)) for at in place)
    around = correlation[row - _PEAK_PX : row + _PEAK_PX + 1, column - _PEAK_PX : column + _PEAK_PX + 1]
    height = np.maximum(around - np.median(chance), 0.05 * max(float(around.max() - np.median(chance)), 1e-30))
    v, u = np.mgrid[-_PEAK_PX : _PEAK_PX + 1, -_PEAK_PX : _PEAK_PX + 1].reshape(2, -1).astype(float)
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1) * height.reshape(-1, 1)
    k = np.linalg.lstsq(terms, np.log(height.ravel()) * height.ravel(), rcond=None)[0]
    curvature = np.array([[2 * k[3], k[4]], [k[4], 2 * k[5]]])
    nearby = np.zeros(2)
    if np.linalg.det(curvature) > 0 > curvature[0, 0]:
        nearby = np.clip(-np.linalg.solve(curvature, k[1:3]), -_PEAK_PX, _PEAK_PX)
    return np.array([column, row]) - middle + nearby, significance


def _highest(correlation: Array, inner: slice = slice(None)) -> tuple[Array, float]:
    """Displacement (x, y) of the highest value within a square, and its height in standard deviations of chance."""
    middle, first = correlation.shape[0] // 2, inner.start or 0
    part = correlation[inner, inner]
    y, x = np.unravel_index(part.argmax(), part.shape)
    place = np.array([x, y], dtype=float) + first - middle
    chance = correlation[_far_from(correlation, place)]
    scatter = float(chance.std())
    if not scatter > 0:
        return np.zeros(2), 0.0
    return place, float((part[y, x] - chance.mean()) / scatter)


def _far_from(correlation: Array, place: Array) -> NDArray[np.bool_]:
    """Where correlation is chance: not near a displacement (x, y)."""
    column, row = (int(at) + correlation.shape[0] // 2 for at in place)
    far = np.ones(correlation.shape, dtype=bool)
    far[max(row - _BESIDE_PX, 0) : row + _BESIDE_PX + 1, max(column - _BESIDE_PX, 0) : column + _BESIDE_PX + 1] = False
    return far
