"""The `render` stage: from a table of localizations to pictures to look at and images to measure.

Two renderings of the same table:

- **depth**: each localization is a Gaussian as wide as its standard deviation, integrated over the pixels; brightness
  is the density of localizations, hue is depth;
- **voxels**: the network's voxels with localizations in several frames, coloured by depth (Fig. 12 of the paper).

Both are computed slice by slice, so that memory does not depend on the number of slices. Large fields are drawn with
pixels that are a whole multiple of `pixel_nm`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.localization_table import field_nm, metadata_value
from planeloc.io.ome_tiff import write_z_stack
from planeloc.rendering.colours import ColourMixture, depth_colours
from planeloc.rendering.figure import write_depth_picture, write_voxel_picture
from planeloc.rendering.gaussians import gaussian_slices
from planeloc.rendering.grid import Grid, count_frames
from planeloc.rendering.settings import RenderSettings

_LOG = logging.getLogger(__name__)

_LARGEST_IMAGE_PX = 100_000_000  # a picture is computed in memory, some 30 bytes per pixel
_LARGEST_STACK_BYTES = 1_500_000_000  # uncompressed; Fiji opens such a stack


def render(
    localizations_file: Path,
    depth_image: Path,
    voxel_image: Path,
    tiff: Path,
    voxel_tiff: Path,
    settings: RenderSettings,
) -> dict[str, float]:
    """Write both renderings, each as PNG to look at and as OME-TIFF to measure.

    `tiff` holds localizations per µm² (float32), `voxel_tiff` frames per voxel (uint16), as z-stacks over the depth
    range of the table. Returns the lateral pixel size of each file, nm; it is larger than the settings ask where the
    field is too large, which is logged.

    Raises
    ------
    PlanelocError
        The table cannot be read, or its metadata are incomplete or wrong.
    """
    check(settings)
    table, metadata = localization_table.read(localizations_file)
    fine, coarse = _grids(localizations_file, metadata, settings)
    drawn, stack = _render_density(table, metadata, fine, depth_image, tiff, settings)
    shown, counted = _render_voxels(table, coarse, voxel_image, voxel_tiff, settings)
    written = ((depth_image, fine, drawn), (tiff, fine, stack), (voxel_image, coarse, shown))
    for path, wanted, grid in (*written, (voxel_tiff, coarse, counted)):
        if grid != wanted:
            _LOG.info(f"note: {path}: the field is large{_reduced(wanted, grid)}")
    grids = {"depth_image": drawn, "tiff": stack, "voxel_image": shown, "voxel_tiff": counted}
    return {f"{name}_pixel_nm": grid.voxel_nm[0] for name, grid in grids.items()}


def _render_density(
    table: pd.DataFrame, metadata: Mapping[str, Any], wanted: Grid, image: Path, tiff: Path, settings: RenderSettings
) -> tuple[Grid, Grid]:
    """Write the Gaussian rendering as picture and stack; returns the grids of both."""
    drawn = wanted.limited(_LARGEST_IMAGE_PX)
    stack = drawn.limited(_LARGEST_STACK_BYTES // (4 * drawn.shape[0]))
    binning = round(stack.voxel_nm[0] / drawn.voxel_nm[0])
    mixture = ColourMixture(drawn.shape[1:])
    colours = depth_colours(settings.colour_map, drawn.shape[0])
    density = mixture.pass_through(gaussian_slices(table, drawn, settings), colours)
    description = (
        f"localizations per square micrometre; {len(table)} localizations; first slice at {stack.depths_nm[0]:g} nm"
        + _reduced(wanted, stack)
    )
    write_z_stack(
        tiff,
        (_mean_of_blocks(slice_, binning) for slice_ in density),
        stack.shape,
        "float32",
        stack.voxel_nm,
        {"Name": "density of localizations", "Description": description},
    )
    note = f"{len(table):,} localizations · {int(metadata.get('frames', 0)):,} frames"
    write_depth_picture(image, mixture, drawn, note, settings)
    return drawn, stack


def _render_voxels(
    table: pd.DataFrame, wanted: Grid, image: Path, tiff: Path, settings: RenderSettings
) -> tuple[Grid, Grid]:
    """Write the voxels as picture and stack; returns the grids of both."""
    shown = wanted.limited(_LARGEST_IMAGE_PX)
    counted = shown.limited(_LARGEST_STACK_BYTES // (2 * shown.shape[0]))
    description = (
        f"number of frames in which the voxel holds a molecule; first slice at {counted.depths_nm[0]:g} nm"
        + _reduced(wanted, counted)
    )
    write_z_stack(
        tiff,
        count_frames(table, counted).slices(counted),
        counted.shape,
        "uint16",
        counted.voxel_nm,
        {"Name": "frames per voxel", "Description": description},
    )
    counts = count_frames(table, shown)
    kept = counts.voxels[counts.frames >= settings.minimum_frames]
    mixture = ColourMixture(shown.shape[1:])
    mixture.add_voxels(kept, shown.shape, depth_colours(settings.colour_map, shown.shape[0]))
    note = f"{len(kept):,} voxels that hold a molecule in at least {settings.minimum_frames} frames"
    write_voxel_picture(image, mixture, shown, note, settings)
    return shown, counted


def _mean_of_blocks(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean of each block of `factor` × `factor` pixels; pixels beyond the image's edge count as 0."""
    if factor == 1:
        return image
    padded = np.pad(image, [(0, -size % factor) for size in image.shape])
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _reduced(wanted: Grid, grid: Grid) -> str:
    """Text for a grid that is coarser than the settings ask; empty if it is not."""
    if grid == wanted:
        return ""
    return f"; pixels of {grid.voxel_nm[0]:g} nm instead of {wanted.voxel_nm[0]:g} nm keep it in memory"


def _grids(path: Path, metadata: Mapping[str, Any], settings: RenderSettings) -> tuple[Grid, Grid]:
    """Grid of the Gaussian rendering, and grid of the network's voxels."""
    size_nm = field_nm(path, metadata)
    low, high = (float(depth) for depth in metadata_value(path, metadata, "depth_range_nm"))
    voxel_nm = tuple(float(size) for size in metadata_value(path, metadata, "voxel_nm"))
    if not high > low or min(*voxel_nm, *size_nm) <= 0:
        raise PlanelocError(
            f"{path}: the table's metadata are wrong: depths {low} to {high} nm, voxel {voxel_nm} nm; "
            "create the table again with `planeloc localize`"
        )
    fine_voxel = (settings.pixel_nm, settings.pixel_nm, (high - low) / settings.depth_slices)
    return Grid.cover(size_nm, (low, high), fine_voxel), Grid.cover(size_nm, (low, high), voxel_nm)
