"""The figure of a registration: where each camera's field lies on the reference, and the residual of every bead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planeloc.figures.calibration import VERDICT_COLOURS, plane_colour
from planeloc.files import atomic_path
from planeloc.geometry import Affine
from planeloc.quality import Check

Array = NDArray[np.float64]

_COLUMNS = 4
_NICE = (1, 2, 5)


@dataclass(frozen=True)
class RegisteredPlane:
    """A camera's map from the reference and the beads that it rests on, in px."""

    name: str
    affine: Affine
    reference_px: Array  # (n, 2) x, y on the reference
    camera_px: Array  # (n, 2) the same beads on the camera
    residual_px: Array  # (n, 2) camera_px minus mapped reference_px
    residual_rms_px: float
    left_out_rms_px: float
    rival: float  # score of the second-best match over the best
    compared: int  # beads that both cameras see clearly on a common slice


def draw_registration(
    path: Path, planes: Sequence[RegisteredPlane], shape: tuple[int, int], pixel_size_nm: float, checks: Sequence[Check]
) -> None:
    """Write the figure as PNG: a panel of all fields, then one of residual vectors per camera but the reference."""
    panels = len(planes)
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    height = 4.1 * min(max(shape[0] / shape[1], 0.6), 1.5)
    figure = Figure(figsize=(max(4.1 * columns, 9), height * rows + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[height] * rows + [1.0])
    _draw_fields(figure.add_subplot(grid[0, 0]), planes, shape)
    for p, plane in enumerate(planes[1:], start=1):
        _draw_residuals(figure.add_subplot(grid[p // columns, p % columns]), plane, p, shape, pixel_size_nm)
    _draw_checks(figure.add_subplot(grid[rows, :]), checks)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150)


def _draw_fields(axes: Axes, planes: Sequence[RegisteredPlane], shape: tuple[int, int]) -> None:
    """Beads of all cameras and the cameras' borders, on the reference; a dot marks each camera's pixel (0, 0)."""
    rows, columns = shape
    border = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows], [0, 0]], dtype=float)
    axes.plot(*planes[0].reference_px.T, "o", ms=3, color="#bbbbbb", zorder=1)
    for p, plane in enumerate(planes):
        back = plane.affine.inverse()
        outline = back(border)
        label = plane.name + (" (mirrored)" if plane.affine.mirrored else "")
        axes.plot(*outline.T, color=plane_colour(p), lw=1.6, label=label, zorder=2)
        axes.plot(*outline[0], "o", color=plane_colour(p), ms=6, zorder=3, clip_on=False)
        if p:
            axes.plot(*back(plane.camera_px).T, "o", ms=4 + 2.2 * p, mfc="none", mec=plane_colour(p), mew=1, zorder=4)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set(xlabel="x (px)", ylabel="y (px)")
    axes.set_title("All fields on the reference (● pixel 0, 0)", fontsize=10)
    axes.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)


def _draw_residuals(axes: Axes, plane: RegisteredPlane, index: int, shape: tuple[int, int], pixel: float) -> None:
    rows, columns = shape
    lengths = np.hypot(*plane.residual_px.T)
    reference_nm = _nice(float(np.percentile(lengths, 60)) * pixel)
    enlarged = 0.1 * columns / (reference_nm / pixel)  # the key spans a tenth of the field
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1 / enlarged, "width": 0.006}
    back = np.linalg.inv(plane.affine.matrix)
    axes.quiver(*plane.reference_px.T, *(plane.residual_px @ back.T).T, color=plane_colour(index), zorder=3, **arrow)
    axes.plot(*plane.reference_px.T, "o", ms=3, color="#777777", zorder=2)
    look = {"arrowstyle": "-|>", "color": "#222222", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (0.12, -0.17), (0.02, -0.17), xycoords="axes fraction", arrowprops=look)
    axes.text(0.14, -0.17, f"{reference_nm:g} nm", transform=axes.transAxes, va="center", fontsize=9)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_aspect("equal")
    rms, left_out = plane.residual_rms_px * pixel, plane.left_out_rms_px * pixel
    axes.set_title(
        f"{plane.name}: {len(lengths)} beads, residual {rms:.1f} nm rms\n"
        f"({plane.residual_rms_px:.3f} px; leave-one-out {left_out:.1f} nm)",
        fontsize=10,
    )


def _draw_checks(axes: Axes, checks: Sequence[Check]) -> None:
    axes.set_axis_off()
    for i, check in enumerate(checks):
        x = i / len(checks)
        axes.text(x, 0.62, check.verdict, color=VERDICT_COLOURS[check.verdict], fontweight="bold", fontsize=10)
        axes.text(x, 0.25, f"{check.name.replace('_', ' ')}: {check.value:.3g}", fontsize=9, color="#555555")


def _nice(value: float) -> float:
    """The closest 1, 2 or 5 times a power of ten that is not smaller."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next((n * power for n in _NICE if n * power >= value), 10 * power))
