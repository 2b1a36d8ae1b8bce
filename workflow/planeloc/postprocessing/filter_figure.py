"""Figure of the filter: a histogram of every quantity before and after, its limits, and what each criterion removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from planeloc.core.figure_style import MEASURED, MODEL, save_figure

Array = NDArray[np.float64]

_SIZE_INCH, _DPI = (13.0, 8.0), 150
_BEFORE, _AFTER, _LIMIT = MEASURED, MODEL, "#d55e00"
_BINS, _TAILS_PERCENT = 80, 0.2
_MARGIN, _NEAR = 0.03, 0.5  # of the range: around it, and how far away a limit is still shown
_LINEAR, _LOG, _WHOLE = "linear", "log", "whole numbers"
_PANELS = {
    "photons": ("photons", _LOG),
    "background": ("background (photons per pixel)", _LINEAR),
    "probability": ("probability", _LINEAR),
    "lateral_sd": ("lateral precision (nm)", _LOG),
    "z_sd": ("axial precision (nm)", _LOG),
    "z": ("depth z (nm)", _LINEAR),
    "goodness_of_fit": ("goodness of fit (1: explained)", _LOG),
    "local_density": ("local density (1/µm²)", _LOG),
    "edge_distance": ("distance from the edge (nm)", _LINEAR),
    "frame": ("frame", _WHOLE),
}
"""Quantity → label and axis."""
_CRITERIA = {
    "minimum_probability": "probability < {:g}",
    "minimum_photons": "photons < {:g}",
    "maximum_lateral_sd_nm": "lateral precision > {:g} nm",
    "maximum_axial_sd_nm": "axial precision > {:g} nm",
    "maximum_goodness_of_fit": "goodness of fit > {:g}",
    "minimum_depth_nm": "z < {:g} nm",
    "maximum_depth_nm": "z > {:g} nm",
    "border_nm": "nearer than {:g} nm to the edge",
    "first_frame": "frame < {:g}",
    "last_frame": "frame > {:g}",
}


class Histogram:
    """Of one quantity, before and after; what is beyond its range is counted in the first or last bin.

    Attributes
    ----------
    edges : (bins + 1,) of the bins; empty if the quantity is unknown.
    before, after : (bins,) numbers of localizations.
    """

    def __init__(self, sample: Array, limits: Sequence[float], axis: str) -> None:
        """Range and bins from some values and from the limits near them."""
        self.logarithmic = axis == _LOG
        known = sample[np.isfinite(sample) & ((sample > 0) | (not self.logarithmic))]
        self.edges = _edges(known, limits, axis) if len(known) else np.empty(0)
        self.before, self.after = (np.zeros(max(len(self.edges) - 1, 0), np.int64) for _ in range(2))

    def add(self, values: Array, keep: NDArray[np.bool_]) -> None:
        """Count some rows."""
        if len(self.edges):
            known = ~np.isnan(values)
            inside = np.clip(values, self.edges[0], self.edges[-1])
            self.before += np.histogram(inside[known], self.edges)[0]
            self.after += np.histogram(inside[known & keep], self.edges)[0]


def _edges(known: Array, limits: Sequence[float], axis: str) -> Array:
    low, high = np.percentile(known, (_TAILS_PERCENT, 100 - _TAILS_PERCENT))
    if axis == _LOG:
        low, high = np.log10((low, high))
        limits = [np.log10(limit) for limit in limits if limit > 0]
    span = max(high - low, 1e-3 * abs(high), 1e-6)
    near = [limit for limit in limits if low - _NEAR * span <= limit <= high + _NEAR * span]
    low, high = min(low, *near, low), max(high, *near, high)
    if axis == _WHOLE:  # as many numbers in every bin
        width = max(1, round((high - low) / _BINS))
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + width, width)
    edges = np.linspace(low - _MARGIN * span, high + _MARGIN * span, _BINS + 1)
    return 10**edges if axis == _LOG else edges


class Histograms:
    """Of all quantities that have a panel."""

    def __init__(self, sample: Mapping[str, Array], limits: Mapping[str, Sequence[float]]) -> None:
        """`sample` are quantities of some rows; `limits` are drawn, by quantity."""
        self.limits = limits
        self.of = {name: Histogram(sample[name], limits.get(name, ()), axis) for name, (_, axis) in _PANELS.items()}

    def add(self, quantities: Mapping[str, Array], keep: NDArray[np.bool_]) -> None:
        """Count some rows, of which `keep` are kept."""
        for name, histogram in self.of.items():
            histogram.add(quantities[name], keep)


def write_histograms(path: Path, histograms: Histograms, record: Mapping[str, Any]) -> None:
    """Draw all histograms, and a bar for every criterion that removed something.

    Parameters
    ----------
    record : of the filter: rows read and kept, failures by criterion (a setting, or a condition as it is written), and
        settings.
    """
    figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
    read, kept = record["rows_read"], record["rows_kept"]
    share = f" ({100 * kept / read:.3g} %)" if read else ""
    figure.suptitle(f"filter: {kept:,} of {read:,} localizations kept{share}", fontsize=13, fontweight="bold")
    removed = [name for name, count in record["failing"].items() if count]
    grid = figure.add_gridspec(3, 4) if removed else figure.add_gridspec(2, 5)
    for number, (name, histogram) in enumerate(histograms.of.items()):
        panel = figure.add_subplot(grid[divmod(number, grid.ncols)])
        _draw(panel, histogram, _PANELS[name][0], histograms.limits.get(name, ()))
        if number == 0 and len(histogram.edges):
            panel.legend(loc="best", frameon=False, fontsize=8)
    if removed:
        _draw_removed(figure.add_subplot(grid[2, 2:]), record, removed)
    save_figure(path, figure, "filter")


def _draw(panel: Axes, histogram: Histogram, label: str, limits: Sequence[float]) -> None:
    panel.set_xlabel(label)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_ylabel("localizations", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not len(histogram.edges):
        panel.text(0.5, 0.5, "unknown", transform=panel.transAxes, ha="center", color="#888888")
        panel.set(xticks=[], yticks=[], ylabel="")
        return
    edges = histogram.edges
    panel.stairs(histogram.before, edges, fill=True, color=_BEFORE, label="before")
    panel.stairs(histogram.after, edges, color=_AFTER, linewidth=1.4, label="after")
    if histogram.logarithmic:
        panel.set_xscale("log")
        wide = edges[-1] > 50 * edges[0]
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlim(edges[0], edges[-1])
    panel.set_ylim(0, 1.12 * max(histogram.before.max(), 1))
    for line, limit in enumerate(sorted(set(limits))):
        top = 1.0 - 0.07 * line  # labels of neighbouring limits stand below each other
        if edges[0] <= limit <= edges[-1]:
            panel.axvline(limit, color=_LIMIT, linestyle="--", linewidth=1.3)
            panel.text(
                limit, top, f" {limit:g}", transform=panel.get_xaxis_transform(), color=_LIMIT, va="top", fontsize=8
            )
        else:
            where = "left" if limit < edges[0] else "right"
            place = 0.01 if where == "left" else 0.99
            panel.text(
                place, top, f"limit {limit:g}", transform=panel.transAxes, color=_LIMIT, va="top", ha=where, fontsize=8
            )


def _draw_removed(panel: Axes, record: Mapping[str, Any], removed: Sequence[str]) -> None:
    """A bar for every criterion that removed something: all that fail it, and those that fail it alone."""
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.set_xticks([])
    panel.set_title("removed by each criterion (dark: by it alone)", loc="left", fontsize=10)
    places = [row + 0.25 for row in range(len(removed))]
    panel.barh(places, [record["failing"][name] for name in removed], color="#f0c8a8", height=0.4)
    panel.barh(places, [record["failing_alone"][name] for name in removed], color=_LIMIT, height=0.4)
    panel.set_yticks([])
    for row, name in enumerate(removed):
        count, alone = record["failing"][name], record["failing_alone"][name]
        text = f"{_criterion(name, record['settings'])}: {count:,} ({100 * count / record['rows_read']:.2g} %)"
        panel.text(0, row - 0.05, f"{text}, {alone:,} alone", va="bottom", fontsize=9)
    panel.set_ylim(max(len(removed), 4) - 0.5, -0.5)


def _criterion(name: str, settings: Mapping[str, Any]) -> str:
    text = _CRITERIA[name].format(settings[name]) if name in _CRITERIA else name
    return text if len(text) <= 60 else f"{text[:57]}..."
