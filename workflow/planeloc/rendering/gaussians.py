"""The Gaussian rendering: each localization is a Gaussian as wide as its standard deviation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from planeloc.rendering.grid import Grid
from planeloc.rendering.settings import GaussianWidths

_BLOCK_PX = 1 << 16  # pixels changed at once: a few MB, which fit into the processor's cache
REACH = 4.0  # a Gaussian is cut off at this many standard deviations
_NM_PER_UM = 1000.0


def gaussian_slices(
    table: Mapping[str, NDArray], grid: Grid, settings: GaussianWidths
) -> Iterator[NDArray[np.float32]]:
    """Density of localizations per square micrometre, slice by slice; `table` has x, y, z, x_sd, y_sd."""
    empty = 0  # the first slice that was not given yet
    for index, image in occupied_slices(table, grid, settings):
        for _ in range(empty, index):
            yield np.zeros(grid.shape[1:], dtype=np.float32)
        yield image
        empty = index + 1
    for _ in range(empty, grid.shape[0]):
        yield np.zeros(grid.shape[1:], dtype=np.float32)


def occupied_slices(
    table: Mapping[str, NDArray], grid: Grid, settings: GaussianWidths
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Number and density of the slices that hold localizations, as for `gaussian_slices`."""
    x, y = np.asarray(table["x"]) / grid.voxel_nm[0], np.asarray(table["y"]) / grid.voxel_nm[1]
    sigma_x = _sigma_nm(np.asarray(table["x_sd"]), settings) / grid.voxel_nm[0]
    sigma_y = _sigma_nm(np.asarray(table["y_sd"]), settings) / grid.voxel_nm[1]
    index = grid.slices(np.asarray(table["z"]))
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(grid.shape[0] + 1))
    area_um2 = grid.voxel_nm[0] * grid.voxel_nm[1] / _NM_PER_UM**2
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        if low == high:
            continue
        image = np.zeros(grid.shape[1:], dtype=np.float32)
        rows = order[low:high]
        draw_gaussians(image, x[rows], y[rows], sigma_x[rows], sigma_y[rows])
        image /= np.float32(area_um2)
        yield number, image


def _sigma_nm(sd: NDArray, settings: GaussianWidths) -> NDArray[np.float64]:
    known = np.where(np.isfinite(sd), sd, settings.sigma_nm)
    return np.clip(known, settings.minimum_sigma_nm, settings.maximum_sigma_nm)


def draw_gaussians(
    image: NDArray[np.float32], x_px: NDArray, y_px: NDArray, sigma_x_px: NDArray, sigma_y_px: NDArray
) -> None:
    """Add one Gaussian of sum 1 per localization to an image, integrated over the pixels.

    Localizations are grouped by the size of the patch that they cover, so that a block is one array operation.

    Parameters
    ----------
    image : (rows, columns), changed in place.
    x_px, y_px, sigma_x_px, sigma_y_px : (n,) in pixels of `image`, from its outer corner.
    """
    reach = np.ceil(REACH * np.maximum(sigma_x_px, sigma_y_px)).astype(np.int64)
    for radius in np.unique(reach):
        members = np.flatnonzero(reach == radius)
        rows = max(1, _BLOCK_PX // (2 * int(radius) + 1) ** 2)
        for start in range(0, len(members), rows):
            block = members[start : start + rows]
            x_index, x_share = _profile(x_px[block], sigma_x_px[block], int(radius), image.shape[1])
            y_index, y_share = _profile(y_px[block], sigma_y_px[block], int(radius), image.shape[0])
            target = y_index[:, :, None] * image.shape[1] + x_index[:, None, :]
            weight = y_share[:, :, None] * x_share[:, None, :]
            np.add.at(image.reshape(-1), target.reshape(-1), weight.reshape(-1))


def _profile(
    position: NDArray, sigma: NDArray, radius: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pixels around `position` and the fraction of the Gaussian in each, (n, 2 radius + 1); 0 outside the image."""
    index = np.floor(position).astype(np.int64)[:, None] + np.arange(-radius, radius + 1)
    edges = np.concatenate([index, index[:, -1:] + 1], axis=1)
    cumulative = erf((edges - position[:, None]) / (math.sqrt(2) * sigma[:, None]))
    share = np.diff(cumulative, axis=1)
    share /= share.sum(axis=1, keepdims=True)
    inside = (index >= 0) & (index < size)
    return np.where(inside, index, 0), np.where(inside, share, 0).astype(np.float32)
