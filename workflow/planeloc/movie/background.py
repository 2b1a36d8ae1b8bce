"""Background of a movie, and stretches of it to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.camera import Camera
from planeloc.core.image_filters import median_over_first, smoothed, smoothing_matrix
from planeloc.movie.store import Movie

BACKGROUND_FRAMES = 100
_SAMPLED_FRAMES = 25
_SMOOTHING_PX = 2.0
_FEWEST_FRAMES = 16  # with fewer, a molecule that stays on looks like background
_STRETCHES = 8
_FRAMES_PER_STRETCH = 50
_LARGEST_PX = 512  # of larger fields, the middle is read, so that memory does not grow with them

Region = tuple[slice, slice]  # rows and columns
_WHOLE: Region = (slice(None), slice(None))


def background_photons(movie: Movie, frame: int, region: Region = _WHOLE) -> NDArray[np.float32]:
    """Background (planes, y, x), in photons, of the stretch of `BACKGROUND_FRAMES` frames that `frame` belongs to.

    The median over some frames of the stretch, smoothed: blinking molecules are dark most of the time, and background
    varies slowly in time and in the field. A movie of very few frames has each plane's median. Stretches begin at
    multiples of their length, whatever the chunks on disk; a short last one reaches back.
    """
    counts = _read(movie, sampled_frames(movie.frames, frame), region)
    return _background(counts, movie.microscope.cameras)


def _background(counts: NDArray[np.uint16], cameras: tuple[Camera, ...]) -> NDArray[np.float32]:
    """Background (planes, y, x) of counts (frames, planes, y, x)."""
    planes = []
    for plane, camera in enumerate(cameras):
        if len(counts) < _FEWEST_FRAMES:
            level = np.full(counts.shape[2:], np.median(counts[:, plane]))
        else:
            level = smoothed(median_over_first(counts[:, plane]), _SMOOTHING_PX, "nearest")
        planes.append(camera.photons(level))
    return np.stack(planes)


def sampled_frames(frames: int, frame: int) -> NDArray[np.int64]:
    """Frames of a movie of so many that the background of one of them is taken from."""
    start = frame - frame % BACKGROUND_FRAMES
    stop = min(start + BACKGROUND_FRAMES, frames)
    return np.unique(np.linspace(max(0, stop - BACKGROUND_FRAMES), stop - 1, _SAMPLED_FRAMES).astype(int))


def background_of_photons(sampled: Tensor) -> Tensor:
    """As `background_photons`, on a device and for several stretches at once; rounded differently.

    Parameters
    ----------
    sampled : (stretches, samples, planes, y, x) photons of the sampled frames of every stretch.

    Returns
    -------
    (stretches, planes, y, x)
    """
    stretches, samples, planes, rows, columns = sampled.shape
    if samples < _FEWEST_FRAMES:
        every = sampled.transpose(1, 2).flatten(2).sort(dim=2).values
        return _middle_of(every, 2)[..., None, None].expand(stretches, planes, rows, columns)
    median = _middle_of(sampled.sort(dim=1).values, 1).double()
    along = [torch.from_numpy(_smoothing(size)).to(median) for size in (rows, columns)]
    return (along[0] @ median @ along[1].T).to(sampled)


def _middle_of(ordered: Tensor, dim: int) -> Tensor:
    """The median along an axis, along which values ascend."""
    last = ordered.shape[dim] - 1
    return (ordered.select(dim, last // 2) + ordered.select(dim, (last + 1) // 2)) / 2


@lru_cache(maxsize=8)
def _smoothing(size: int) -> NDArray[np.float64]:
    """(size, size) what the smoothing multiplies a line of pixels with."""
    return smoothing_matrix(size, _SMOOTHING_PX, "nearest")


@dataclass(frozen=True)
class Stretch:
    """Successive frames of a movie, or of the middle of its field."""

    images: NDArray  # (frames, planes, y, x): counts of `cameras`, or photons where there are none
    background: NDArray[np.float32]  # (planes, y, x), photons, as localization subtracts it
    corner_px: tuple[int, int]  # (x, y) of the first pixel
    cameras: tuple[Camera, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.images)

    @property
    def field_px(self) -> int:
        """Number of pixels of a frame."""
        return math.prod(self.images.shape[2:])

    def photons(self, frames: slice | NDArray[np.int64] = slice(None), every_px: int = 1) -> NDArray[np.float32]:
        """Photons (frames, planes, y, x) of some frames, on every so many rows and columns."""
        images = self.images[frames, :, ::every_px, ::every_px]
        if not self.cameras:
            return images
        photons = np.empty(images.shape, np.float32)
        for plane, camera in enumerate(self.cameras):
            photons[:, plane] = camera.photons(images[:, plane])
        return photons


def stretch_starts(movie: Movie) -> list[int]:
    """First frames of the stretches that are looked at, evenly spaced over the movie."""
    starts = range(0, movie.frames, BACKGROUND_FRAMES)
    return [starts[i] for i in np.unique(np.linspace(0, len(starts) - 1, _STRETCHES).astype(int))]


def stretches(movie: Movie) -> Iterator[Stretch]:
    """A few stretches of a movie, one at a time in memory."""
    rows, columns = (_middle(size) for size in movie.shape[2:])
    for start in stretch_starts(movie):
        cameras, stop = movie.microscope.cameras, min(start + _FRAMES_PER_STRETCH, movie.frames)
        sampled = sampled_frames(movie.frames, start)
        frames = np.union1d(np.arange(start, stop), sampled)  # in one pass, so that no chunk is decoded twice
        counts = _read(movie, frames, (rows, columns))
        background = _background(counts[np.isin(frames, sampled)], cameras)
        counts = counts[(frames >= start) & (frames < stop)]
        yield Stretch(counts, background, (columns.start, rows.start), cameras)


def _read(movie: Movie, frames: NDArray[np.int64], region: Region) -> NDArray[np.uint16]:
    return np.concatenate([movie.read(frame, frame + 1)[..., *region] for frame in frames.tolist()])


def _middle(size: int) -> slice:
    first = max(0, (size - _LARGEST_PX) // 2)
    return slice(first, min(first + _LARGEST_PX, size))
