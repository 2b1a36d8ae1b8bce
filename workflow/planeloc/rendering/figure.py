"""Depth-coloured pictures: black background, scale bar, colour bar, no interpolation between pixels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from planeloc.core.files import atomic_path
from planeloc.rendering.colours import SHORTEST_SIDE_PX, colour_map, sensible_size
from planeloc.rendering.grid import Grid

_DPI = 100


def write_picture(path: Path, picture: NDArray[np.uint8], grid: Grid, note: str, colours: str) -> None:
    """Write a picture (rows, columns, 3) with `note` below it, and the bar of the colour map `colours` beside it."""
    picture, pixel_nm = sensible_size(picture, grid.voxel_nm[0])
    height, width = picture.shape[:2]
    unit = max(SHORTEST_SIDE_PX, min(height, width)) / 40  # a line of text, in pixels
    right, bottom = round(6.5 * unit), round(2.2 * unit)
    total = (width + right, height + bottom)
    figure = Figure(figsize=(total[0] / _DPI, total[1] / _DPI), dpi=_DPI, facecolor="black")
    image = figure.add_axes((0, bottom / total[1], width / total[0], height / total[1]))
    image.imshow(picture, interpolation="none", aspect="auto", extent=(0, width, height, 0))
    image.set_axis_off()
    _scale_bar(image, width, height, pixel_nm, unit)
    bar_height = min(height - 4 * unit, 24 * unit)
    left, low = (width + 1.0 * unit) / total[0], (bottom + (height - bar_height) / 2) / total[1]
    bar = figure.add_axes((left, low, 0.9 * unit / total[0], bar_height / total[1]))
    _colour_bar(figure, bar, grid.depth_range_nm, colours, unit)
    points = 0.62 * unit * 72 / _DPI
    figure.text(0.5 * unit / total[0], 0.5 * bottom / total[1], note, color="0.65", fontsize=points, va="center")
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_png(
            partial, metadata={"Software": None}
        )  # pixel for pixel, whatever matplotlibrc says


def _scale_bar(axes: Axes, width: int, height: int, pixel_nm: float, unit: float) -> None:
    """A bar of about a sixth of the width, of 1, 2 or 5 times a power of ten, with its length."""
    length_nm = nice_length(width * pixel_nm / 6)
    length = length_nm / pixel_nm
    left, top = width - unit - length, height - 1.4 * unit
    axes.add_patch(Rectangle((left, top), length, 0.35 * unit, facecolor="white", edgecolor="black", linewidth=0.5))
    label = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
    style = {"color": "white", "ha": "center", "va": "bottom", "fontsize": 0.85 * unit * 72 / _DPI}
    text = axes.text(left + length / 2, top - 0.25 * unit, label, **style)
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
    bar.set_label("depth z (nm)", color="white", fontsize=0.8 * points)
