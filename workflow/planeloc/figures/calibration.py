"""The figure of a calibration: widths and defocus curves (the paper's Fig. 3), brightness, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planeloc.files import atomic_path
from planeloc.optics import GaussianPSF
from planeloc.quality import Check

Array = NDArray[np.float64]

VERDICT_COLOURS = {"pass": "#2a7f3f", "warn": "#b36b00", "fail": "#b3261e"}
_PLANE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#666666")
_GREY = "#555555"


def plane_colour(plane: int) -> str:
    """The colour of a plane in every figure (Okabe and Ito's, told apart by colour-blind eyes)."""
    return _PLANE_COLOURS[plane % len(_PLANE_COLOURS)]


def draw_calibration(
    path: Path,
    psf: GaussianPSF,
    measured: Sequence[tuple[Array, Array]],
    names: Sequence[str],
    brightness_sd: Array,
    depth_sd_nm: Array,
    values: Mapping[str, float],
    checks: Sequence[Check],
) -> None:
    """Write the figure as PNG; `measured` holds (z, width) in nm of every measurement, for each plane."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(2.3, 1), height_ratios=(1, 1.5))
    _draw_widths(figure.add_subplot(grid[:, 0]), psf, measured, names, depth_sd_nm)
    _draw_brightness(figure.add_subplot(grid[0, 1]), psf, names, brightness_sd)
    draw_checks(figure.add_subplot(grid[1, 1]), _summary(values), checks)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150)


def _draw_widths(
    axes: Axes, psf: GaussianPSF, measured: Sequence[tuple[Array, Array]], names: Sequence[str], depth_sd: Array
) -> None:
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    half = span / 2 + max(span / (2 * (psf.planes - 1)), psf.focus_depth_nm)
    z = np.linspace(-half, half, 400)
    top = 0.0
    for p, (depth, (z_seen, width)) in enumerate(zip(psf.plane_depths_nm, measured, strict=True)):
        colour = plane_colour(p)
        curve = np.sqrt(psf.squared_width(depth - z))
        top = max(top, float(curve.max()))
        deviation = f" ± {depth_sd[p]:.0f}" if depth_sd[p] >= 0.5 else ""
        label = f"{names[p]}: focus " + f"{depth:+.0f}".replace("-", "−") + f"{deviation} nm"
        axes.plot(z, curve, color=colour, lw=2, label=label, zorder=3)
        axes.plot(z_seen, width, "o", ms=4, mfc="none", mec=colour, mew=0.9, alpha=0.55, zorder=2)
        axes.plot([depth, depth], [0, psf.waist_nm], color=colour, lw=1.2, ls=":", zorder=1)
        axes.plot(depth, 0, "^", color=colour, ms=9, clip_on=False, zorder=4)
    axes.set(xlim=(-half, half), ylim=(0, 1.1 * top), xlabel="z of the bead (nm)", ylabel="width of the spot, √w (nm)")
    axes.set_title("Width of a bead on every plane: measured (circles), defocus curve (lines), focus (▲)", fontsize=11)
    axes.legend(frameon=False, loc="upper center", ncols=2, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_brightness(axes: Axes, psf: GaussianPSF, names: Sequence[str], deviation: Array) -> None:
    planes = np.arange(psf.planes)
    share = 100 * np.array(psf.brightness)
    colours = [plane_colour(p) for p in planes]
    axes.barh(planes, share, color=colours, height=0.65, xerr=100 * deviation, ecolor="#222222")
    for p in planes:
        axes.text(0.3, p, f" {share[p]:.1f} %", va="center", color="white", fontweight="bold", fontsize=9)
    axes.set_yticks(planes, names)
    axes.invert_yaxis()
    axes.set_xlabel("share of a molecule's photons (%)")
    axes.set_title("Relative brightness", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def draw_checks(axes: Axes, summary: str, checks: Sequence[Check]) -> None:
    """A panel of text: the main numbers, then every check in the colour of its verdict."""
    axes.set_axis_off()
    axes.text(0, 1, summary, transform=axes.transAxes, va="top", fontsize=10, linespacing=1.5)
    top = 1 - 0.085 * (summary.count("\n") + 1) - 0.05
    step = min(0.08, top / max(len(checks), 1))
    for i, check in enumerate(checks):
        y = top - i * step
        colour = VERDICT_COLOURS[check.verdict]
        axes.text(0, y, check.verdict, transform=axes.transAxes, va="top", color=colour, fontweight="bold", fontsize=9)
        axes.text(0.13, y, check.name.replace("_", " "), transform=axes.transAxes, va="top", fontsize=9, color=_GREY)
        axes.text(1, y, f"{check.value:.3g}", transform=axes.transAxes, va="top", ha="right", fontsize=9, color=_GREY)


def _summary(values: Mapping[str, float]) -> str:
    return (
        f"w₀ = {values['waist_nm']:.1f} ± {values['waist_sd_nm']:.1f} nm,  "
        f"d = {values['focus_depth_nm']:.1f} ± {values['focus_depth_sd_nm']:.1f} nm\n"
        f"A = {values['asymmetry']:.3f}".replace("-", "−")
        + f" ± {values['asymmetry_sd']:.3f},  "
        f"B = {values['quartic']:.3f} ± {values['quartic_sd']:.3f}"
    )
