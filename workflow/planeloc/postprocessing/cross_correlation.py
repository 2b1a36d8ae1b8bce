"""A first estimate of the drift: images of parts of the movie against each other (redundant cross-correlation).

After Wang et al., Optics Express 2014, doi:10.1364/OE.22.015982. Every part is compared with every other, never with
itself, and the shifts are made consistent by robust least squares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array

from planeloc.postprocessing.blinks import Blinks, some_of

_LARGEST_IMAGE_PX = 1024
_FAR_NM = 4000.0  # shifts of more than this are not looked for
_REWEIGHTINGS = 20
_ROUNDS = ((80.0, 800, 12), (50.0, 500, 16), (40.0, 500, 24))  # pixel in nm, blinks per part, most parts
_MOST_BLINKS = 200_000
_STEP_NM = 25.0  # of the depths


def coarse_drift(blinks: Blinks, frames: int, rounds: int = len(_ROUNDS)) -> NDArray[np.float64]:
    """Drift at every frame, (frames, 3) nm, to some tens of nanometres; each of the rounds uses shorter parts."""
    blinks = some_of(blinks, _MOST_BLINKS)
    drift = np.zeros((frames, 3))
    for pixel, per_part, most in _ROUNDS[:rounds]:
        part = equal_parts(blinks.frame, int(np.clip(len(blinks) // per_part, 1, most)))
        part = np.unique(part, return_inverse=True)[1]
        if part.max(initial=0) == 0:
            break
        time = np.bincount(part, blinks.frame) / np.bincount(part)
        shifted = blinks.position - drift[blinks.frame]
        drift[:, :2] += _between(time, lateral_shifts(shifted, part, pixel), frames)
        shifted = blinks.position - drift[blinks.frame]
        drift[:, 2:] += _between(time, axial_shifts(shifted, part, pixel, _STEP_NM)[:, None], frames)
    return drift


def equal_parts(frame: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Part of every blink; all have about as many, and frames are not divided."""
    ordered = np.sort(frame)
    edges = ordered[(np.arange(1, parts) * len(frame)) // parts]
    return np.searchsorted(edges, frame, side="right")


def lateral_shifts(shifted: NDArray[np.float64], part: NDArray[np.int64], pixel_nm: float) -> NDArray[np.float64]:
    """Shift of every part along x and y, (parts, 2) nm, with mean zero."""
    parts = int(part.max()) + 1
    low, high = np.quantile(shifted[:, :2], [0.001, 0.999], axis=0)
    pixel = max(pixel_nm, float((high - low).max() + _FAR_NM) / _LARGEST_IMAGE_PX)
    shape = tuple(fft.next_fast_len(int(size), real=True) for size in (high - low + _FAR_NM) / pixel + 1)
    spectra = []
    band = _band_pass(shape)
    for number in range(parts):
        at = ((shifted[part == number, :2] - low) / pixel).astype(np.int64)
        inside = (at >= 0).all(axis=1) & (at < shape).all(axis=1)
        image = np.zeros(shape, np.float32)
        np.add.at(image, tuple(at[inside].T), 1)
        spectra.append(fft.rfft2(np.minimum(image, np.quantile(image[image > 0], 0.99) if image.any() else 1)) * band)
    reach = int(_FAR_NM / 2 / pixel)
    first, second = np.triu_indices(parts, 1)
    found = np.empty((len(first), 2))
    for pair, (a, b) in enumerate(zip(first, second, strict=True)):
        correlation = fft.irfft2(np.conj(spectra[a]) * spectra[b], shape)
        window = np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
        found[pair] = (_peak(window) - reach) * pixel
    return np.column_stack([_consistent(parts, first, second, found[:, axis], pixel) for axis in range(2)])


def axial_shifts(
    shifted: NDArray[np.float64], part: NDArray[np.int64], pixel_nm: float, step_nm: float
) -> NDArray[np.float64]:
    """Shift of every part along z, (parts,) nm, with mean zero, from blinks at the same place laterally."""
    parts = int(part.max()) + 1
    low, high = np.quantile(shifted[:, 2], [0.001, 0.999])
    levels = int((high - low) / step_nm) + 1
    level = ((shifted[:, 2] - low) / step_nm).astype(np.int64)
    inside = (level >= 0) & (level < levels)
    cell = np.floor((shifted[:, :2] - shifted[:, :2].min(axis=0)) / pixel_nm).astype(np.int64)
    pixel = np.unique(cell @ [int(cell[:, 1].max()) + 1, 1], return_inverse=True)[1]
    columns = (part * levels + level)[inside]
    counts = coo_array((np.ones(inside.sum()), (pixel[inside], columns)), (pixel.max() + 1, parts * levels)).tocsr()
    counts.data = np.minimum(counts.data, 3.0)
    first, second = np.triu_indices(parts, 1)
    together = (counts.T @ counts).toarray().reshape(parts, levels, parts, levels)
    found = np.array([_best_lag(together[a, :, b]) for a, b in zip(first, second, strict=True)]) * step_nm
    return _consistent(parts, first, second, found, step_nm)


def _best_lag(together: NDArray[np.float64]) -> float:
    """The shift between two parts, in steps, from how often each pair of levels occurs at the same place."""
    levels = len(together)
    lag = np.arange(levels)[None, :] - np.arange(levels)[:, None] + levels - 1
    observed = np.bincount(lag.ravel(), together.ravel(), 2 * levels - 1)
    total = max(together.sum(), 1.0)
    chance = np.outer(together.sum(axis=1), together.sum(axis=0)) / total
    excess = observed - np.bincount(lag.ravel(), chance.ravel(), 2 * levels - 1)
    smooth = gaussian_filter1d(excess, 1.5, mode="constant")
    return float(_peak(smooth[:, None])[0]) - (levels - 1)


def _band_pass(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Square root of a filter that keeps structures of a few pixels and suppresses the shape of the whole field."""
    squared = fft.fftfreq(shape[0])[:, None] ** 2 + fft.rfftfreq(shape[1])[None, :] ** 2
    narrow, wide = (np.exp(-2 * np.pi**2 * sigma**2 * squared) for sigma in (1.0, 8.0))
    return (narrow - wide).astype(np.float32)


def _peak(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of the maximum: centre of mass of what is above half of it, nearby."""
    top = np.array(np.unravel_index(np.argmax(image), image.shape))
    window = tuple(slice(max(0, t - 3), t + 4) for t in top)
    weight = np.clip(image[window] - image.max() / 2, 0, None)
    if not weight.sum() > 0:
        return top.astype(float)
    grids = np.meshgrid(*(np.arange(*s.indices(n)) for s, n in zip(window, image.shape, strict=True)), indexing="ij")
    return np.array([(weight * grid).sum() / weight.sum() for grid in grids])


def _consistent(
    parts: int, first: NDArray[np.int64], second: NDArray[np.int64], shift: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Shifts of the parts from those between pairs, by least squares with Cauchy weights."""
    rows = np.arange(len(first))
    design = np.zeros((len(first) + 1, parts))
    design[rows, first], design[rows, second], design[-1] = -1, 1, 1
    target = np.append(shift, 0.0)
    # begin with the shifts between parts that follow each other closely: the drift between them is the smallest
    weight = np.append(1.0 / (second - first) ** 2, 1.0)
    for _ in range(_REWEIGHTINGS):
        root = np.sqrt(weight)
        solved = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        residual = (design @ solved - target)[:-1]
        width = max(scale, 1.5 * float(np.median(np.abs(residual))))
        weight = np.append(1 / (1 + (residual / width) ** 2), 1.0)
    return solved - solved.mean()


def _between(time: NDArray[np.float64], values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Linear interpolation to every frame, continued at the ends by at most half a part."""
    frame = np.arange(frames)
    segment = np.clip(np.searchsorted(time, frame, side="right") - 1, 0, len(time) - 2)
    share = np.clip((frame - time[segment]) / (time[segment + 1] - time[segment]), -0.6, 1.6)[:, None]
    return values[segment] * (1 - share) + values[segment + 1] * share
