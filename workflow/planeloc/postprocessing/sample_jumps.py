"""Jumps of the sample: short parts of the movie that fit elsewhere, far from where a smooth trajectory has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter1d

from planeloc.postprocessing.blinks import Blinks, some_of
from planeloc.postprocessing.cross_correlation import equal_parts

_MOST_BLINKS = 200_000
_SMALLEST_PIXEL_NM, _LARGEST_IMAGE_PX = 40.0, 1024
_SHORT_PART, _MOST_PARTS, _FOLDS = 80, 400, 8
_LONG_PART = 150  # blinks of a part that are compared
_REACH_PX = 25
_JUMP_NM = 100.0
_SMALL_JUMP_NM, _SMEARED = 50.0, 1e-3  # after a refinement whose times are that part of the movie apart
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


def place_jumps(blinks: Blinks, drift: NDArray[np.float64]) -> NDArray[np.float64]:
    """The drift, with every jump within a few frames put between the two frames where the localizations have it.

    Parameters
    ----------
    blinks : with their localizations.
    """
    rows, reach = some_of(blinks, _MOST_BLINKS).rows, max(2, round(len(drift) * _SMEARED))
    if rows is None or len(drift) < 4 * reach:
        return drift
    padded = np.pad(drift[:, :2], ((reach, reach), (0, 0)), mode="edge")
    size = np.linalg.norm(padded[2 * reach :] - padded[: -2 * reach], axis=1)
    top = np.flatnonzero((size > _SMALL_JUMP_NM) & (size >= maximum_filter1d(size, 4 * reach + 1)))
    top = top[np.diff(top, prepend=-4 * reach) > 2 * reach]
    middle = [int(np.rint(np.average(np.arange(t - reach, t + reach), weights=_moved(drift, t, reach)))) for t in top]
    middle = np.clip(middle, 2 * reach, len(drift) - 2 * reach - 1).astype(np.int64)
    if not len(middle):
        return drift
    shifted = rows.position[:, :2] - drift[rows.frame, :2]
    sample = _Images(shifted, equal_parts(rows.frame, _FOLDS))
    return _placed(sample, rows.frame, rows.position, drift, middle - 2 * reach, middle + 2 * reach)


def _moved(drift: NDArray[np.float64], middle: int, reach: int) -> NDArray[np.float64]:
    """Movement of every frame about a jump, to be its weight."""
    frame = np.clip(np.arange(middle - reach, middle + reach + 1), 0, len(drift) - 1)
    return np.linalg.norm(np.diff(drift[frame, :2], axis=0), axis=1) + 1e-9


def _sharpened(blinks: Blinks, drift: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """The drift, with every large jump in the frame before which the blinks fit the drift before it better."""
    sample = _Images(blinks.position[:, :2] - drift[blinks.frame, :2], equal_parts(blinks.frame, len(first) - 1))
    before, after = drift[np.maximum(first[:-2] - 1, 0)], drift[np.minimum(first[2:], len(drift) - 1)]
    size = np.linalg.norm((after - before)[:, :2], axis=1)
    largest = size >= maximum_filter1d(size, 3) if len(size) else size > 0
    number = np.flatnonzero((size > _JUMP_NM) & largest)
    return _placed(sample, blinks.frame, blinks.position, drift, first[number], first[number + 2])


def _placed(
    sample: _Images,
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    drift: NDArray[np.float64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The drift, with one jump in each of some intervals of frames, from its value before to that after."""
    sharp = drift.copy()
    for begin, end in zip(start, stop, strict=True):
        before, after = drift[max(begin - 1, 0)], drift[min(end, len(drift) - 1)]
        rows = (frame >= begin) & (frame < end)
        here = position[rows, :2]
        gain = sample.at(here - before[:2]) - sample.at(here - after[:2])
        total = np.append(0, np.cumsum(np.bincount(frame[rows] - begin, gain, end - begin)))
        change = begin + int(np.argmax(total))
        sharp[begin:change], sharp[change:end] = before, after
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
        pixel, part = self.part % _FOLDS * self.images[0].size + self.place @ [stride, 1], self.part
        if len(part) > parts * _LONG_PART:
            some = np.random.default_rng(0).choice(len(part), parts * _LONG_PART, replace=False)
            pixel, part = pixel[some], part[some]
        reach = np.arange(-_REACH_PX, _REACH_PX + 1)
        score = np.empty((parts, len(reach), len(reach)))
        for row, along_x in enumerate(reach):
            for column, along_y in enumerate(reach):
                score[:, row, column] = np.bincount(part, images[pixel + along_x * stride + along_y], parts)
        return score


def _image(at: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """A smoothed image of some blinks, without what is wider than some pixels."""
    counts = np.bincount(at @ [shape[1], 1], minlength=shape[0] * shape[1])
    largest = np.quantile(counts[counts > 0], 0.99) if counts.any() else 0
    counts = np.minimum(counts, largest).reshape(shape).astype(np.float32)
    return gaussian_filter(counts, 1.0) - gaussian_filter(counts, 8.0)
