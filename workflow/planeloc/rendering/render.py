"""The `render` stage: from a table of localizations to pictures to look at and images to measure.

Two renderings of the same table:

- **depth**: each localization is a Gaussian as wide as its standard deviation, integrated over the pixels; brightness
  is the density of localizations, hue is depth; also from the sides, in slices, and with and without sample drift;
- **voxels**: the network's voxels with localizations in several frames, coloured by depth (Fig. 12 of the paper).

Both are computed slice by slice, so that memory does not depend on the number of slices. The pixels of large fields are
a whole multiple of `pixel_nm`, in a picture sooner than in a stack; the picture then states its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.image_blocks import mean_of_blocks
from planeloc.core.settings import check
from planeloc.io.localization_table import metadata_value, read_metadata
from planeloc.io.ome_tiff import write_z_stack
from planeloc.io.ome_zarr import write_pyramid
from planeloc.io.sample_drift import DRIFT, sample_drift_at
from planeloc.rendering.before_after import write_before_after
from planeloc.rendering.colouring import Colouring
from planeloc.rendering.colours import ColourMixture, brightness, depth_colours, reduction
from planeloc.rendering.display_blur import blur_note, display_blur_nm
from planeloc.rendering.figure import ColourBar, write_panels, write_picture
from planeloc.rendering.gaussians import gaussian_slices
from planeloc.rendering.grid import Grid, count_frames
from planeloc.rendering.layouts import Tone, montage, orthogonal, overview_pixel
from planeloc.rendering.scene import COLUMNS, Scene, read_rows, whole_field
from planeloc.rendering.settings import RenderSettings

_LOG = logging.getLogger(__name__)

_LARGEST_IMAGE_PX = 100_000_000  # a picture is computed in memory, some 30 bytes per pixel
_WHOLE_FIELD = 0.995  # share of it that is not outlined
_LARGEST_STACK_BYTES = 4_000_000_000  # uncompressed, as Fiji holds it: 55 µm in 32 slices at 10 nm


@dataclass(frozen=True)
class RenderedFiles:
    """Where the images go; those that are None are not made.

    depth_image, voxel_image : PNG; the colour of both is depth.
    tiff : z-stack of localizations per µm² (float32), over the depth range of the table.
    voxel_tiff : z-stack of frames per voxel (uint16), over the same range.
    zarr : the stack of `tiff` in several resolutions (folder).
    projections : PNG, from the objective and from two sides.
    slices : PNG, a montage of slices.
    drift_image : PNG, a part of the sample with and without the sample drift in `drift` (CSV of `correct-drift`).
    """

    depth_image: Path
    voxel_image: Path
    tiff: Path
    voxel_tiff: Path
    zarr: Path | None = None
    projections: Path | None = None
    slices: Path | None = None
    drift: Path | None = None
    drift_image: Path | None = None


def render(localizations_file: Path, files: RenderedFiles, settings: RenderSettings) -> dict[str, float]:
    """Write both renderings, each as PNG to look at and as OME-TIFF to measure.

    Returns the lateral pixel size of each file, nm; it is larger than the settings ask where the field is too large,
    which is logged and, in a PNG, written below the picture. (Small PNGs are enlarged by repeating pixels.)

    Raises
    ------
    PlanelocError : the table cannot be read, its metadata are incomplete or wrong, or the drift is of another sample.
    """
    check(settings)
    if (files.drift is None) != (files.drift_image is None):
        raise PlanelocError("--drift and --drift-image belong together; give both, or neither")
    metadata = read_metadata(localizations_file)[0]
    names = [name for name in COLUMNS if name != "photons"]
    table = read_rows(localizations_file, lambda rows: np.ones(len(rows["x"]), dtype=bool), names)
    fine, coarse = _grids(localizations_file, metadata, settings)
    drawn, stack = _render_density(table, metadata, fine, files, settings)
    shown, counted = _render_voxels(table, coarse, files.voxel_image, files.voxel_tiff, settings)
    grids = {
        "depth_image": (files.depth_image, fine, drawn),
        "tiff": (files.tiff, fine, stack),
        "voxel_image": (files.voxel_image, coarse, shown),
        "voxel_tiff": (files.voxel_tiff, coarse, counted),
    }
    for path, wanted, grid in grids.values():
        if grid != wanted:
            _LOG.info(f"note: {path}: the field is large{_reduced(wanted, grid)}")
    _overviews(localizations_file, table, metadata, files, settings)
    return {f"{name}_pixel_nm": grid.voxel_nm[0] for name, (_, _, grid) in grids.items()}


def _render_density(
    table: Mapping[str, NDArray],
    metadata: Mapping[str, Any],
    wanted: Grid,
    files: RenderedFiles,
    settings: RenderSettings,
) -> tuple[Grid, Grid]:
    """Write the Gaussian rendering as picture and stacks; returns the grids that picture and stack have in the end."""
    drawn = wanted.limited(_LARGEST_IMAGE_PX)
    stack = drawn.limited(_LARGEST_STACK_BYTES // (4 * drawn.shape[0]))
    binning = round(stack.voxel_nm[0] / drawn.voxel_nm[0])
    mixture = ColourMixture(drawn.shape[1:])
    colours = depth_colours(settings.colour_map, drawn.shape[0])
    density = mixture.pass_through(gaussian_slices(table, drawn, settings), colours)
    if binning > 1:
        density = (mean_of_blocks(_padded(slice_, binning), binning) for slice_ in density)
    text = f"localizations per square micrometre; {len(table['x'])} localizations; "
    if files.zarr is None:
        _write_stack(files.tiff, density, wanted, stack, "float32", "density of localizations", text)
    else:
        with write_pyramid(files.zarr, stack.shape, stack.voxel_nm, stack.corner_nm, "density of localizations") as add:
            both = _each(density, add)
            _write_stack(files.tiff, both, wanted, stack, "float32", "density of localizations", text)
    seen = drawn.coarsened(reduction(*drawn.shape[1:]))
    outline = _common_field_nm(metadata)
    dashed = "" if outline is None else " · dashed: field that all cameras see"
    blur_nm = display_blur_nm(table, settings, min(n * drawn.voxel_nm[0] for n in drawn.shape[1:]))
    mixture.blur(*(blur_nm / drawn.voxel_nm[0],) * 2)  # after the stacks are written
    note = _count(table, metadata) + _own_pixels(wanted, seen) + dashed + blur_note(blur_nm)
    picture = mixture.picture(brightness(mixture.amount, settings.saturation_percent, settings.gamma))
    del mixture, density  # as large as what drawing the picture takes
    write_picture(files.depth_image, picture, drawn.voxel_nm[0], note, _depth_bar(drawn, settings), outline)
    return seen, stack


def _common_field_nm(metadata: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """(n, 2) corners of the field that all cameras see; None where it is unknown or nearly the whole field."""
    coverage = metadata.get("coverage", {})
    corners = coverage.get("common_outline_nm")
    return np.array(corners) if corners and coverage["common_share"] < _WHOLE_FIELD else None


def _each(slices: Iterable[NDArray], use: Any) -> Iterator[NDArray]:
    for image in slices:
        use(image)
        yield image


def _render_voxels(
    table: Mapping[str, NDArray], wanted: Grid, image: Path, tiff: Path, settings: RenderSettings
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
    write_picture(image, picture, shown.voxel_nm[0], note, _depth_bar(shown, settings))
    return seen, counted


def _overviews(
    path: Path,
    table: Mapping[str, NDArray],
    metadata: Mapping[str, Any],
    files: RenderedFiles,
    settings: RenderSettings,
) -> None:
    """Write the views from the sides, the montage of slices, and the part with and without sample drift."""
    box = whole_field(path, metadata)
    scene = Scene(table, box, settings, open_depths=True)
    colouring = Colouring("depth", box["z"], settings.colour_map)
    tone = Tone(settings.saturation_percent, settings.gamma, colouring)
    bar = ColourBar(settings.colour_map, box["z"], colouring.label)
    pixel_nm = overview_pixel(scene, settings.pixel_nm)
    if files.projections:
        panels, remark = orthogonal(scene, pixel_nm, settings.z_stretch, colouring, tone)
        write_panels(files.projections, panels, _count(table, metadata) + remark, bar)
    if files.slices:
        panels, remark = montage(scene, settings.pixel_nm, settings.montage_slices, colouring, tone)
        write_panels(files.slices, panels, _count(table, metadata) + remark, bar, printed_columns=2)
    if files.drift and files.drift_image:
        drift = sample_drift_at(files.drift, DRIFT, table["frame"])
        write_before_after(files.drift_image, scene, drift, colouring, tone, bool(drift.any()))


def _count(table: Mapping[str, NDArray], metadata: Mapping[str, Any]) -> str:
    """Text below a picture: how much it shows."""
    what = "blinks" if "frames" in table else "localizations"
    return f"{len(table['x']):,} {what} · {int(metadata.get('frames', 0)):,} frames"


def _depth_bar(grid: Grid, settings: RenderSettings) -> ColourBar:
    return ColourBar(settings.colour_map, grid.depth_range_nm, "depth z (nm)")


def _write_stack(
    path: Path, slices: Iterable[NDArray], wanted: Grid, grid: Grid, dtype: str, name: str, text: str
) -> None:
    text += f"first slice at {grid.depths_nm[0]:g} nm{_reduced(wanted, grid)}"
    description = {"Name": name, "Description": text}
    write_z_stack(path, slices, grid.shape, dtype, grid.voxel_nm, description, grid.corner_nm)


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
    box = whole_field(path, metadata)
    size_nm, (low, high) = (box["x"][1], box["y"][1]), box["z"]
    voxel_nm = tuple(float(size) for size in metadata_value(path, metadata, "voxel_nm"))
    if min(voxel_nm) <= 0:
        raise PlanelocError(
            f"{path}: the table's metadata are wrong: voxel {voxel_nm} nm; create the table again with "
            "`planeloc localize`"
        )
    fine_voxel = (settings.pixel_nm, settings.pixel_nm, (high - low) / settings.depth_slices)
    return Grid.cover(size_nm, (low, high), fine_voxel), Grid.cover(size_nm, (low, high), voxel_nm)
