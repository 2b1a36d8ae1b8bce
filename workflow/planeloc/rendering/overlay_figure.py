"""The figure of raw frames with localizations: a row per frame, a column per camera, and the mean spots below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from planeloc.cameras.microscope import Microscope
from planeloc.core.figure_style import save_figure
from planeloc.core.quality_labels import number
from planeloc.rendering.colours import colour_map
from planeloc.rendering.figure import length_label, nice_length
from planeloc.rendering.mean_spot import REACH_PX, MeanSpot

if TYPE_CHECKING:
    from planeloc.rendering.overlay import Panel

_WIDTH_INCH = 13.0
_DPI = 150
_RADIUS_PX = 2.6  # of a circle: outside the spot, which stays visible
_DARK, _BRIGHT = 1.0, 99.7  # percentiles of the pixels drawn black and white; one hot pixel darkens nothing
_FAINT = 0.85  # opacity of a circle on the planes where its molecule is out of focus


def write_overlay(
    path: Path,
    rows: Sequence[Sequence[Panel]],
    spots: Sequence[MeanSpot],
    frames: Sequence[int],
    counts: Sequence[int],
    microscope: Microscope,
    depths_nm: NDArray[np.float64],
    colours: str,
) -> None:
    """Draw the frames (rows) on all cameras (columns), and the mean spot of every camera.

    Parameters
    ----------
    rows : panels of every frame, one per plane.
    spots : one per plane.
    frames, counts : number of every frame, and of the localizations in it.
    """
    planes, beyond = len(depths_nm), 0.15 * float(np.ptp(depths_nm) or 400.0)
    scale = ScalarMappable(
        Normalize(float(depths_nm.min()) - beyond, float(depths_nm.max()) + beyond), colour_map(colours)
    )
    side = (_WIDTH_INCH - 1.6) / planes
    shape = np.max([panel.photons.shape for panels in rows for panel in panels], axis=0)  # of all panels
    heights = [*[min(side * shape[0] / shape[1], 2 * side) + 0.15] * len(rows), 0.62 * side + 0.65]
    figure = Figure(figsize=(_WIDTH_INCH, sum(heights) + 0.75), dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(rows) + 1, planes, squeeze=False, height_ratios=heights)
    limits = [
        np.percentile(np.concatenate([row[p].photons.ravel() for row in rows]), (_DARK, _BRIGHT)) for p in range(planes)
    ]
    for row, (panels, frame, count) in enumerate(zip(rows, frames, counts, strict=True)):
        for plane, panel in enumerate(panels):
            _draw_frame(axes[row, plane], panel, limits[plane], scale, shape)
        axes[row, 0].set_ylabel(f"frame {frame:,}\n{count:,} localization{'' if count == 1 else 's'}", fontsize=11)
    _scale_bar(axes[0, 0], microscope.pixel_size_nm)
    for plane, camera in enumerate(microscope.cameras):
        axes[0, plane].set_title(f"{camera.name}, focus at {number(depths_nm[plane])} nm", fontsize=11)
        _draw_spot(axes[-1, plane], spots[plane], microscope.pixel_size_nm)
    axes[-1, 0].set_ylabel("mean image of isolated\nmolecules in focus", fontsize=11)
    figure.suptitle("Raw frames with localizations, drawn through the transforms onto every camera", fontsize=13)
    bar = figure.colorbar(scale, ax=axes[: len(rows)], fraction=0.03, pad=0.01, shrink=0.8)
    bar.set_label("depth z (nm)")
    save_figure(path, figure, "overlay")


def _draw_frame(
    axes: Axes, panel: Panel, limits: NDArray[np.float64], scale: ScalarMappable, shape: NDArray[np.int64]
) -> None:
    """Draw a frame on one camera, in a panel of `shape` (rows, columns): fields of cameras differ at their edges."""
    rows, columns = panel.photons.shape
    left, top = panel.origin_px
    extent = (left, left + columns, top + rows, top)
    axes.imshow(
        panel.photons,
        cmap="gray",
        vmin=limits[0],
        vmax=max(limits[1], limits[0] + 1),
        extent=extent,
        interpolation="none",
    )
    for (x, y), depth, sharp in zip(panel.points_px, panel.depth_nm, panel.sharp, strict=True):
        style = {"linewidth": 2.2 if sharp else 1.2, "alpha": 1.0 if sharp else _FAINT}
        turn = np.linspace(0, 2 * np.pi, 49)
        axes.plot(x + _RADIUS_PX * np.cos(turn), y + _RADIUS_PX * np.sin(turn), color=scale.to_rgba(depth), **style)
    x, y = left - (shape[1] - columns) / 2, top - (shape[0] - rows) / 2
    axes.set(xlim=(x, x + shape[1]), ylim=(y + shape[0], y), xticks=[], yticks=[], facecolor="black")


def _scale_bar(axes: Axes, pixel_nm: float) -> None:
    left, right = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    length_nm = nice_length((right - left) * pixel_nm / 4)
    length, unit = length_nm / pixel_nm, (right - left) / 40
    corner = (right - unit - length, bottom - 1.8 * unit)
    axes.add_patch(Rectangle(corner, length, 0.6 * unit, facecolor="white", edgecolor="black", linewidth=0.6))
    style = {"color": "white", "ha": "center", "va": "bottom"}
    text = axes.text(corner[0] + length / 2, corner[1] - 0.4 * unit, length_label(length_nm), **style)
    text.set_bbox({"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 1.0})


def _draw_spot(axes: Axes, spot: MeanSpot, pixel_nm: float) -> None:
    """The mean image, a cross where the molecules should be, and the distance between both."""
    axes.set(xticks=[], yticks=[], xlim=(-REACH_PX, REACH_PX), ylim=(REACH_PX, -REACH_PX), aspect="equal")
    if spot.photons is None:
        axes.text(0, 0, f"{spot.molecules} molecules:\ntoo few", ha="center", va="center", color="#4d4d4d")
        return
    reach = REACH_PX
    axes.imshow(spot.photons, cmap="gray", extent=(-reach, reach, reach, -reach), interpolation="none")
    for inner, outer in ((0.45, 1.0), (-0.45, -1.0)):
        axes.plot([inner * reach, outer * reach], [0, 0], color="#56b4e9", linewidth=1)
        axes.plot([0, 0], [inner * reach, outer * reach], color="#56b4e9", linewidth=1)
    text = f"{spot.molecules:,} molecules"
    if spot.offset_px and spot.offset_sd_px:
        x, y = (pixel_nm * along for along in spot.offset_px)
        sd = pixel_nm * max(spot.offset_sd_px)
        text += f"\noffset {_signed(x)}, {_signed(y)} nm (± {sd:.1f})"
    axes.set_xlabel(text, fontsize=10)


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")
