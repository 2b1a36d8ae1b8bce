"""The figure of a calibration: widths and defocus curves (the paper's Fig. 3), brightness; side views of the model, and
its relative residual on the beads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from planeloc.calibration.gaussian_model import PsfFit
from planeloc.calibration.scan_fit import CalibratedPSF
from planeloc.core.arrays import Array
from planeloc.core.figure_style import MODEL, plane_colour, save_figure
from planeloc.psf import PSF, Emitters, GaussianPSF

_INCHES = 12.0  # width of the figure
_MOST_SECTIONS = 6
_SECTION_HALF_NM = 800.0
_SECTION_STEP_NM = 20.0
_SECTION_BEYOND_NM = 600.0


def draw_calibration(path: Path, fit: PsfFit, calibrated: CalibratedPSF, values: Mapping[str, float]) -> None:
    """Write the figure as PNG."""
    psf, names = calibrated.psf, fit.names
    heights = (5.6, 4)
    figure = Figure(figsize=(_INCHES, sum(heights)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    grid = upper.add_gridspec(2, 2, width_ratios=(2.3, 1), height_ratios=(5, 1))
    _draw_widths(upper.add_subplot(grid[:, 0]), psf.gaussian, fit)
    _draw_brightness(upper.add_subplot(grid[0, 1]), psf.gaussian, names, calibrated.brightness_sd)
    summary = upper.add_subplot(grid[1, 1])
    summary.set_axis_off()
    summary.text(0, 1, _summary(values), transform=summary.transAxes, va="top", fontsize=10, linespacing=1.5)
    shown = min(psf.planes, _MOST_SECTIONS)
    grid = lower.add_gridspec(1, shown + 1, width_ratios=[1] * shown + [2.2])
    sections = [lower.add_subplot(grid[0, p]) for p in range(shown)]
    for p, axes in enumerate(sections):
        _draw_section(axes, psf, p, names[p])
    sections[0].set_ylabel("z of the emitter (nm)")
    for axes in sections[1:]:
        axes.set_yticklabels([])
    _draw_residual(lower.add_subplot(grid[0, shown]), calibrated)
    save_figure(path, figure, "calibrate", dpi=150)


def _draw_section(axes: Axes, psf: PSF, plane: int, name: str) -> None:
    """Side view of the model: photons along x through the emitter, against the emitter's depth."""
    low, high = min(psf.plane_depths_nm) - _SECTION_BEYOND_NM, max(psf.plane_depths_nm) + _SECTION_BEYOND_NM
    z = torch.linspace(low, high, 181, dtype=torch.float64)
    fine = torch.arange(-_SECTION_HALF_NM, _SECTION_HALF_NM + 1, _SECTION_STEP_NM, dtype=torch.float64)
    zz, xx = torch.meshgrid(z, fine, indexing="ij")
    # One pixel, and emitters to all sides of it.
    half = torch.full_like(zz, 0.5 * psf.pixel_size_nm)
    alone = psf.as_scan(plane, (0.0,))
    photons = alone.expected_photons(Emitters(half - xx, half, zz, torch.ones_like(zz)), (1, 1))[..., 0, 0, 0]
    extent = (-_SECTION_HALF_NM, _SECTION_HALF_NM, low, high)
    axes.imshow(photons.clamp(min=0).sqrt().numpy(), extent=extent, origin="lower", aspect="auto", cmap="magma")
    axes.axhline(psf.plane_depths_nm[plane], color="white", lw=0.8, ls=":")
    axes.set_title(name, fontsize=10, color=plane_colour(plane))
    axes.set_xlabel("x (nm)")
    axes.set_xticks([-500, 0, 500])


def _draw_residual(axes: Axes, calibrated: CalibratedPSF) -> None:
    for label, planes, style in (
        ("Gaussian", calibrated.of_gaussian, ":"),
        ("spline", calibrated.of_spline or (), "-"),
    ):
        for p, plane in enumerate(planes):
            axes.plot(plane.defocus_nm, 100 * plane.relative, style, color=plane_colour(p), lw=1.4)
        if planes:
            axes.plot([], [], style, color=MODEL, lw=1.4, label=label)
    axes.set(xlabel="defocus (nm)", ylabel="relative residual (%)", ylim=(0, 100))
    axes.set_title("Relative residual of the PSF fit on the beads", fontsize=10)
    axes.legend(frameon=False, fontsize=9, labelcolor="#333333")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_widths(axes: Axes, psf: GaussianPSF, fit: PsfFit) -> None:
    """Measured widths and the defocus curve of every plane; z is the bead's, as if it had been an emitter."""
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    half = span / 2 + max(span / (2 * (psf.planes - 1)), psf.focus_depth_nm)
    z = np.linspace(-half, half, 400)
    top = 0.0
    for p, (depth, depth_sd) in enumerate(zip(psf.plane_depths_nm, fit.depth_sd_nm, strict=True)):
        colour, mine = plane_colour(p), fit.plane_of == p
        used = fit.curve.used[mine]
        z_seen, width = depth - fit.curve.defocus_nm[mine][used], np.sqrt(fit.widths.squared_nm2[mine][used])
        curve = np.sqrt(psf.squared_width(depth - z))
        top = max(top, float(curve.max()))
        deviation = f" ± {depth_sd:.{0 if depth_sd >= 1 else 1}f}" if depth_sd >= 0.05 else ""
        label = f"{fit.names[p]}: focus " + f"{depth:+.0f}".replace("-", "−") + f"{deviation} nm"
        axes.plot(z, curve, color=colour, lw=2, label=label, zorder=3)
        axes.plot(z_seen, width, "o", ms=4, mfc="none", mec=colour, mew=0.9, alpha=0.55, zorder=2)
        axes.plot([depth, depth], [0, psf.waist_nm], color=colour, lw=1.2, ls=":", zorder=1)
        axes.plot(depth, 0, "^", color=colour, ms=9, clip_on=False, zorder=4)
    axes.set(xlim=(-half, half), ylim=(0, 1.1 * top), xlabel="z of the bead (nm)", ylabel="width of the spot, σ (nm)")
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


def _summary(values: Mapping[str, float]) -> str:
    return (
        f"w₀ = {values['waist_nm']:.1f} ± {values['waist_sd_nm']:.1f} nm,  "
        f"d = {values['focus_depth_nm']:.1f} ± {values['focus_depth_sd_nm']:.1f} nm\n"
        f"A = {values['asymmetry']:.3f}".replace("-", "−")
        + f" ± {values['asymmetry_sd']:.3f},  "
        f"B = {values['quartic']:.3f} ± {values['quartic_sd']:.3f}"
    )
