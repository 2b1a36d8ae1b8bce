"""What the figures share: the look of every estimator, sheet and footnote, bands and reference lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planeloc.core.figure_style import save_figure

DPI = 150
INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
_STYLE = {
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 13,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "text.color": INK,
    "axes.labelcolor": INK,
    "lines.linewidth": 2.0,
    "lines.markersize": 7,
}


@dataclass(frozen=True)
class Look:
    """How an estimator appears in every figure and table."""

    label: str
    colour: str
    marker: str


# Okabe and Ito's colours, distinguishable with any colour vision; markers distinguish the lines in grey.
_LOOKS = {
    "robust": Look("robust network", "#0072B2", "o"),
    "nonrobust": Look("non-robust network", "#D55E00", "s"),
    "compressed_sensing": Look("compressed sensing", "#009E73", "D"),
    "alternating": Look("alternating minimisation", "#CC79A7", "v"),
    "matching_pursuit": Look("matching pursuit", "#E69F00", "^"),
    "fit_without_drift": Look("fit ignoring drift", "#8C6D5A", "P"),
    "fit_with_drift": Look("fit estimating drift", "#56B4E9", "X"),
}
_SPARE = ("#000000", "#999933", "#882255", "#44AA99")


def look(name: str) -> Look:
    """The look of an estimator; one that is not the paper's or ours gets a spare colour, fixed by its name."""
    return _LOOKS.get(name) or Look(name.replace("_", " "), _SPARE[sum(name.encode()) % len(_SPARE)], "*")


def plain(text: str) -> str:
    """Text that Matplotlib draws as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


@contextmanager
def sheet(path: Path, size_inch: tuple[float, float], note: str = "") -> Iterator[Figure]:
    """A figure to draw into, written to `path` as PNG afterwards; `note` stands below it, small."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size_inch, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        yield figure
        if note:
            figure.supxlabel(plain(note), x=0.01, ha="left", fontsize=11, color=GREY)
        save_figure(path, figure, "reproduction")


def draw_band(axes: Axes, x: NDArray, y: NDArray, low: NDArray, high: NDArray, name: str, above: float = 2.0) -> None:
    """The line of an estimator with its interval as a band; values that are NaN leave a gap."""
    style = look(name)
    axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0, zorder=above)
    label = plain(style.label)
    axes.plot(x, y, color=style.colour, marker=style.marker, markersize=6, label=label, zorder=above)


def reference(axes: Axes, value: float, text: str, colour: str = GREY, at: float = 0.99) -> None:
    """A dotted horizontal line, named on the line itself."""
    axes.axhline(value, color=colour, linestyle=":", linewidth=1.5, zorder=1)
    axes.annotate(
        text,
        (at, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right" if at > 0.5 else "left",
        va="bottom",
        fontsize=11,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
        zorder=1.5,
    )


def legend_above(figure: Figure, axes: Iterable[Axes], columns: int = 4) -> None:
    """One legend for all panels, over them."""
    named = {}
    for handle, label in itertools.chain.from_iterable(zip(*a.get_legend_handles_labels(), strict=True) for a in axes):
        named.setdefault(label, handle)
    if named:
        figure.legend(
            named.values(), named.keys(), loc="outside upper center", ncols=min(columns, len(named)), columnspacing=1.4
        )


def finite_top(*values: NDArray | float, margin: float = 1.08) -> float:
    """An upper limit of an axis that shows all of these, at least a little above 0."""
    everything = np.concatenate([np.ravel(v) for v in values])
    everything = everything[np.isfinite(everything)]
    return max(float(everything.max(initial=0.0)) * margin, 1e-9)
