"""Figures of the evaluation: errors against the ground truth, or the distributions of a table without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planeloc.core.figure_style import AXIAL, LATERAL, save_figure
from planeloc.evaluation.metrics import Comparison
from planeloc.evaluation.quality import lateral_sd
from planeloc.io.localization_table import kept_frames

_SIZE_INCH = (13.0, 7.6)
_DPI = 150
_NEUTRAL = "#4d4d4d"
_BINS = 60
_PHOTON_BINS = 10


def write_comparison(
    path: Path, comparison: Comparison, values: Mapping[str, float], depths: Sequence[Mapping[str, Any]]
) -> None:
    """Draw errors along x, y, z; errors and recall against depth; recall against photons.

    Parameters
    ----------
    values : figures of merit.
    depths : one row per depth bin, from `planeloc.evaluation.metrics.by_depth`.
    """
    figure, axes = _panels(
        f"recall {values['recall']:.3f}    precision {values['precision']:.3f}    Jaccard {values['jaccard']:.3f}    "
        f"RMSE lateral {values['rmse_lateral_nm']:.1f} nm    axial {values['rmse_axial_nm']:.1f} nm"
    )
    for number, (name, colour) in enumerate((("x", LATERAL), ("y", LATERAL), ("z", AXIAL))):
        _error_histogram(axes[number], comparison.error_nm[:, number], name, colour)
    _error_by_depth(axes[3], depths)
    _recall_by_depth(axes[4], depths)
    _recall_by_photons(axes[5], comparison)
    save_figure(path, figure, "evaluate")


def write_statistics(path: Path, table: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Localizations over time and the distributions of depth, photons, background, probability and precision."""
    figure, axes = _panels(
        f"{len(table):,} localizations in {np.count_nonzero(kept_frames(metadata)):,} frames, no ground truth"
    )
    _rate(axes[0], table["frame"].to_numpy(), kept_frames(metadata))
    low, high = metadata["depth_range_nm"]
    _histogram(axes[1], {"depth": (table["z"], AXIAL)}, "depth z (nm)", (low, high))
    for depth in metadata.get("plane_depths_nm") or ():
        axes[1].axvline(depth, color="black", linewidth=0.8, linestyle=":", zorder=0)
    _histogram(axes[2], {"probability": (table["probability"], _NEUTRAL)}, "probability", (0, 1))
    _histogram(axes[3], {"photons": (table["photons"], _NEUTRAL)}, "photons per molecule and frame")
    _histogram(axes[4], {"background": (table["background"], _NEUTRAL)}, "background (photons per pixel)")
    deviations = {"x, y": (lateral_sd(table), LATERAL), "z": (table["z_sd"], AXIAL)}
    _histogram(axes[5], deviations, "standard deviation (nm)")
    save_figure(path, figure, "evaluate")


def _panels(title: str) -> tuple[Figure, NDArray]:
    figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    figure.suptitle(title, fontsize=14, fontweight="bold")
    axes = figure.subplots(2, 3).ravel()
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _error_histogram(axes: Axes, error: NDArray[np.float64], name: str, colour: str) -> None:
    axes.set(xlabel=f"error in {name} (nm)", ylabel="localizations")
    axes.set_title(f"error in {name}", loc="left", fontsize=11)
    if not len(error):
        _message(axes, "no matches")
        return
    reach = max(5.0, float(np.percentile(np.abs(error), 99)) * 1.3)
    axes.stairs(*np.histogram(error, _BINS, (-reach, reach)), fill=True, color=colour, alpha=0.85)
    axes.axvline(0, color="black", linewidth=0.8)
    text = f"bias {error.mean():+.1f} nm\nsd {error.std():.1f} nm".replace("-", "−")
    axes.text(0.98, 0.96, text, transform=axes.transAxes, ha="right", va="top", fontsize=10)


