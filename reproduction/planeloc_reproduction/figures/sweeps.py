"""Error and Jaccard index against drift, density and photons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

from planeloc_reproduction.figures.style import GREY, INK, draw_band, finite_top, legend_above, look, sheet
from planeloc_reproduction.results import SWEEP_BOUND, Sweep

AXIS = {
    "drift": "largest inter-camera drift [nm]",
    "density": "molecules per 16 × 16 image",
    "photons": "photons per molecule",
}
_PANELS = (
    ("lateral", "mean 2-D distance [nm]", "Lateral error"),
    ("axial", "mean |Δz| [nm]", "Axial error"),
    ("jaccard", "Jaccard index", "Molecules found"),
)


def draw_sweep(
    path: Path, sweep: str, estimators: Mapping[str, Sweep], trained: tuple[float, float], note: str
) -> None:
    """Three panels: lateral and axial error of the matched molecules, and the Jaccard index, with 95 % intervals.

    `trained` is the range of conditions in the robust network's training: shaded, or a line where it is one value.
    """
    shown = {name: values for name, values in estimators.items() if name != SWEEP_BOUND}
    limit = estimators.get(SWEEP_BOUND)
    with sheet(path, (13, 5.4), note) as figure:
        grid = figure.subplots(1, 3)
        for axes, (column, label, title) in zip(grid, _PANELS, strict=True):
            for order, (name, values) in enumerate(shown.items()):
                ends = (values[f"{column}_low"], values[f"{column}_high"])
                draw_band(axes, values["value"], values[column], *ends, name, above=2.9 - 0.05 * order)
            if limit is not None and column != "jaccard":
                axes.plot(limit["value"], limit[column], color=INK, label="information limit", zorder=3)
            axes.set(xlabel=AXIS[sweep], ylabel=label, title=title)
            tops = [values[column] for values in estimators.values()]
            axes.set_ylim(0, 1.02 if column == "jaccard" else finite_top(*tops, margin=1.22))
            axes.grid(color="0.92")
            _scale(axes, np.unique(np.concatenate([values["value"] for values in estimators.values()])), sweep)
            _mark_training(axes, trained, named=column != "jaccard")
        legend_above(figure, list(grid), columns=4)


def _scale(axes: Axes, values: NDArray, sweep: str) -> None:
    if sweep == "drift" or values[0] <= 0:
        axes.set_xlim(min(0.0, values[0]), values[-1] * 1.02 or 1.0)
        return
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.15, values[-1] * 1.15)
    if len(values) <= 7:
        axes.set_xticks(values)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _mark_training(axes: Axes, trained: tuple[float, float], named: bool) -> None:
    left, right = axes.get_xlim()
    low, high = max(trained[0], left), min(trained[1], right)
    if low > high:
        return
    if low < high:
        axes.axvspan(low, high, color=look("robust").colour, alpha=0.07, linewidth=0, zorder=0)
    else:
        axes.axvline(low, color=look("robust").colour, alpha=0.35, linewidth=2, zorder=0.6)
    if not named:
        return
    middle = math.sqrt(low * high) if axes.get_xscale() == "log" else (low + high) / 2
    axes.annotate(
        "training",
        (middle, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(0 if low < high else -4, 0),
        textcoords="offset points",
        ha="center" if low < high else "right",
        va="top",
        fontsize=11,
        color=GREY,
    )
