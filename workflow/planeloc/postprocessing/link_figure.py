"""Figure of the linked blinks: their length, their gaps, their number of localizations, and what linking gains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from planeloc.core.figure_style import AXIAL, FAINT, LATERAL, MEASURED, MODEL, save_figure
from planeloc.core.quality_labels import number, quantity
from planeloc.postprocessing.linking import Links

_SIZE_INCH, _DPI = (11.0, 7.0), 150
_MOST_FRAMES, _WIDEST = 1000, 99.5  # frames on an axis, and percentile of the blinks that it holds at least
_BINS = 80

Columns = Mapping[str, NDArray]


def write_figure(
    path: Path, merged: Columns, values: Mapping[str, float], links: Links | None, reason: str, columns: Columns
) -> None:
    """Draw length, gaps and localizations of the blinks beside the fitted law, and the precision before and after.

    Parameters
    ----------
    merged, columns : columns of the linked table and of the one that was linked.
    values : quality values.
    links : None if nothing was linked, for the `reason`.
    """
    figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
    figure.suptitle(_title(values, links, reason), fontsize=13, fontweight="bold")
    panels = [figure.subplots()] if links is None else figure.subplots(2, 2).ravel()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    if links is not None:
        _lengths(panels[0], merged, links)
        _gaps(panels[1], links)
        _counts(panels[2], merged, links)
    _precisions(panels[-1], merged, columns)
    save_figure(path, figure, "link")


def _title(values: Mapping[str, float], links: Links | None, reason: str) -> str:
    if links is None:
        return f"{number(values['localizations'])} localizations, not linked: {reason}"
    false = quantity("expected_false_links_fraction", values["expected_false_links_fraction"])
    return (
        f"{values['localizations']:,} localizations are {values['linked_rows']:,} blinks of "
        f"{values['on_time_frames']:.1f} frames in the mean; expected false links {false}"
    )


def _lengths(panel: Axes, merged: Columns, links: Links) -> None:
    duration = merged["last_frame"] - merged["frame"] + 1
    most = _end(duration)
    _histogram(panel, duration, most, links.law.lengths(most))
    panel.set_xlabel("frames from the first to the last")
    panel.set_title("length of the blinks", loc="left", fontsize=10)


def _counts(panel: Axes, merged: Columns, links: Links) -> None:
    most = _end(merged["frames"])
    _histogram(panel, merged["frames"], most, links.law.counts(most))
    panel.set_xlabel("frames with a localization")
    panel.set_title("localizations of a blink", loc="left", fontsize=10)


def _end(value: NDArray[np.int64]) -> int:
    """Where an axis of whole numbers ends: at the largest, unless few are far beyond the others."""
    usual = max(np.percentile(value, _WIDEST) * 1.3, 8)
    return int(min(value.max() if value.max() <= 2 * usual else usual, _MOST_FRAMES))


def _histogram(panel: Axes, value: NDArray[np.int64], most: int, law: NDArray[np.float64]) -> None:
    measured = np.bincount(np.minimum(value, most + 1), minlength=most + 2)[1 : most + 1]
    at = np.arange(1, most + 1)
    panel.bar(at, measured, width=0.85 if most < 100 else 1.0, color=MEASURED, label="measured")
    panel.plot(at, len(value) * law[1:], color=MODEL, linewidth=1.8, label="fitted law")
    panel.set_yscale("log")
    panel.set_ylim(0.5, max(measured.max(), 1) * 2)
    panel.set_xlim(0.4, most + 0.6)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylabel("blinks")
    if (beyond := int((value > most).sum())) > 0:
        text = f"{beyond:,} beyond the axis, up to {value.max():,}"
        panel.text(0.99, 0.72, text, transform=panel.transAxes, ha="right", fontsize=8, color=FAINT)
    panel.legend(frameon=False, fontsize=9)


def _gaps(panel: Axes, links: Links) -> None:
    law = links.law.next_lag
    found = links.found.sum(axis=0)
    share = found / max(found.sum(), 1e-9)
    at = np.arange(len(law))
    panel.bar(at, 100 * share, width=0.7, color=MEASURED, label="measured")
    panel.plot(at, 100 * law / max(law.sum(), 1e-9), "o", color=MODEL, markersize=6, label="fitted law")
    panel.set_yscale("log")
    panel.set_ylim(max(1e-3, 50 * share[share > 0].min()) if (share > 0).any() else 1e-3, 150)
    panel.set_xticks(at if len(at) < 16 else at[:: len(at) // 10])
    panel.set_xlabel("dark frames between two localizations of a blink")
    panel.set_ylabel("links (%)")
    panel.set_title("gaps in the blinks", loc="left", fontsize=10)
    panel.legend(frameon=False, fontsize=9)


def _precisions(panel: Axes, merged: Columns, columns: Columns) -> None:
    """Histograms of the standard deviations, each localization or blink counted once."""
    sds = {
        (name, when): table[f"{axis}_sd"][np.isfinite(table[f"{axis}_sd"])]
        for axis, name in (("x", "lateral (x)"), ("z", "axial (z)"))
        for when, table in (("of localizations", columns), ("of blinks", merged))
    }
    panel.set_xlabel("standard deviation (nm)")
    panel.set_ylabel("share per nm")
    panel.set_title("stated precision before and after linking", loc="left", fontsize=10)
    known = [sd for sd in sds.values() if len(sd)]
    if not known:
        panel.text(0.5, 0.5, "unknown", transform=panel.transAxes, ha="center", color=FAINT)
        return
    end = max(np.percentile(sd, 96) for sd in known)
    edges = np.linspace(0, end, _BINS + 1)
    for (name, when), sd in sds.items():
        if not len(sd):
            continue
        height = np.histogram(sd, edges)[0] / len(sd) / np.diff(edges)
        colour, after = LATERAL if "lateral" in name else AXIAL, when == "of blinks"
        text = f"{name}, {when}: median {number(float(np.median(sd)))} nm"
        panel.stairs(
            height, edges, color=colour, alpha=1 if after else 0.45, linewidth=1.8 if after else 1.2, label=text
        )
    panel.set_xlim(0, end)
    panel.legend(frameon=False, fontsize=8)
