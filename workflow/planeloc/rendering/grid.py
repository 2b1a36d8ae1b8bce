"""The voxel grid of an image, and the number of frames per voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Voxels of an image, from the corner of the field; depths beyond its ends belong to the outermost slices."""

    shape: tuple[int, int, int]  # slices, rows, columns
    voxel_nm: tuple[float, float, float]  # x, y, z
    bottom_nm: float  # depth at which the first slice begins

    @classmethod
    def cover(
        cls, size_nm: tuple[float, float], depth_nm: tuple[float, float], voxel_nm: tuple[float, float, float]
    ) -> Grid:
        """The smallest grid of `voxel_nm` that covers a field (width, height) and a range of depths."""
        extents = (size_nm[0], size_nm[1], depth_nm[1] - depth_nm[0])
        # a last voxel that would cover less than a millionth is rounding
        columns, rows, slices = (max(1, math.ceil(e / v - 1e-6)) for e, v in zip(extents, voxel_nm, strict=True))
        return cls((slices, rows, columns), tuple(float(v) for v in voxel_nm), float(depth_nm[0]))

    def coarsened(self, factor: int) -> Grid:
        """This grid with voxels of `factor` × `factor` columns and rows."""
        slices, rows, columns = self.shape
        x_nm, y_nm, z_nm = self.voxel_nm
        shape = (slices, math.ceil(rows / factor), math.ceil(columns / factor))
        return Grid(shape, (factor * x_nm, factor * y_nm, z_nm), self.bottom_nm)

    def limited(self, pixels: int) -> Grid:
        """This grid, or the finest coarsened one with at most `pixels` pixels per slice."""
        factors = itertools.count(max(1, math.isqrt(self.shape[1] * self.shape[2] // max(1, pixels))))
        grids = (self.coarsened(factor) for factor in factors)
        return next(grid for grid in grids if grid.shape[1] * grid.shape[2] <= max(1, pixels))

    def slices(self, z_nm: NDArray) -> NDArray[np.int64]:
        """Index of the slice of each depth."""
        index = np.floor((np.asarray(z_nm) - self.bottom_nm) / self.voxel_nm[2])
        return np.clip(index, 0, self.shape[0] - 1).astype(np.int64)

    @property
    def depths_nm(self) -> NDArray[np.float64]:
        """Depth of the middle of each slice."""
        return self.bottom_nm + (np.arange(self.shape[0]) + 0.5) * self.voxel_nm[2]

    @property
    def corner_nm(self) -> tuple[float, float, float]:
        """Outer corner of the first pixel in x and y, and the middle of the first slice."""
        return 0.0, 0.0, float(self.depths_nm[0])

    @property
    def depth_range_nm(self) -> tuple[float, float]:
        """Lowest and highest depth."""
        return self.bottom_nm, self.bottom_nm + self.shape[0] * self.voxel_nm[2]


@dataclass(frozen=True)
class FrameCounts:
    """Voxels with localizations, ordered by slice, row and column, and the number of frames in which each has one."""

    voxels: NDArray[np.int64]  # flat index into the grid
    frames: NDArray[np.int64]

    def slices(self, grid: Grid) -> Iterator[NDArray[np.uint16]]:
        """The counts as images, one depth slice after the other."""
        size = grid.shape[1] * grid.shape[2]
        bounds = np.searchsorted(self.voxels, np.arange(grid.shape[0] + 1) * size)
        for number, (low, high) in enumerate(itertools.pairwise(bounds)):
            image = np.zeros(size, dtype=np.uint16)
            image[self.voxels[low:high] - number * size] = np.minimum(self.frames[low:high], 65535)
            yield image.reshape(grid.shape[1:])


def count_frames(table: Mapping[str, NDArray], grid: Grid) -> FrameCounts:
    """Count the frames in which each voxel has a localization; localizations outside the field are left out.

    Of linked tables, which have a column `frames`, the frames are summed.
    """
    column = np.floor(np.asarray(table["x"]) / grid.voxel_nm[0]).astype(np.int64)
    row = np.floor(np.asarray(table["y"]) / grid.voxel_nm[1]).astype(np.int64)
    inside = (column >= 0) & (column < grid.shape[2]) & (row >= 0) & (row < grid.shape[1])
    voxel = (grid.slices(np.asarray(table["z"])) * grid.shape[1] + row) * grid.shape[2] + column
    if "frames" in table:
        voxels, which = np.unique(voxel[inside], return_inverse=True)
        sums = np.bincount(which, weights=np.asarray(table["frames"])[inside], minlength=len(voxels))
        return FrameCounts(voxels, sums.astype(np.int64))
    pairs = pd.DataFrame({"voxel": voxel, "frame": np.asarray(table["frame"])})[inside].drop_duplicates()
    return FrameCounts(*np.unique(pairs["voxel"], return_counts=True))