def _error_by_depth(axes: Axes, depths: Sequence[Mapping[str, Any]]) -> None:
    middle = [np.mean(row["depth_nm"]) for row in depths]
    for key, label, colour in (("rmse_lateral_nm", "lateral", LATERAL), ("rmse_axial_nm", "axial", AXIAL)):
        axes.plot(middle, [row[key] for row in depths], "o-", color=colour, label=label)
    axes.plot(middle, [row["bias_z_nm"] for row in depths], "--", color=AXIAL, linewidth=1, label="bias in z")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="true depth z (nm)", ylabel="RMSE (nm)", xlim=(depths[0]["depth_nm"][0], depths[-1]["depth_nm"][1]))
    axes.locator_params(axis="x", nbins=5)
    axes.set_title("error against depth", loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=3, fontsize=9)
    axes.margins(y=0.2)


def _recall_by_depth(axes: Axes, depths: Sequence[Mapping[str, Any]]) -> None:
    edges = [*(row["depth_nm"][0] for row in depths), depths[-1]["depth_nm"][1]]
    axes.stairs(np.nan_to_num([row["recall"] for row in depths]), edges, fill=True, color=_NEUTRAL, alpha=0.75)
    axes.set(xlabel="true depth z (nm)", ylabel="recall", ylim=(0, 1.02), xlim=(edges[0], edges[-1]))
    axes.locator_params(axis="x", nbins=5)
    axes.set_title("recall against depth", loc="left", fontsize=11)


def _recall_by_photons(axes: Axes, comparison: Comparison) -> None:
    axes.set(xlabel="true photons", ylabel="recall", ylim=(0, 1.02))
    axes.set_title("recall against photons", loc="left", fontsize=11)
    photons = comparison.molecule_photons
    if not len(photons):
        _message(axes, "no molecules")
        return
    edges = np.unique(np.quantile(photons, np.linspace(0, 1, _PHOTON_BINS + 1)))  # bins of equal numbers
    if len(edges) < 3:
        axes.plot(photons.mean(), comparison.detected.mean(), "o", color=_NEUTRAL)
        return
    number = np.clip(np.searchsorted(edges, photons, side="right") - 1, 0, len(edges) - 2)
    in_bin = np.bincount(number, minlength=len(edges) - 1)
    recall = np.bincount(number, comparison.detected, len(edges) - 1) / np.maximum(in_bin, 1)
    centre = np.bincount(number, photons, len(edges) - 1) / np.maximum(in_bin, 1)
    error = np.sqrt(recall * (1 - recall) / np.maximum(in_bin, 1))  # binomial
    axes.errorbar(centre[in_bin > 0], recall[in_bin > 0], error[in_bin > 0], fmt="o-", color=_NEUTRAL, capsize=2)


def _rate(axes: Axes, frame: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    edges = np.unique(np.linspace(0, max(len(kept), 1), 101).astype(int))
    frames = np.histogram(np.flatnonzero(kept), edges)[0]
    count = np.histogram(frame, edges)[0] / np.where(frames, frames, np.nan)
    axes.stairs(count, edges, baseline=None, color=_NEUTRAL, linewidth=1.5)
    axes.set(xlabel="frame", ylabel="localizations per frame")
    axes.set_ylim(bottom=0)
    axes.set_title("localizations over time", loc="left", fontsize=11)


def _histogram(
    axes: Axes, parts: Mapping[str, tuple[pd.Series, str]], name: str, limits: tuple[float, float] | None = None
) -> None:
    """Histograms of one or more quantities (values, colour) in one panel; the title gives their medians."""
    axes.set(xlabel=name, ylabel="localizations")
    known = {label: (values[np.isfinite(values)], colour) for label, (values, colour) in parts.items()}
    known = {label: part for label, part in known.items() if len(part[0])}
    if not known:
        axes.set_title(", ".join(parts), loc="left", fontsize=11)
        _message(axes, "unknown")
        return
    everything = np.concatenate([values for values, _ in known.values()])
    low, high = limits or (min(0.0, np.percentile(everything, 0.5)), np.percentile(everything, 99.5) * 1.05)
    if not high > low:
        low, high = low - 0.5, low + 0.5
    for values, colour in known.values():
        axes.stairs(*np.histogram(values, _BINS, (low, high)), fill=True, color=colour, alpha=0.75)
        axes.axvline(np.median(values), color=colour, linewidth=2)
    medians = ", ".join(f"{label} {_short(np.median(values))}" for label, (values, _) in known.items())
    axes.set_title(f"median {medians}", loc="left", fontsize=11)


def _short(value: float) -> str:
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def _message(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_NEUTRAL)
