"""Error and Jaccard index against drift, density and photons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from planeloc.paper import published
from planeloc.paper.figures.style import GREY, INK, draw_band, finite_top, legend_above, sheet
from planeloc.paper.results import SWEEP_BOUND, Sweep

AXIS = {
    "drift": "largest drift between the planes [nm]",
    "density": "molecules per 16 × 16 image",
    "photons": "photons per molecule",
}
_PANELS = (
    ("lateral", "mean 2-D distance [nm]", "Lateral error"),
    ("axial", "mean |Δz| [nm]", "Axial error"),
    ("jaccard", "Jaccard index", "Molecules found"),
)


def draw_sweep(path: Path, sweep: str, estimators: Mapping[str, Sweep], note: str) -> None:
    """Three panels: lateral and axial error of the matched molecules, and the Jaccard index; bands are 95 % intervals."""
    with sheet(path, (13, 5.4), note) as figure:
        grid = figure.subplots(1, 3)
        for axes, (column, label, title) in zip(grid, _PANELS, strict=True):
            if sweep == "drift":
                axes.axvspan(0, published.LARGEST_DRIFT.value, color="#0072B2", alpha=0.07, linewidth=0, zorder=0)
            limit = estimators.get(SWEEP_BOUND)
            if limit is not None and column != "jaccard":
                axes.plot(limit["value"], limit[column], color=INK, label="information limit", zorder=5)
            shown = {name: values for name, values in estimators.items() if name != SWEEP_BOUND}
            for name, values in reversed(shown.items()):
                ends = (values[f"{column}_low"], values[f"{column}_high"])
                draw_band(axes, values["value"], values[column], *ends, name, markersize=6)
            axes.set(xlabel=AXIS[sweep], ylabel=label, title=title)
            tops = [values[column] for values in estimators.values()]
            axes.set_ylim(0, 1.02 if column == "jaccard" else finite_top(*tops))
            axes.grid(color="0.92")
            _scale(axes, sweep, estimators)
        if sweep == "drift":
            grid[0].text(
                published.LARGEST_DRIFT.value / 2,
                0.985,
                "training of\nthe robust network",
                transform=grid[0].get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=10.5,
                color=GREY,
            )
        legend_above(figure, list(grid), columns=4)


def _scale(axes: Axes, sweep: str, estimators: Mapping[str, Sweep]) -> None:
    values = [number for sweep in estimators.values() for number in sweep["value"]]
    if sweep == "drift" or min(values) <= 0:
        axes.set_xlim(min(0, *values), max(values) * 1.02 or 1)
        return
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(values)) if len(set(values)) <= 7 else [])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
