"""The `render` stage: from a table of localizations to pictures to look at and images to measure.

Two renderings of the same table:

- **depth**: each localization is a Gaussian as wide as its standard deviation, integrated over the pixels; brightness
  is the density of localizations, hue is depth;
- **voxels**: the network's voxels with localizations in several frames, coloured by depth (Fig. 12 of the paper).

Both are computed slice by slice, so that memory does not depend on the number of slices. The pixels of large fields are
a whole multiple of `pixel_nm`, in a picture sooner than in a stack; the picture then states its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
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
from planeloc.rendering.colours import ColourMixture, brightness, depth_colours, mean_of_blocks, reduction
from planeloc.rendering.figure import write_picture
from planeloc.rendering.gaussians import gaussian_slices
from planeloc.rendering.grid import Grid, count_frames
from planeloc.rendering.settings import RenderSettings

_LOG = logging.getLogger(__name__)

_LARGEST_IMAGE_PX = 100_000_000  # a picture is computed in memory, some 30 bytes per pixel
_LARGEST_STACK_BYTES = 4_000_000_000  # uncompressed, as Fiji holds it: 55 µm in 32 slices at 10 nm


def render(
    localizations_file: Path,
    depth_image: Path,
    voxel_image: Path,
    tiff: Path,
    voxel_tiff: Path,
    settings: RenderSettings,
) -> dict[str, float]:
    """Write both renderings, each as PNG to look at and as OME-TIFF to measure.

    Returns the lateral pixel size of each file, nm; it is larger than the settings ask where the field is too large,
    which is logged and, in a PNG, written below the picture. (Small PNGs are enlarged by repeating pixels.)

    Parameters
    ----------
    depth_image, voxel_image : PNG; the colour of `depth_image` is depth.
    tiff : z-stack of localizations per µm² (float32), over the depth range of the table.
    voxel_tiff : z-stack of frames per voxel (uint16), over the same range.

    Raises
    ------
    PlanelocError : the table cannot be read, or its metadata are incomplete or wrong.
    """
    check(settings)
    table, metadata = localization_table.read(localizations_file)
    fine, coarse = _grids(localizations_file, metadata, settings)
    drawn, stack = _render_density(table, metadata, fine, depth_image, tiff, settings)
    shown, counted = _render_voxels(table, coarse, voxel_image, voxel_tiff, settings)
    grids = {
        "depth_image": (depth_image, fine, drawn),
        "tiff": (tiff, fine, stack),
        "voxel_image": (voxel_image, coarse, shown),
        "voxel_tiff": (voxel_tiff, coarse, counted),
    }
    for path, wanted, grid in grids.values():
        if grid != wanted:
            _LOG.info(f"note: {path}: the field is large{_reduced(wanted, grid)}")
    return {f"{name}_pixel_nm": grid.voxel_nm[0] for name, (_, _, grid) in grids.items()}


def _render_density(
    table: pd.DataFrame, metadata: Mapping[str, Any], wanted: Grid, image: Path, tiff: Path, settings: RenderSettings
) -> tuple[Grid, Grid]:
    """Write the Gaussian rendering as picture and stack; returns the grids that both have in the end."""
    drawn = wanted.limited(_LARGEST_IMAGE_PX)
    stack = drawn.limited(_LARGEST_STACK_BYTES // (4 * drawn.shape[0]))
    binning = round(stack.voxel_nm[0] / drawn.voxel_nm[0])
    mixture = ColourMixture(drawn.shape[1:])
    colours = depth_colours(settings.colour_map, drawn.shape[0])
    density = mixture.pass_through(gaussian_slices(table, drawn, settings), colours)
    if binning > 1:
        density = (mean_of_blocks(_padded(slice_, binning), binning) for slice_ in density)
    text = f"localizations per square micrometre; {len(table)} localizations; "
    _write_stack(tiff, density, wanted, stack, "float32", "density of localizations", text)
    seen = drawn.coarsened(reduction(*drawn.shape[1:]))
    note = f"{len(table):,} localizations · {int(metadata.get('frames', 0)):,} frames{_own_pixels(wanted, seen)}"
    picture = mixture.picture(brightness(mixture.amount, settings.saturation_percent, settings.gamma))
    del mixture, density  # as large as what drawing the picture takes
    write_picture(image, picture, drawn, note, settings.colour_map)
    return seen, stack


def _render_voxels(
    table: pd.DataFrame, wanted: Grid, image: Path, tiff: Path, settings: RenderSettings
) -> tuple[Grid, Grid]:
    """Write the voxels as picture, all equally bright, and as stack; returns the grids that both have in the end."""
    shown = wanted.limited(_LARGEST_IMAGE_PX)
    counted = shown.limited(_LARGEST_STACK_BYTES // (2 * shown.shape[0]))
    slices = count_frames(table, counted).slices(counted)
    text = "number of frames in which the voxel holds a molecule; "
    _write_stack(tiff, slices, wanted, counted, "uint16", "frames per voxel", text)
    counts = count_frames(table, shown)
    kept = counts.voxels[counts.frames >= settings.minimum_frames]
    mixture = ColourMixture(shown.shape[1:])
    mixture.add_voxels(kept, shown.shape, depth_colours(settings.colour_map, shown.shape[0]))
    seen = shown.coarsened(reduction(*shown.shape[1:]))
    note = f"{len(kept):,} voxels that hold a molecule in at least {settings.minimum_frames} frames"
    note += _own_pixels(wanted, seen)
    picture = mixture.picture((mixture.amount > 0).astype(np.float32))
    write_picture(image, picture, shown, note, settings.colour_map)
    return seen, counted


def _write_stack(
    path: Path, slices: Iterable[NDArray], wanted: Grid, grid: Grid, dtype: str, name: str, text: str
) -> None:
    text += f"first slice at {grid.depths_nm[0]:g} nm{_reduced(wanted, grid)}"
    write_z_stack(path, slices, grid.shape, dtype, grid.voxel_nm, {"Name": name, "Description": text})


def _padded(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """The image with zeros beyond its edge, up to whole blocks of `factor` × `factor` pixels."""
    return np.pad(image, [(0, -size % factor) for size in image.shape])


def _reduced(wanted: Grid, grid: Grid) -> str:
    """Text for a grid that is coarser than the settings ask; empty if it is not."""
    if grid == wanted:
        return ""
    return f"; pixels of {grid.voxel_nm[0]:g} nm instead of {wanted.voxel_nm[0]:g} nm limit its size"


def _own_pixels(wanted: Grid, seen: Grid) -> str:
    """Text below a picture whose pixels are larger than the settings ask; empty if they are not."""
    return "" if seen == wanted else f" · pixels of {seen.voxel_nm[0]:g} nm"


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
