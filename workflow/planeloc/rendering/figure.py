"""Pictures for a slide or a paper: panels on black with scale bars and a colour bar, pixel for pixel.

The text is about 6 pt high where a picture of usual proportions is printed 85 mm wide, one column of a journal; that of
a figure with many panels, where it is printed across both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Polygon, Rectangle
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from planeloc.core import marks
from planeloc.core.files import atomic_path
from planeloc.rendering.colours import colour_map, sensible_size

_DPI = 100
_SLIM = 12  # lines of text that a picture is high at least
_TITLE, _BAR, _NOTE = 1.5, 1.6, 1.8  # lines of text: above panels with titles, of scale bars, of the note
_DOWN = 5.0  # the same, of a scale bar beside the picture
GAP_PX = 12  # between panels


@dataclass(frozen=True)
class Panel:
    """A picture (rows, columns, 3) and where it stands; pixel sizes to the right and downwards.

    `bars` are the axes along which it has a scale bar, below or to the right of it: "", "across", "down" or "across
    down". That to the right is of z. `outline` (n, 2) are the corners (x, y) of a polygon on it, in its pixels.
    """

    picture: NDArray[np.uint8]
    pixel_nm: tuple[float, float]
    left: int = 0
    top: int = 0
    title: str = ""
    bars: str = "across"
    outline: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ColourBar:
    """A colour map by name, the values at its ends, and what they are.

    With a `gamma`, colours are those of (value / highest)^gamma, as densities are drawn.
    """

    colours: str
    limits: tuple[float, float]
    label: str
    gamma: float = 1.0


def write_picture(
    path: Path,
    picture: NDArray[np.uint8],
    pixel_nm: float,
    note: str,
    bar: ColourBar | None,
    outline_nm: NDArray[np.float64] | None = None,
    verb: str = "render",
) -> None:
    """Write a picture (rows, columns, 3), in a size to look at, with `note` below it and a colour bar beside it.

    `outline_nm` (n, 2) are the corners of a polygon to draw, from the picture's corner.
    """
    picture, pixel_nm = sensible_size(picture, pixel_nm)
    outline = None if outline_nm is None else outline_nm / pixel_nm
    write_panels(path, [Panel(picture, (pixel_nm, pixel_nm), outline=outline)], note, bar, verb=verb)


def write_panels(
    path: Path,
    panels: Sequence[Panel],
    note: str,
    bar: ColourBar | None,
    printed_columns: int = 1,
    verb: str = "render",
) -> None:
    """Write panels, each pixel as it is, with titles, scale bars and `note` apart from them and a colour bar beside.

    `printed_columns` of a journal are the width at which the text is readable. `verb` is the command that writes them.
    """
    width = max(panel.left + panel.picture.shape[1] for panel in panels)
    height = max(panel.top + panel.picture.shape[0] for panel in panels)
    unit = max(width / 60, min(width / 28 / printed_columns, height / _SLIM))  # a line of text, in pixels
    panels, height = _below_titles(panels, height, round(_TITLE * unit))
    outside = any("down" in panel.bars and panel.left + panel.picture.shape[1] == width for panel in panels)
    margin = round(_DOWN * unit) if outside else 0
    right = margin + round((7 if bar else 0.5) * unit)
    bottom = round(_NOTE * unit) + round(_BAR * unit) * any("across" in panel.bars for panel in panels)
    total = (width + right, height + bottom)
    titles = [_fitting(panel.title, 0.85 * unit, panel.picture.shape[1] - 0.6 * unit) for panel in panels]
    figure = Figure(figsize=(total[0] / _DPI, total[1] / _DPI), dpi=_DPI, facecolor="black")
    for panel in panels:
        rows, columns = panel.picture.shape[:2]
        place = (panel.left, total[1] - panel.top - rows, columns, rows)
        axes = figure.add_axes(tuple(value / total[number % 2] for number, value in enumerate(place)))
        axes.imshow(panel.picture, interpolation="none", aspect="auto", extent=(0, columns, rows, 0))
        axes.set_axis_off()
        if len(panels) > 1:
            frame = {"fill": False, "edgecolor": "0.3", "linewidth": 0.06 * _points(unit), "clip_on": False}
            axes.add_patch(Rectangle((0, 0), columns, rows, **frame))
        if panel.outline is not None and len(panel.outline):
            line = {"fill": False, "edgecolor": "0.55", "linestyle": (0, (4, 3)), "linewidth": 0.05 * _points(unit)}
            axes.add_patch(Polygon(panel.outline, closed=True, clip_on=True, **line))
        _annotate(axes, panel, unit, min(titles))
    left = width + margin
    if bar:
        bar_height = min(max(height - 4 * unit, 0.7 * height), 24 * unit)
        left, low = (left + 1.0 * unit) / total[0], (bottom + (height - bar_height) / 2) / total[1]
        place = (left, low, 0.9 * unit / total[0], bar_height / total[1])
        _colour_bar(figure, figure.add_axes(place), bar, unit, bar_height / unit)
    size = _fitting(note, 0.75 * unit, total[0] - unit)
    style = {"color": "0.75", "fontsize": _points(size), "va": "center"}
    figure.text(0.5 * unit / total[0], 0.5 * _NOTE * unit / total[1], note, **style)
    with atomic_path(path, marks.figure(verb)) as partial:
        # pixel for pixel, whatever matplotlibrc says
        FigureCanvasAgg(figure).print_png(partial, metadata={"Software": marks.software(verb)})


def _below_titles(panels: Sequence[Panel], height: int, strip: int) -> tuple[Sequence[Panel], int]:
    """The panels and their height with a strip above every row of panels, if there are titles."""
    if not any(panel.title for panel in panels):
        return panels, height
    tops = sorted({panel.top for panel in panels})
    moved = [replace(panel, top=panel.top + strip * (tops.index(panel.top) + 1)) for panel in panels]
    return moved, height + strip * len(tops)


def _points(pixels: float) -> float:
    return pixels * 72 / _DPI


def _fitting(text: str, size: float, room: float) -> float:
    """The font size, in pixels, with which a text is not wider than `room`; at most `size`."""
    width = TextToPath().get_text_width_height_descent(text or " ", FontProperties(size=size), ismath=False)[0]
    return size * min(1.0, room / max(width, 1e-9))


def _annotate(axes: Axes, panel: Panel, unit: float, title_px: float) -> None:
    """Title of a panel above it, scale bars below and to the right of it."""
    rows, columns = panel.picture.shape[:2]
    text = {"color": "white", "fontsize": _points(title_px)}
    if panel.title:
        axes.text(0.3 * unit, -0.35 * unit, panel.title, va="bottom", **text)
    bar = {"facecolor": "white", "edgecolor": "none", "clip_on": False}
    text |= {"fontsize": _points(0.95 * unit), "va": "center"}
    if "across" in panel.bars:
        length_nm = nice_length(max(columns / 6, min(columns / 2.5, 4 * unit)) * panel.pixel_nm[0])
        length = length_nm / panel.pixel_nm[0]
        left, top = columns - 0.3 * unit - length, rows + 0.7 * unit
        axes.add_patch(Rectangle((left, top), length, 0.35 * unit, **bar))
        axes.text(left - 0.4 * unit, top + 0.175 * unit, length_label(length_nm), ha="right", **text)
    if "down" in panel.bars:
        length_nm = nice_length(rows * panel.pixel_nm[1] / 2.5)
        length = length_nm / panel.pixel_nm[1]
        axes.add_patch(Rectangle((columns + 0.6 * unit, (rows - length) / 2), 0.35 * unit, length, **bar))
        axes.text(columns + 1.25 * unit, rows / 2, f"{length_label(length_nm)}\nin z", ha="left", **text)


def length_label(length_nm: float) -> str:
    """A length with its unit."""
    return f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"


def nice_length(about_nm: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above `about_nm`."""
    power = 10.0 ** math.floor(math.log10(about_nm))
    return max(step * power for step in (1, 2, 5) if step * power <= about_nm * (1 + 1e-9))


def _colour_bar(figure: Figure, axes: Axes, bar: ColourBar, unit: float, lines: float) -> None:
    points = _points(unit)
    norm = Normalize(*bar.limits) if bar.gamma == 1 else PowerNorm(bar.gamma, *bar.limits)
    drawn = figure.colorbar(ScalarMappable(norm, colour_map(bar.colours)), cax=axes)
    drawn.outline.set_visible(False)
    drawn.ax.yaxis.set_major_locator(MaxNLocator(max(2, min(9, int(lines / 2.2))), steps=[1, 2, 5, 10]))
    drawn.ax.tick_params(colors="white", labelsize=0.85 * points, length=0.25 * points, width=0.06 * points)
    size = _fitting(bar.label, 0.9 * unit, lines * unit)
    drawn.set_label(bar.label, color="white", fontsize=_points(size), labelpad=0.4 * points)
