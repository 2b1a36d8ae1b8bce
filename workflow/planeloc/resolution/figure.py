"""Figure of the resolution: correlations with their threshold, precision from neighbouring frames, and depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from planeloc.core.figure_style import AXIAL, FAINT, LATERAL, MEASURED, MODEL, save_figure
from planeloc.core.quality_labels import quantity
from planeloc.resolution.neighbouring_frames import Precision
from planeloc.resolution.quality import limit_of, precision_fwhm_nm
from planeloc.resolution.results import Measured
from planeloc.resolution.ring_sums import THRESHOLD

_WIDTH, _HEIGHT, _DPI = 11.5, 7.6, 150
_LIMITS = {"density": "limited by density", "precision": "limited by precision"}
_PLANAR = (  # name of the sums, colour, dashes, label
    ("xy", LATERAL, "-", "molecules, random halves"),
    ("time", MODEL, "--", "molecules, 1st against 2nd half of the movie"),
    ("unlinked", FAINT, "-.", "before linking, by blocks of time"),
    ("naive", FAINT, ":", "before linking, random: counts blinks twice"),
)
_SOLID = (
    ("3d", MODEL, "-", "all directions (FSC)"),
    ("axial", AXIAL, "-", "along z (30° cone)"),
    ("xz", FAINT, "--", "xz projection"),
    ("yz", FAINT, ":", "yz projection"),
)


def write_resolution(path: Path, measured: Measured, values: Mapping[str, float]) -> None:
    """Draw correlations in the plane and in 3D, distances in neighbouring frames, resolution against depth.

    Parameters
    ----------
    values : quality values, for the title.
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
    figure.suptitle(_title(values), fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(2, 2)
    _correlations(figure.add_subplot(grid[0, 0]), measured, _PLANAR, "a  resolution in x and y")
    _correlations(figure.add_subplot(grid[0, 1]), measured, _SOLID, "b  resolution in 3D")
    pair = grid[1, 0].subgridspec(1, 2)
    lateral, axial = (figure.add_subplot(place) for place in pair)
    _distances(lateral, measured, values, "lateral", LATERAL)
    lateral.set_title("c  precision, from neighbouring frames", loc="left", fontsize=10)
    _distances(axial, measured, values, "axial", AXIAL)
    _depth(figure.add_subplot(grid[1, 1]), measured)
    save_figure(path, figure, "measure-resolution")


def _title(values: Mapping[str, float]) -> str:
    if not math.isfinite(values["frc_nm"]):
        return f"resolution: cannot be told from {values['molecules']:,.0f} molecules"
    parts = [f"resolution {_nm(values['frc_nm'])} in x and y"]
    if math.isfinite(values["fsc_nm"]):
        parts.append(f"{_nm(values['fsc_nm'])} in 3D")
    if not values["rows_are_blinks"]:
        return ", ".join(parts) + "; too small, since the table is not linked"
    limit = limit_of(values)
    return ", ".join(parts) + (f"; {_LIMITS[limit]}" if limit in _LIMITS else "")


def _nm(value: float) -> str:
    return quantity("frc_nm", value)


def _correlations(axes: Axes, measured: Measured, lines: Sequence[tuple[str, str, str, str]], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("spatial frequency (1/µm)")
    axes.set_ylabel("correlation of the halves")
    drawn = [line for line in lines if line[0] in measured.sums]
    if not drawn:
        axes.text(0.5, 0.5, "cannot be told", transform=axes.transAxes, ha="center", color=FAINT)
        return
    found = [measured.resolutions[name].nm for name, *_ in drawn]
    known = [nm for nm in found if math.isfinite(nm)]
    for (name, colour, style, label), nm in zip(drawn, found, strict=True):
        sums = measured.sums[name]
        text = f"{label}: {_nm(nm) if math.isfinite(nm) else 'cannot be told'}"
        axes.plot(1000 * sums.frequency[2:], sums.correlation[2:], style, color=colour, linewidth=1.4, label=text)
        if math.isfinite(nm):
            axes.plot(1000 / nm, THRESHOLD, "o", color=colour, markersize=5)
    axes.axhline(THRESHOLD, color="black", linewidth=0.7, linestyle=(0, (4, 3)))
    farthest = 1000 * measured.sums[drawn[0][0]].frequency[-1]
    right = min(2.2 * 1000 / min(known), farthest) if known else farthest
    axes.set_xlim(0, right)
    axes.set_ylim(-0.1, 1.05)
    axes.text(right, THRESHOLD + 0.015, "1/7", ha="right", fontsize=8)
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def _distances(axes: Axes, measured: Measured, values: Mapping[str, float], direction: str, colour: str) -> None:
    found: Precision = measured.nena[direction]
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("distance in x, y (nm)" if direction == "lateral" else "distance in z (nm)")
    if direction == "lateral":
        axes.set_ylabel("pairs of localizations")
    middle = (found.edges[1:] + found.edges[:-1]) / 2
    axes.stairs(found.counts, found.edges, fill=True, color=MEASURED)
    if math.isfinite(found.value):
        axes.plot(middle, found.fit, color=colour, linewidth=1.5, label=f"fit, rms of all: {_nm(found.value)}")
        axes.plot(middle, found.background, color=MODEL, linewidth=0.9, linestyle=":", label="other molecules")
        ratio = values[f"precision_ratio_{direction}"]
        if math.isfinite(ratio):
            axes.plot([], [], " ", label=f"measured / stated: {ratio:.2f}")
        axes.legend(loc="upper right", frameon=False, fontsize=8)
        axes.set_xlim(0, min(found.edges[-1], 9 * found.value))
    else:
        axes.text(0.5, 0.8, "cannot be told", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_xlim(0, found.edges[-1])
    axes.set_ylim(0, 1.5 * max(found.counts.max(), 1))  # room for the legend


def _depth(axes: Axes, measured: Measured) -> None:
    axes.set_title("d  resolution against depth, in x and y", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("depth z (nm)")
    axes.set_ylabel("resolution (nm)")
    slices = measured.slices
    # a slice's molecules are as precise as its pairs of frames say, relative to what the table states
    precision = [precision_fwhm_nm(each.stated[0], each.ratio[0], measured.enlarged) for each in slices]
    depth = np.array([(each.low_nm + each.high_nm) / 2 for each in slices])
    frc, sd = np.array([each.frc.nm for each in slices]), np.array([each.frc.sd_nm for each in slices])
    axes.errorbar(
        depth, frc, np.nan_to_num(sd), fmt="o-", color=LATERAL, markersize=5, capsize=3, label="measured (FRC)"
    )
    axes.plot(depth, precision, "s--", color=FAINT, markersize=4, label="precision, FWHM")
    nyquist = [each.spacing.nyquist_nm for each in slices]
    axes.plot(depth, nyquist, "^:", color=MODEL, markersize=5, label="density, Nyquist")
    unknown = [each for each in slices if not math.isfinite(each.frc.nm)]
    for each in unknown:
        label = "cannot be told: too few molecules" if each is unknown[0] else None
        axes.axvspan(each.low_nm, each.high_nm, facecolor="#e8e8e8", edgecolor="none", zorder=0, label=label)
    limits = [slices[0].low_nm, slices[-1].high_nm]
    if limits[1] > limits[0]:
        axes.set_xlim(*limits)
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", frameon=False, fontsize=8)
