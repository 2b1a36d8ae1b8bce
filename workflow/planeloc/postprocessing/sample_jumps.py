"""Jumps of the sample: short parts of the movie that fit elsewhere, far from where a smooth trajectory has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from planeloc.postprocessing.blinks import Blinks, some_of
from planeloc.postprocessing.cross_correlation import equal_parts

_MOST_BLINKS = 200_000
_SMALLEST_PIXEL_NM, _LARGEST_IMAGE_PX = 40.0, 1024
_SHORT_PART, _MOST_PARTS, _FOLDS = 80, 400, 8
_REACH_PX = 25
_JUMP_NM = 100.0
_SIGNIFICANT = 6.0  # the largest of the noise at a million places is five standard deviations


def follow_jumps(blinks: Blinks, drift: NDArray[np.float64]) -> NDArray[np.float64]:
    """The drift, with short parts of the movie moved that fit elsewhere much better, as after a jump of the sample.

    Every part is compared with an image of the others, within ±1 µm along x and y.
    """
    blinks = some_of(blinks, _MOST_BLINKS)
    parts = int(np.clip(len(blinks) // _SHORT_PART, 1, _MOST_PARTS))
    part = equal_parts(blinks.frame, parts)
    sample = _Images(blinks.position[:, :2] - drift[blinks.frame, :2], part)
    score = sample.scores(parts)
    middle = score[:, _REACH_PX - 1 : _REACH_PX + 2, _REACH_PX - 1 : _REACH_PX + 2].max(axis=(1, 2))
    score = score.reshape(parts, -1)
    noise = 1.4826 * np.median(np.abs(score - np.median(score, axis=1, keepdims=True)), axis=1)
    best = score.max(axis=1)
    move = (best > _SIGNIFICANT * noise) & (best > 1.15 * middle) & (best - middle > 3 * noise)
    shift = (np.stack(np.divmod(score.argmax(axis=1), 2 * _REACH_PX + 1), axis=1) - _REACH_PX) * sample.pixel
    ordered = np.sort(blinks.frame)
    first = np.append(ordered[(np.arange(parts) * len(ordered)) // parts], len(drift))
    first[0] = 0
    moved = drift.copy()
    for number in np.flatnonzero(move):
        moved[first[number] : first[number + 1], :2] -= shift[number]
    return _sharpened(blinks, moved, first)


def _sharpened(blinks: Blinks, drift: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """The drift, with every large jump in the frame before which the blinks fit the drift before it better."""
    sample = _Images(blinks.position[:, :2] - drift[blinks.frame, :2], equal_parts(blinks.frame, len(first) - 1))
    before, after = drift[np.maximum(first[:-2] - 1, 0)], drift[np.minimum(first[2:], len(drift) - 1)]
    size = np.linalg.norm((after - before)[:, :2], axis=1)
    sharp = drift.copy()
    for number in np.flatnonzero(size > _JUMP_NM):
        if size[number] < size[max(0, number - 1) : number + 2].max():
            continue
        start, stop = first[number], first[number + 2]
        rows = (blinks.frame >= start) & (blinks.frame < stop)
        frame, position = blinks.frame[rows] - start, blinks.position[rows, :2]
        gain = sample.at(position - before[number, :2]) - sample.at(position - after[number, :2])
        total = np.append(0, np.cumsum(np.bincount(frame, gain, stop - start)))
        change = start + int(np.argmax(total))
        sharp[start:change], sharp[change:stop] = before[number], after[number]
    return sharp


class _Images:
    """Smoothed images of the sample, each without the blinks of some parts of the movie."""

    def __init__(self, shifted: NDArray[np.float64], part: NDArray[np.int64]) -> None:
        self.low, high = np.quantile(shifted, [0.001, 0.999], axis=0)
        self.pixel = max(_SMALLEST_PIXEL_NM, float((high - self.low).max()) / _LARGEST_IMAGE_PX)
        self.shape = tuple(((high - self.low) / self.pixel).astype(int) + 2 * _REACH_PX + 1)
        place, inside = self._place(shifted)
        self.place, self.part = place[inside], part[inside]
        self.images = np.stack([_image(self.place[self.part % _FOLDS != n], self.shape) for n in range(_FOLDS)])

    def _place(self, shifted: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        place = np.floor((shifted - self.low) / self.pixel).astype(np.int64) + _REACH_PX
        return place, (place >= _REACH_PX).all(axis=1) & (place < np.array(self.shape) - _REACH_PX).all(axis=1)

    def at(self, shifted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean image at some positions, zero outside."""
        place, inside = self._place(shifted)
        return np.where(inside, self.images.mean(axis=0)[tuple(np.where(inside[:, None], place, 0).T)], 0.0)

    def scores(self, parts: int) -> NDArray[np.float64]:
        """(parts, shifts, shifts): sum of the image of the other parts at the blinks of every part, shifted."""
        images, stride = self.images.ravel(), self.shape[1]
        pixel = self.part % _FOLDS * self.images[0].size + self.place @ [stride, 1]
        reach = np.arange(-_REACH_PX, _REACH_PX + 1)
        score = np.empty((parts, len(reach), len(reach)))
        for row, along_x in enumerate(reach):
            for column, along_y in enumerate(reach):
                score[:, row, column] = np.bincount(self.part, images[pixel + along_x * stride + along_y], parts)
        return score


def _image(at: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """A smoothed image of some blinks, without what is wider than some pixels."""
    counts = np.bincount(at @ [shape[1], 1], minlength=shape[0] * shape[1])
    largest = np.quantile(counts[counts > 0], 0.99) if counts.any() else 0
    counts = np.minimum(counts, largest).reshape(shape).astype(np.float32)
    return gaussian_filter(counts, 1.0) - gaussian_filter(counts, 8.0)
