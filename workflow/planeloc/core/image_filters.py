"""Filters along the rows and columns of images, without SciPy: importing it takes longer than these take in a start.

`smoothed` gives the numbers of `scipy.ndimage.gaussian_filter`, to the bit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_TRUNCATE = 4.0  # standard deviations at which the Gaussian ends
_PADDING = {"reflect": "symmetric", "nearest": "edge"}  # SciPy's names and NumPy's


def smoothed(images: NDArray, sigma_px: float, mode: str = "reflect") -> NDArray:
    """Smooth images (..., rows, columns) by a Gaussian along their rows and columns, in double precision.

    Parameters
    ----------
    sigma_px : standard deviation.
    mode : how they continue beyond their rim: ``reflect`` (d c b a | a b c d) or ``nearest`` (a a a | a b c d).

    Returns
    -------
    Images of the same shape and type; of whole numbers, as float64.
    """
    kind = images.dtype if images.dtype.kind == "f" else np.dtype(np.float64)
    for axis in (-2, -1):
        images = _correlated(images, _half_gaussian(sigma_px), axis, _PADDING[mode]).astype(kind)
    return images


def smoothing_matrix(size: int, sigma_px: float, mode: str = "reflect") -> NDArray[np.float64]:
    """(size, size) What `smoothed` multiplies a line of pixels with."""
    return _correlated(np.eye(size), _half_gaussian(sigma_px), 0, _PADDING[mode])


@lru_cache(maxsize=8)
def _half_gaussian(sigma_px: float) -> tuple[float, ...]:
    """Weights at distances of 0, 1, … pixels; all together, on both sides, sum to one."""
    radius = int(_TRUNCATE * sigma_px + 0.5)
    weights = np.exp(-0.5 / (sigma_px * sigma_px) * np.arange(-radius, radius + 1) ** 2)
    return tuple((weights / weights.sum())[radius:].tolist())


def _correlated(images: NDArray, half: tuple[float, ...], axis: int, padding: str) -> NDArray[np.float64]:
    """Sum the pixels along an axis with symmetric weights; the terms are added from the outside in."""
    radius, size = len(half) - 1, images.shape[axis]
    around = [(0, 0)] * images.ndim
    around[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(images.astype(np.float64), around, mode=padding), axis, 0)
    total = padded[radius : radius + size] * half[0]
    for distance in range(radius, 0, -1):
        before, after = radius - distance, radius + distance
        total += (padded[before : before + size] + padded[after : after + size]) * half[distance]
    return np.moveaxis(total, 0, axis)


def highest_around(images: NDArray, reach_px: int) -> NDArray:
    """Highest value within `reach_px` along rows and columns of every pixel of images (..., rows, columns)."""
    for axis in (-2, -1):
        size = images.shape[axis]
        around = [(0, 0)] * images.ndim
        around[axis] = (reach_px, reach_px)
        padded = np.moveaxis(np.pad(images, around, constant_values=-np.inf), axis, 0)
        highest = padded[:size]
        for distance in range(1, 2 * reach_px + 1):
            highest = np.maximum(highest, padded[distance : distance + size])
        images = np.moveaxis(highest, 0, axis)
    return images


def median_over_first(values: NDArray) -> NDArray[np.float64]:
    """Median over the first axis of a few integers at every place, as `numpy.median` gives it.

    A sorting network of which only the comparators that the middle needs are left: each compares whole arrays, which
    takes a thirtieth of the time of a selection at every place.
    """
    sorted_values = list(values)
    for first, second in _comparators(len(values)):
        one, other = sorted_values[first], sorted_values[second]
        sorted_values[first], sorted_values[second] = np.minimum(one, other), np.maximum(one, other)
    low, high = (sorted_values[index] for index in _middle(len(values)))
    return (low.astype(np.float64) + high) / 2


def _middle(count: int) -> tuple[int, int]:
    return (count - 1) // 2, count // 2


@lru_cache(maxsize=8)
def _comparators(count: int) -> tuple[tuple[int, int], ...]:
    """Batcher's odd-even mergesort (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), for the middle."""
    network = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    p = top if count > 1 else 0
    while p:
        q, r, d = top, 0, p
        while True:
            network += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed, kept = set(_middle(count)), []
    for pair in reversed(network):
        if needed & set(pair):
            needed |= set(pair)
            kept.append(pair)
    return tuple(reversed(kept))
