"""Mean image of many molecules about the places where they should be, and the median of their distances from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

REACH_PX = 4.0  # from the middle of the image to its edge
_PER_PIXEL = 2  # fine pixels along a pixel
_FEWEST = 20  # molecules for a mean image
_WEIGHT_PX = 1.3  # standard deviation of the weights of a centroid
_STEPS = 20
_FARTHEST_PX = 2.0  # a centroid that moves on has lost its spot


@dataclass(frozen=True)
class MeanSpot:
    """The mean image of some molecules, and how far they are from where they should be.

    Attributes
    ----------
    photons : (side, side), ±`REACH_PX` about the place where the molecules should be; None with too few of them
    offset_px : median distance along x and y; None where unknown
    offset_sd_px : its standard deviation
    molecules : number of them
    """

    photons: NDArray[np.float64] | None
    offset_px: tuple[float, float] | None
    offset_sd_px: tuple[float, float] | None
    molecules: int


def mean_spot(
    counts: NDArray[np.uint16],
    image: NDArray[np.int64],
    points_px: NDArray[np.float64],
    photons: Callable[[ArrayLike], NDArray],
) -> MeanSpot:
    """Average images about points, at half a pixel; molecules near the edge are left out.

    Parameters
    ----------
    counts : (images, rows, columns)
    image : (n,) which of them each molecule is in.
    points_px : (n, 2) x and y from the outer corner of pixel (0, 0).
    photons : turns counts into photons.
    """
    reach = int(REACH_PX) + 1
    pixel = np.floor(points_px).astype(int)
    room = np.all((pixel >= reach) & (pixel < np.array(counts.shape[:0:-1]) - reach), axis=1)
    pixel, points, image = pixel[room], points_px[room], image[room]
    if len(points) < _FEWEST:
        return MeanSpot(None, None, None, len(points))
    step = np.arange(-reach, reach + 1)
    x, y = pixel[:, :1] + step, pixel[:, 1:] + step  # (n, window)
    values = np.asarray(photons(counts[image[:, None, None], y[:, :, None], x[:, None, :]]), dtype=np.float64)
    right, down = x + 0.5 - points[:, :1], y + 0.5 - points[:, 1:]
    found = _centroids(values, right, down)
    found = found[np.isfinite(found).all(axis=1)]
    if len(found) < _FEWEST:
        return MeanSpot(_mean(values, right, down), None, None, len(points))
    middle = np.median(found, axis=0)
    # Of normally distributed values: sd = 1.48 median deviations, and that of their median 1.25 sd / √n.
    sd = 1.25 * 1.48 * np.median(np.abs(found - middle), axis=0) / np.sqrt(len(found))
    return MeanSpot(_mean(values, right, down), tuple(middle.tolist()), tuple(sd.tolist()), len(points))


def _mean(values: NDArray[np.float64], right: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean image of windows (n, rows, columns) whose columns and rows are `right` and `down` from their points."""
    side = round(2 * REACH_PX * _PER_PIXEL)
    column, row = (np.floor((away + REACH_PX) * _PER_PIXEL).astype(int) for away in (right, down))
    inside = ((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None, :]
    flat = (row[:, :, None] * side + column[:, None, :])[inside]
    total = np.bincount(flat, values[inside], side**2)
    return (total / np.maximum(np.bincount(flat, minlength=side**2), 1)).reshape(side, side)


def _centroids(
    values: NDArray[np.float64], right: NDArray[np.float64], down: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 2): centre of the spot in each window, from its point; a centroid whose weights follow it, NaN where lost."""
    edge = np.concatenate((values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]), axis=1)
    light = values - np.median(edge, axis=1)[:, None, None]
    centre = np.zeros((len(values), 2))
    for _ in range(_STEPS):
        along = [np.exp(-((away - centre[:, [k]]) ** 2) / (2 * _WEIGHT_PX**2)) for k, away in enumerate((right, down))]
        weight = light * along[1][:, :, None] * along[0][:, None, :]
        total = weight.sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.stack(((weight.sum(1) * right).sum(1), (weight.sum(2) * down).sum(1)), axis=1) / total[:, None]
        # A spot as wide as the weights would be approached by halves; twice the step reaches it at once.
        centre = centre + 2 * (found - centre)
        centre[(total <= 0) | (np.abs(centre) > _FARTHEST_PX).any(axis=1)] = np.nan
    return centre
