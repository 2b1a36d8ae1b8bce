"""Check of the declared offset and gain against the noise of the movie.

The variance of a pixel without molecules is that of its background (`planeloc.cameras.noise`). A wrong offset or gain,
or a forgotten EM gain, contradicts it. The noise is measured from differences of neighbouring frames at pixels without
molecules: the level of a pixel is its median over a stretch of frames, patches well above it are excluded, and the
spread is that of the central part of the differences. It is compared with the spread of simulated differences of the
declared camera, which have the same rounding to counts and the same long tail of EM gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.movie.store import Source

Array = NDArray[np.float64]

_STRETCHES = 8
_STRETCH_FRAMES = 20
_WINDOW_PX = 128  # side of the part of the field that is read
_LEVELS = 6
_FEWEST_DIFFERENCES = 500  # in a level of a stretch
_ACTIVE_SIGMAS = 3.5
_SMOOTHING_PX = 2.0
_CENTRAL = 0.6827  # part of the differences whose spread is taken
_DRAWN = 30_000


@dataclass(frozen=True)
class PlaneNoise:
    """Noise of one camera in the sampled frames."""

    ratio: float  # measured over declared variance; NaN if too few pixels were usable
    level_counts: float  # of the background
    darkest_counts: float  # the darkest part of the background, above the declared offset
    duplicates: float  # fraction of frames that repeat the previous one


def measure_noise(source: Source, cameras: Sequence[Camera], frames: int | None = None) -> list[PlaneNoise]:
    """Measure the noise in a few stretches of a movie; memory is that of one stretch of a part of the field.

    `frames` is the number of those that all cameras recorded; None: all.
    """
    height, width = source.shape[2:]
    frames = frames or source.shape[0]
    length = min(_STRETCH_FRAMES, frames)
    count = max(1, min(_STRETCHES, frames // length))
    rows, columns = min(height, _WINDOW_PX), min(width, _WINDOW_PX)
    corners = np.random.default_rng(0).integers(0, (height - rows + 1, width - columns + 1), (count, 2))
    found: list[list[_StretchNoise]] = [[] for _ in cameras]
    for start, (y, x) in zip(np.linspace(0, frames - length, count).astype(int).tolist(), corners, strict=True):
        single = (source.read(i, i + 1) for i in range(start, start + length))
        counts = np.concatenate([frame[..., y : y + rows, x : x + columns].copy() for frame in single])
        for plane, camera in enumerate(cameras):
            found[plane].append(_measure_stretch(counts[:, plane], camera))
    return [_summary(stretches, camera) for stretches, camera in zip(found, cameras, strict=True)]


@dataclass(frozen=True)
class _StretchNoise:
    ratios: Array  # one per level
    level: float
    darkest: float
    duplicates: float


def _summary(parts: Sequence[_StretchNoise], camera: Camera) -> PlaneNoise:
    ratios = np.concatenate([stretch.ratios for stretch in parts])
    return PlaneNoise(
        ratio=float(np.median(ratios)) if len(ratios) else float("nan"),
        level_counts=float(np.median([stretch.level for stretch in parts])),
        darkest_counts=min(stretch.darkest for stretch in parts) - camera.offset_counts,
        duplicates=float(np.mean([stretch.duplicates for stretch in parts])),
    )


def _measure_stretch(counts: NDArray[np.uint16], camera: Camera) -> _StretchNoise:
    """Noise in one stretch of one camera, (frames, rows, columns)."""
    contrast = counts.min(axis=(1, 2)) < counts.max(axis=(1, 2))  # frames without contrast were dropped by the camera
    repeated = np.array([np.array_equal(a, b) for a, b in pairwise(counts)], dtype=bool)
    repeated &= contrast[1:]
    frames = counts[contrast] if contrast.any() else counts
    # The median along a contiguous axis is faster than across frames.
    by_pixel = np.ascontiguousarray(np.moveaxis(frames, 0, -1))
    level = ndimage.gaussian_filter(np.median(by_pixel, axis=-1, overwrite_input=True), _SMOOTHING_PX, mode="nearest")
    share = float(repeated.mean()) if len(repeated) else 0.0
    ratios = _noise_ratios(counts, contrast, repeated, level, camera)
    return _StretchNoise(ratios, float(np.median(level)), _darkest(frames, level), share)


def _noise_ratios(
    counts: NDArray[np.uint16], contrast: NDArray[np.bool_], repeated: NDArray[np.bool_], level: Array, camera: Camera
) -> Array:
    """Measured over declared variance at several levels of the background; none if too few pixels were usable."""
    pairs = [i for i in range(0, len(counts) - 1, 2) if contrast[i] and contrast[i + 1] and not repeated[i]]
    if not pairs:
        return np.empty(0)
    first, second = counts[pairs].astype(np.float64), counts[[i + 1 for i in pairs]].astype(np.float64)
    middle, difference = 0.5 * (first + second), second - first
    idle = ~_active(middle - level).reshape(len(pairs), -1)
    middle, difference = middle.reshape(idle.shape), difference.reshape(idle.shape)
    ratios = []
    groups = int(np.clip(idle.sum() // (2 * _FEWEST_DIFFERENCES), 1, _LEVELS))
    for group in np.array_split(np.argsort(level, axis=None), groups):
        chosen = idle[:, group]
        if chosen.sum() >= _FEWEST_DIFFERENCES:
            declared = _declared_spread(camera, float(middle[:, group][chosen].mean()))
            ratios.append((_spread(difference[:, group][chosen]) / declared) ** 2)
    return np.array(ratios)


def _darkest(frames: Array, level: Array) -> float:
    """Mean counts of the darkest quarter of the field, by its level."""
    darkest = np.argsort(level, axis=None)[: max(1, level.size // 4)]
    return float(frames.reshape(len(frames), -1)[:, darkest].mean())


def _active(excess: Array) -> NDArray[np.bool_]:
    """Where molecules are: patches of 3×3 pixels above the background, and their neighbours."""
    patches = ndimage.uniform_filter(excess, (0, 3, 3), mode="nearest")
    centre = np.median(patches, axis=(1, 2), keepdims=True)
    scale = 1.4826 * np.median(np.abs(patches - centre), axis=(1, 2), keepdims=True)
    return ndimage.maximum_filter(patches - centre > _ACTIVE_SIGMAS * scale, (0, 3, 3))


def _spread(differences: Array) -> float:
    """Half the width of the central part of integers, each taken as uniform over ±½."""
    lowest = int(differences.min())
    counts = np.bincount((differences - lowest).astype(np.int64))
    values = lowest + np.flatnonzero(counts)
    counts = counts[counts > 0]
    upper = np.cumsum(counts) / counts.sum()
    lower = np.concatenate([[0.0], upper[:-1]])
    edges = np.concatenate([[values[0] - 0.5], 0.5 * (values[1:] + values[:-1]), [values[-1] + 0.5]])
    low, high = np.interp([0.5 - _CENTRAL / 2, 0.5 + _CENTRAL / 2], np.concatenate([lower, [1.0]]), edges)
    return float(high - low) / 2


def _declared_spread(camera: Camera, level_counts: float) -> float:
    """Spread of the differences that this camera would have at a level."""
    photons = max(float(camera.photons(level_counts)), 0.0)
    counts = camera.expose(np.full((2, _DRAWN), photons), np.random.default_rng(0)).astype(np.float64)
    return max(_spread(counts[1] - counts[0]), 1e-3)
