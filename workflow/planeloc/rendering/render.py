"""The `render` stage: from a table of localizations to pictures to look at and images to measure.

Two renderings of the same table:

- **depth**: every localization a Gaussian as wide as it is uncertain, integrated over the pixels, so that brightness
  is the density of localizations; hue is depth;
- **voxels**: the paper's Fig. 12, the network's voxels that hold a molecule in more than one frame, coloured by depth.

Both are worked out one depth slice after the other: memory is the table and a few images, however many the slices.
Large fields are drawn with pixels that are a whole multiple of the asked size, so that they can still be looked at.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import erf

from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.localization_table import field_nm, metadata_value
from planeloc.io.ome_tiff import write_z_stack
from planeloc.rendering import figure as figures
from planeloc.rendering.settings import RenderSettings

_LOG = logging.getLogger(__name__)

_BLOCK_PX = 1 << 16  # pixels touched at once: a few MB, which stay in the processor's cache
_REACH = 4.0  # a Gaussian is cut off at this many standard deviations
_LARGEST_IMAGE_PX = 100_000_000  # a picture is worked out in memory, some 30 bytes per pixel
_LARGEST_STACK_BYTES = 1_500_000_000  # uncompressed, as Fiji opens it
_NM_PER_UM = 1000.0


@dataclass(frozen=True)
class Grid:
    """Voxels of an image: `shape` (slices, rows, columns), `voxel_nm` (x, y, z), `bottom_nm` the depth where it starts.

    The field's corner is the image's corner. Depths beyond the ends are counted into the outermost slices.
    """

    shape: tuple[int, int, int]
    voxel_nm: tuple[float, float, float]
    bottom_nm: float

    @classmethod
    def cover(cls, size_nm: tuple[float, float], depth_nm: tuple[float, float], voxel_nm: tuple[float, float, float]):
        """The smallest grid of `voxel_nm` that covers a field (width, height) and a range of depths."""
        extents = (size_nm[0], size_nm[1], depth_nm[1] - depth_nm[0])
        # a last voxel that would cover less than a millionth is rounding
        columns, rows, slices = (max(1, math.ceil(e / v - 1e-6)) for e, v in zip(extents, voxel_nm, strict=True))
        return cls((slices, rows, columns), tuple(float(v) for v in voxel_nm), float(depth_nm[0]))

    def coarsened(self, factor: int) -> Grid:
        """The grid whose voxels are `factor` × `factor` columns and rows of this one's."""
        slices, rows, columns = self.shape
        x_nm, y_nm, z_nm = self.voxel_nm
        shape = (slices, math.ceil(rows / factor), math.ceil(columns / factor))
        return Grid(shape, (factor * x_nm, factor * y_nm, z_nm), self.bottom_nm)

    def limited(self, pixels: int) -> Grid:
        """This grid, or the finest of its coarser ones of which a slice has at most `pixels` pixels."""
        factors = itertools.count(max(1, math.isqrt(self.shape[1] * self.shape[2] // max(1, pixels))))
        grids = (self.coarsened(factor) for factor in factors)
        return next(grid for grid in grids if grid.shape[1] * grid.shape[2] <= max(1, pixels))

    def slices(self, z_nm: NDArray) -> NDArray[np.int64]:
        """Index of the slice of every depth."""
        index = np.floor((np.asarray(z_nm) - self.bottom_nm) / self.voxel_nm[2])
        return np.clip(index, 0, self.shape[0] - 1).astype(np.int64)

    @property
    def depths_nm(self) -> NDArray[np.float64]:
        """Depth of the middle of every slice."""
        return self.bottom_nm + (np.arange(self.shape[0]) + 0.5) * self.voxel_nm[2]

    @property
    def depth_range_nm(self) -> tuple[float, float]:
        return self.bottom_nm, self.bottom_nm + self.shape[0] * self.voxel_nm[2]


def draw_gaussians(
    image: NDArray[np.float32], x_px: NDArray, y_px: NDArray, sigma_x_px: NDArray, sigma_y_px: NDArray
) -> None:
    """Add to `image` one Gaussian per localization, integrated over the pixels, each of sum 1 (less what lies outside).

    Positions in pixels of `image` from its outer corner. Localizations are sorted by the size of the patch that they
    touch, so that a block is one array operation; the cost grows with the localizations, not with the image.
    """
    reach = np.ceil(_REACH * np.maximum(sigma_x_px, sigma_y_px)).astype(np.int64)
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
    """Pixels around `position` and the share of the Gaussian on each, (n, 2 radius + 1); outside the image: share 0."""
    index = np.floor(position).astype(np.int64)[:, None] + np.arange(-radius, radius + 1)
    edges = np.concatenate([index, index[:, -1:] + 1], axis=1)
    cumulative = erf((edges - position[:, None]) / (math.sqrt(2) * sigma[:, None]))
    share = np.diff(cumulative, axis=1)
    share /= share.sum(axis=1, keepdims=True)
    inside = (index >= 0) & (index < size)
    return np.where(inside, index, 0), np.where(inside, share, 0).astype(np.float32)


def gaussian_slices(table: pd.DataFrame, grid: Grid, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
    """The density of localizations, one depth slice after the other, in localizations per square micrometre."""
    x, y = table["x"].to_numpy() / grid.voxel_nm[0], table["y"].to_numpy() / grid.voxel_nm[1]
    sigma_x = _sigma_nm(table["x_sd"].to_numpy(), settings) / grid.voxel_nm[0]
    sigma_y = _sigma_nm(table["y_sd"].to_numpy(), settings) / grid.voxel_nm[1]
    order, bounds = _by_slice(grid.slices(table["z"].to_numpy()), grid.shape[0])
    area_um2 = grid.voxel_nm[0] * grid.voxel_nm[1] / _NM_PER_UM**2
    for low, high in itertools.pairwise(bounds):
        image = np.zeros(grid.shape[1:], dtype=np.float32)
        rows = order[low:high]
        draw_gaussians(image, x[rows], y[rows], sigma_x[rows], sigma_y[rows])
        image /= np.float32(area_um2)
        yield image


def _mean_of_blocks(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """The mean of every `factor` × `factor` pixels; beyond the image's edge there is no light."""
    if factor == 1:
        return image
    padded = np.pad(image, [(0, -size % factor) for size in image.shape])
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _sigma_nm(sd: NDArray, settings: RenderSettings) -> NDArray[np.float64]:
    known = np.where(np.isfinite(sd), sd, settings.sigma_nm)
    return np.clip(known, settings.minimum_sigma_nm, settings.maximum_sigma_nm)


def _by_slice(index: NDArray[np.int64], slices: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of the rows by slice, and where in that order every slice begins (and the last ends)."""
    order = np.argsort(index, kind="stable")
    return order, np.searchsorted(index[order], np.arange(slices + 1))


@dataclass(frozen=True)
class FrameCounts:
    """Voxels that ever held a molecule, ordered by slice, row and column, and in how many frames each did."""

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


def count_frames(table: pd.DataFrame, grid: Grid) -> FrameCounts:
    """In how many different frames does every voxel hold a molecule? Localizations outside the field are left out."""
    column = np.floor(table["x"].to_numpy() / grid.voxel_nm[0]).astype(np.int64)
    row = np.floor(table["y"].to_numpy() / grid.voxel_nm[1]).astype(np.int64)
    inside = (column >= 0) & (column < grid.shape[2]) & (row >= 0) & (row < grid.shape[1])
    voxel = (grid.slices(table["z"].to_numpy()) * grid.shape[1] + row) * grid.shape[2] + column
    voxel, frame = voxel[inside], table["frame"].to_numpy()[inside]
    order = np.lexsort((frame, voxel))
    voxel, frame = voxel[order], frame[order]
    new = np.ones(len(voxel), dtype=bool)  # the first row of every (voxel, frame)
    new[1:] = (voxel[1:] != voxel[:-1]) | (frame[1:] != frame[:-1])
    return FrameCounts(*np.unique(voxel[new], return_counts=True))


def render(
    localizations_file: Path,
    depth_image: Path,
    voxel_image: Path,
    tiff: Path,
    voxel_tiff: Path,
    settings: RenderSettings,
) -> dict[str, float]:
    """Read a table and write both renderings, each as PNG to look at and as OME-TIFF to measure.

    `tiff` holds localizations per square micrometre (float32), `voxel_tiff` the number of frames in which every voxel
    holds a molecule (uint16), both as Z stacks over the depth range of the table. Returns the lateral size of the
    pixels of each of the four, which is larger than asked for where the field is too large; a note on stderr says so.
    """
    check(settings)
    table, metadata = localization_table.read(localizations_file)
    fine, coarse = _grids(localizations_file, metadata, settings)
    drawn = fine.limited(_LARGEST_IMAGE_PX)
    stack = drawn.limited(_LARGEST_STACK_BYTES // (4 * drawn.shape[0]))
    binning = round(stack.voxel_nm[0] / drawn.voxel_nm[0])
    colours = figures.depth_colours(settings.colour_map, drawn.shape[0])
    mixture = figures.ColourMixture(drawn.shape[1:])
    density = mixture.pass_through(gaussian_slices(table, drawn, settings), colours)
    description = (
        f"localizations per square micrometre; {len(table)} localizations; first slice at {stack.depths_nm[0]:g} nm"
        + _asked_for(fine, stack)
    )
    write_z_stack(
        tiff,
        (_mean_of_blocks(image, binning) for image in density),
        stack.shape,
        "float32",
        stack.voxel_nm,
        {"Name": "density of localizations", "Description": description},
    )
    note = f"{len(table):,} localizations · {int(metadata.get('frames', 0)):,} frames"
    figures.write_depth_picture(
        depth_image, mixture, drawn.voxel_nm[0], drawn.depth_range_nm, note, settings.saturation_percent,
        settings.gamma, settings.colour_map,
    )  # fmt: skip

    shown = coarse.limited(_LARGEST_IMAGE_PX)
    counted = shown.limited(_LARGEST_STACK_BYTES // (2 * shown.shape[0]))
    description = (
        f"number of frames in which the voxel holds a molecule; first slice at {counted.depths_nm[0]:g} nm"
        + _asked_for(coarse, counted)
    )
    write_z_stack(
        voxel_tiff,
        count_frames(table, counted).slices(counted),
        counted.shape,
        "uint16",
        counted.voxel_nm,
        {"Name": "frames per voxel", "Description": description},
    )
    counts = count_frames(table, shown)
    held = counts.frames >= settings.minimum_frames
    mixture = figures.ColourMixture(shown.shape[1:])
    mixture.add_voxels(counts.voxels[held], shown.shape, figures.depth_colours(settings.colour_map, shown.shape[0]))
    note = f"{int(held.sum()):,} voxels that hold a molecule in at least {settings.minimum_frames} frames"
    figures.write_voxel_picture(
        voxel_image, mixture, shown.voxel_nm[0], shown.depth_range_nm, note, settings.colour_map
    )

    written = ((depth_image, fine, drawn), (tiff, fine, stack), (voxel_image, coarse, shown))
    for path, asked, grid in (*written, (voxel_tiff, coarse, counted)):
        if grid != asked:
            _LOG.info(f"note: {path}: the field is large{_asked_for(asked, grid)}")
    grids = {"depth_image": drawn, "tiff": stack, "voxel_image": shown, "voxel_tiff": counted}
    return {f"{name}_pixel_nm": grid.voxel_nm[0] for name, grid in grids.items()}


def _asked_for(asked: Grid, grid: Grid) -> str:
    """What to say of a grid that is coarser than what was asked for; else nothing."""
    if grid == asked:
        return ""
    return f"; pixels of {grid.voxel_nm[0]:g} nm instead of {asked.voxel_nm[0]:g} nm keep it in memory"


def _grids(path: Path, metadata: Mapping[str, Any], settings: RenderSettings) -> tuple[Grid, Grid]:
    """Grid of the Gaussian rendering and grid of the network's voxels, both as asked for."""
    size_nm = field_nm(path, metadata)
    low, high = (float(depth) for depth in metadata_value(path, metadata, "depth_range_nm"))
    voxel_nm = tuple(float(size) for size in metadata_value(path, metadata, "voxel_nm"))
    if not high > low or min(*voxel_nm, *size_nm) <= 0:
        raise PlanelocError(f"{path}: the table's metadata are wrong: depths {low} to {high} nm, voxel {voxel_nm} nm")
    fine_voxel = (settings.pixel_nm, settings.pixel_nm, (high - low) / settings.depth_slices)
    return Grid.cover(size_nm, (low, high), fine_voxel), Grid.cover(size_nm, (low, high), voxel_nm)
