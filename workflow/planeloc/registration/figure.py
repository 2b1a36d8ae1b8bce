"""The figure of a registration: where each camera's field lies on the reference, and the residual of every bead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from planeloc.core.arrays import Array
from planeloc.core.figure_style import FAINT, plane_colour, save_figure
from planeloc.registration.transform_fit import RegisteredPlane
from planeloc.transforms.camera_transform import Affine, Registration, TransformUncertainty
from planeloc.transforms.coverage import Coverage

_COLUMNS = 4
_NICE = (1, 2, 5)
_AROUND = 1.7  # inches for title, key and legend of a panel


def draw_registration(
    path: Path,
    registration: Registration,
    reference_name: str,
    reference_beads_px: Array,
    planes: Sequence[RegisteredPlane],
) -> None:
    """Write the figure as PNG: a panel of all fields, then one per camera but the reference, with the residual of every
    bead and the uncertainty of the transform over the field.

    Parameters
    ----------
    reference_beads_px : (beads, 2) x, y of all beads on the reference camera.
    planes : every camera but the reference.
    """
    shape, panels = registration.field_px, len(planes) + 1
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    height = 4.1 * min(max(shape[0] / shape[1], 0.6), 1.5)
    width = max(4.1 * columns, 9)
    figure = Figure(figsize=(width, (height + _AROUND) * rows + 0.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    grid = figure.add_gridspec(rows, columns)
    key_nm = _key_nm(planes, registration.pixel_size_nm)
    fields = figure.add_subplot(grid[0, 0])
    _draw_fields(fields, reference_name, reference_beads_px, planes, shape)
    _draw_common_field(fields, Coverage(registration, shape))
    for p, plane in enumerate(planes, start=1):
        _draw_residuals(figure.add_subplot(grid[p // columns, p % columns]), plane, p, registration, key_nm)
    note = "grey lines: standard deviation of the transform (nm)"
    figure.supxlabel(note, x=0.99, ha="right", fontsize=9, color=FAINT)
    save_figure(path, figure, "register", dpi=150)


def _draw_fields(
    axes: Axes, reference_name: str, beads_px: Array, planes: Sequence[RegisteredPlane], shape: tuple[int, int]
) -> None:
    """Beads of all cameras and the cameras' borders, on the reference; a dot marks each camera's pixel (0, 0)."""
    rows, columns = shape
    corners = ([0, 0], [columns, 0], [columns, rows], [0, rows], [0, 0])
    border = np.concatenate([np.linspace(start, stop, 20) for start, stop in pairwise(corners)])
    axes.plot(*beads_px.T, "o", ms=3, color="#bbbbbb", zorder=1)
    fields = [(reference_name, Affine.identity().inverse(), None)]
    fields += [(f"{p.name}: {p.orientation}", p.fit.transform.inverse(), p.camera_px) for p in planes]
    for p, (label, back, camera_px) in enumerate(fields):
        outline = back(border)
        axes.plot(*outline.T, color=plane_colour(p), lw=1.6, label=label, zorder=2)
        axes.plot(*outline[0], "o", color=plane_colour(p), ms=6, zorder=3, clip_on=False)
        if camera_px is not None:
            axes.plot(*back(camera_px).T, "o", ms=4 + 2.2 * p, mfc="none", mec=plane_colour(p), mew=1, zorder=4)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set(xlabel="x (px)", ylabel="y (px)")
    axes.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, frameon=False)


def _draw_common_field(axes: Axes, coverage: Coverage) -> None:
    """The part of the reference's field that all cameras see, shaded."""
    outline = coverage.common_outline_px()
    if len(outline):
        axes.fill(*outline.T, color="#000000", alpha=0.07, lw=0, zorder=0)
    share = f"{100 * coverage.common_share():.0f} %"
    axes.set_title(f"All fields on the reference (● pixel 0, 0)\nshaded: seen by all cameras, {share}", fontsize=10)


def _key_nm(planes: Sequence[RegisteredPlane], pixel_nm: float) -> float:
    """Length of the arrow in the key, the same for all cameras, so that their residuals can be compared."""
    lengths = [np.hypot(*plane.fit.residual_px[plane.fit.kept].T) for plane in planes]
    return _nice(float(np.percentile(np.concatenate(lengths), 60)) * pixel_nm) if lengths else 1.0


def _draw_residuals(
    axes: Axes, plane: RegisteredPlane, index: int, registration: Registration, reference_nm: float
) -> None:
    (rows, columns), pixel, fit = registration.field_px, registration.pixel_size_nm, plane.fit
    _draw_uncertainty(axes, fit.uncertainty, (rows, columns), pixel)
    residual_px = fit.residual_px[fit.kept]
    lengths = np.hypot(*residual_px.T)
    enlarged = 0.1 * columns / (reference_nm / pixel)  # the key spans a tenth of the field
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1 / enlarged, "width": 0.006}
    back = np.linalg.inv(fit.transform.jacobian(plane.reference_px))
    arrows = (back @ residual_px[..., None])[..., 0]
    tips = plane.reference_px + arrows * enlarged
    axes.quiver(*plane.reference_px.T, *arrows.T, color=plane_colour(index), zorder=3, **arrow)
    axes.plot(*plane.reference_px.T, "o", ms=3, color="#777777", zorder=2)
    look = {"arrowstyle": "-|>", "color": "#222222", "shrinkA": 0, "shrinkB": 0}
    low, high = np.minimum(tips.min(axis=0), 0) - 1, np.maximum(tips.max(axis=0), (columns, rows)) + 1
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xlabel="x (px)")
    axes.add_patch(Rectangle((0, 0), columns, rows, fill=False, edgecolor="#bbbbbb", linewidth=0.8, zorder=0))
    key = 0.1 * columns / (high[0] - low[0])
    axes.annotate("", (0.02 + key, -0.2), (0.02, -0.2), xycoords="axes fraction", arrowprops=look)
    text = f"{reference_nm:g} nm, residual of a bead"
    axes.text(0.05 + key, -0.2, text, transform=axes.transAxes, va="center", fontsize=9)
    axes.set_aspect("equal")
    rms, left_out = fit.residual_rms_px * pixel, fit.leave_one_out_rms_px * pixel
    axes.set_title(
        f"{plane.name}: {fit.transform.model} transform, {len(lengths)} beads\n"
        f"residual {rms:.1f} nm rms, leave-one-out {left_out:.1f} nm",
        fontsize=10,
    )


def _draw_uncertainty(axes: Axes, uncertainty: TransformUncertainty, shape: tuple[int, int], pixel: float) -> None:
    """Contours of the transform's standard deviation per axis, nm."""
    x, y = np.meshgrid(np.linspace(0, shape[1], 33), np.linspace(0, shape[0], 33))
    covariance = uncertainty.covariance_at(np.stack((x, y), axis=-1))
    sd_nm = np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 2) * pixel
    if sd_nm.max() > sd_nm.min():
        lines = axes.contour(x, y, sd_nm, levels=5, colors="#bbbbbb", linewidths=0.8, zorder=1)
        axes.clabel(lines, fmt=lambda level: f"{level:.2g}", fontsize=7.5, colors="#888888")


def _nice(value: float) -> float:
    """The closest 1, 2 or 5 times a power of ten that is not smaller."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next((n * power for n in _NICE if n * power >= value), 10 * power))
