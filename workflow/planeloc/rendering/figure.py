"""Depth-coloured pictures: black background, scale bar, colour bar, no interpolation between pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from planeloc.core.files import atomic_path
from planeloc.rendering.grid import Grid

if TYPE_CHECKING:
    from planeloc.rendering.settings import RenderSettings  # which takes `COLOUR_MAPS` from here

COLOUR_MAPS = ("depth", "turbo", "viridis", "cividis")

# Every colour is bright on black, so that brightness shows the density alone. The steps from blue to yellow remain
# visible with the common colour deficiencies; those from yellow to red also differ in lightness.
_DEPTH = LinearSegmentedColormap.from_list("depth", ("#3f6bff", "#14c3ff", "#9df28b", "#ffd92e", "#ff8a1f", "#ff3b5c"))

_SHORTEST_SIDE_PX = 900  # small fields are enlarged by a whole factor,
_LONGEST_SIDE_PX = 4096  # large ones reduced by a whole factor
_DPI = 100
_LEAST_SHARE = 0.02  # pixels below this share of the brightest are halo, not structure


def colour_map(name: str) -> Colormap:
    """One of `COLOUR_MAPS`."""
    return _DEPTH if name == "depth" else matplotlib.colormaps[name]


def depth_colours(name: str, slices: int) -> NDArray[np.float32]:
    """Red, green, blue of every slice, (slices, 3)."""
    return colour_map(name)((np.arange(slices) + 0.5) / slices)[:, :3].astype(np.float32)


class ColourMixture:
    """Density and mean colour per pixel, summed slice by slice."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.amount = np.zeros(shape, dtype=np.float32)
        self._colour = np.zeros((*shape, 3), dtype=np.float32)

    def pass_through(
        self, slices: Iterable[NDArray[np.float32]], colours: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield `slices` unchanged, and add each to the mixture in its colour."""
        for image, colour in zip(slices, colours, strict=True):
            self.amount += image
            for channel in range(3):
                self._colour[..., channel] += image * colour[channel]
            yield image

    def add_voxels(self, voxels: NDArray[np.int64], shape: tuple[int, int, int], colours: NDArray[np.float32]) -> None:
        """Add 1 for each voxel in its colour; `voxels` are flat indices into `shape` (slices, rows, columns)."""
        index, pixel = np.divmod(voxels, shape[1] * shape[2])
        self.amount += np.bincount(pixel, minlength=self.amount.size).reshape(self.amount.shape)
        for channel in range(3):
            coloured = np.bincount(pixel, weights=colours[index, channel], minlength=self.amount.size)
            self._colour[..., channel] += coloured.reshape(self.amount.shape)

    def picture(self, brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The mean colour of each pixel at the given brightness (0 … 1), as (rows, columns, 3) bytes."""
        scale = brightness / np.maximum(self.amount, np.finfo(np.float32).tiny)
        return np.clip(np.rint(self._colour * scale[..., None] * 255), 0, 255).astype(np.uint8)


def brightness(amount: NDArray[np.float32], saturation_percent: float, gamma: float) -> NDArray[np.float32]:
    """Density → brightness (0 … 1): the densest pixels are cut off, the rest is raised to `gamma`."""
    peak = float(amount.max(initial=0.0))
    if peak <= 0:
        return np.zeros_like(amount)
    white = float(np.percentile(amount[amount > _LEAST_SHARE * peak], 100 - saturation_percent))
    return np.clip(amount / np.float32(white), 0, 1) ** np.float32(gamma)


def write_depth_picture(path: Path, mixture: ColourMixture, grid: Grid, note: str, settings: RenderSettings) -> None:
    """Write the Gaussian rendering: hue is depth, brightness the density of localizations."""
    picture = mixture.picture(brightness(mixture.amount, settings.saturation_percent, settings.gamma))
    _write(path, picture, grid, note, settings.colour_map)


def write_voxel_picture(path: Path, mixture: ColourMixture, grid: Grid, note: str, settings: RenderSettings) -> None:
    """Write the projection of the voxels, all equally bright; where depths overlap, in their mean colour."""
    picture = mixture.picture((mixture.amount > 0).astype(np.float32))
    _write(path, picture, grid, note, settings.colour_map)


def _write(path: Path, picture: NDArray[np.uint8], grid: Grid, note: str, colours: str) -> None:
    picture, pixel_nm = _sensible_size(picture, grid.voxel_nm[0])
    height, width = picture.shape[:2]
    unit = max(_SHORTEST_SIDE_PX, min(height, width)) / 40  # a line of text, in pixels
    right, bottom = round(6.5 * unit), round(2.2 * unit)
    figure = Figure(figsize=((width + right) / _DPI, (height + bottom) / _DPI), dpi=_DPI, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    total = (width + right, height + bottom)
    image = figure.add_axes((0, bottom / total[1], width / total[0], height / total[1]))
    image.imshow(picture, interpolation="none", aspect="auto", extent=(0, width, height, 0))
    image.set_axis_off()
    _scale_bar(image, width, height, pixel_nm, unit)
    bar_height = min(height - 4 * unit, 24 * unit)
    bar = figure.add_axes(
        (
            (width + 1.0 * unit) / total[0],
            (bottom + (height - bar_height) / 2) / total[1],
            0.9 * unit / total[0],
            bar_height / total[1],
        )
    )
    _colour_bar(figure, bar, grid.depth_range_nm, colours, unit)
    points = 0.62 * unit * 72 / _DPI
    figure.text(0.5 * unit / total[0], 0.5 * bottom / total[1], note, color="0.65", fontsize=points, va="center")
    with atomic_path(path) as partial:
        canvas.print_png(partial, metadata={"Software": None})


def _sensible_size(picture: NDArray[np.uint8], pixel_nm: float) -> tuple[NDArray[np.uint8], float]:
    """Enlarge or reduce by a whole factor, so that pixels stay square and equal."""
    factor = math.ceil(max(picture.shape[:2]) / _LONGEST_SIDE_PX)
    if factor > 1:
        rows, columns = (size // factor for size in picture.shape[:2])
        blocks = picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
        return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8), pixel_nm * factor
    factor = max(1, round(_SHORTEST_SIDE_PX / min(picture.shape[:2])))
    factor = max(1, min(factor, _LONGEST_SIDE_PX // max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1), pixel_nm / factor


def _scale_bar(axes: Axes, width: int, height: int, pixel_nm: float, unit: float) -> None:
    """A bar of about a sixth of the width, of 1, 2 or 5 times a power of ten, with its length."""
    length_nm = nice_length(width * pixel_nm / 6)
    length = length_nm / pixel_nm
    left, top = width - unit - length, height - 1.4 * unit
    axes.add_patch(Rectangle((left, top), length, 0.35 * unit, facecolor="white", edgecolor="black", linewidth=0.5))
    label = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
    text = axes.text(
        left + length / 2, top - 0.25 * unit, label, color="white", ha="center", va="bottom",
        fontsize=0.85 * unit * 72 / _DPI,
    )  # fmt: skip
    text.set_bbox({"facecolor": "black", "alpha": 0.4, "edgecolor": "none", "pad": 0.1 * unit})


def nice_length(about_nm: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above `about_nm`."""
    power = 10.0 ** math.floor(math.log10(about_nm))
    return max(step * power for step in (1, 2, 5) if step * power <= about_nm * (1 + 1e-9))


def _colour_bar(figure: Figure, axes: Axes, depth_range_nm: tuple[float, float], colours: str, unit: float) -> None:
    points = unit * 72 / _DPI
    mappable = ScalarMappable(Normalize(*depth_range_nm), colour_map(colours))
    bar = figure.colorbar(mappable, cax=axes)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors="white", labelsize=0.7 * points, length=0.25 * points, width=0.06 * points)
    bar.set_label("depth z [nm]", color="white", fontsize=0.8 * points)
