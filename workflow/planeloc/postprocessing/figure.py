"""Figure of the sample drift: the trajectory with its standard deviation, and a part of the sample before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from planeloc.core.figure_style import save_figure
from planeloc.core.quality_labels import quantity
from planeloc.postprocessing.drift_refinement import Trajectory
from planeloc.postprocessing.sample_drift import SampleDrift

_SIZE_INCH, _DPI = (11.0, 6.4), 150
_COLOURS = ("#0072b2", "#e69f00", "#009e73")  # of x, y, z (Okabe and Ito's, distinguishable with colour blindness)
_HALF = "#888888"
_CROP_NM, _PIXEL_NM = 3000.0, 15.0
_DETECTABLE = 4.0  # significance of an artificial drift from which an estimate that is not used is drawn
_MOST_POINTS = 3000  # of a curve


def write_drift(
    path: Path,
    found: SampleDrift | None,
    subtracted: Trajectory,
    table: pd.DataFrame,
    values: Mapping[str, float],
) -> None:
    """Draw the drift along x, y and z over time, and the densest part of the sample without and with correction.

    Parameters
    ----------
    found : the estimate; None if nothing was estimated. It is drawn if it could have shown a drift.
    subtracted : what the table is corrected by.
    table : localizations before the correction.
    values : quality values, for the title.
    """
    figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
    figure.suptitle(_title(found, values), fontsize=13, fontweight="bold")
    drawn = found is not None and (
        bool(values["sample_drift_corrected"]) or found.detectability > _DETECTABLE  # else it is noise
    )
    left, right = figure.subfigures(1, 2, width_ratios=(1.9, 1))
    axes = left.subplots(3, 1, sharex=True)
    for number, panel in enumerate(axes):
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylabel(f"sample drift in {'xyz'[number]} (nm)")
        panel.axhline(0, color="black", linewidth=0.6)
        if drawn:
            _curve(panel, found, number)
        else:
            panel.text(0.5, 0.6, "unknown", transform=panel.transAxes, ha="center", color=_HALF)
    axes[0].set_title("mean drift zero; band: ± 2 standard deviations", loc="left", fontsize=10)
    if drawn:
        axes[0].legend(loc="best", frameon=False, fontsize=9)
    axes[-1].set_xlabel("frame")
    axes[-1].set_xlim(0, max(len(subtracted.drift_nm) - 1, 1))
    _before_and_after(right.subplots(2, 1), table, subtracted, values)
    save_figure(path, figure, "correct-drift")


def _title(found: SampleDrift | None, values: Mapping[str, float]) -> str:
    if found is None:
        return "sample drift: not estimated (mode: never)"
    if not values["sample_drift_corrected"]:
        return "no significant sample drift; the table is unchanged"
    ranges = ", ".join(quantity(f"sample_drift_range_{a}_nm", values[f"sample_drift_range_{a}_nm"]) for a in "xyz")
    sd = (values["drift_sd_lateral_nm"], values["drift_sd_axial_nm"])
    return (
        f"sample drift corrected: range {ranges} in x, y, z; known to {sd[0]:.2g} nm laterally, {sd[1]:.2g} nm axially"
    )


def _curve(axes: Axes, found: SampleDrift, number: int) -> None:
    drift, sd = found.trajectory.drift_nm[:, number], found.trajectory.sd_nm[:, number]
    frame = np.unique(np.linspace(0, len(drift) - 1, _MOST_POINTS).astype(int))
    for half in found.halves:
        values = half.drift_nm[:, number]
        label = "halves of the field, each on its own" if half is found.halves[0] else None
        axes.plot(frame, (values - values.mean() + drift.mean())[frame], color=_HALF, linewidth=0.7, label=label)
    low, high = (drift + sign * 2 * sd for sign in (-1, 1))
    axes.fill_between(frame, low[frame], high[frame], color=_COLOURS[number], alpha=0.3, linewidth=0)
    axes.plot(frame, drift[frame], color=_COLOURS[number], linewidth=1.3, label="drift")


def _before_and_after(axes: NDArray, table: pd.DataFrame, subtracted: Trajectory, values: Mapping[str, float]) -> None:
    position, frame = table[["x", "y"]].to_numpy(), table["frame"].to_numpy()
    titles = ("as localized", "corrected" if values["sample_drift_corrected"] else "unchanged")
    corner, images = np.zeros(2), []
    for number, drift in enumerate((np.zeros((len(table), 2)), subtracted.drift_nm[frame, :2])):
        place = position - drift
        corner = _densest(place) if number == 0 else corner
        bins = round(_CROP_NM / _PIXEL_NM)
        limits = [(c, c + _CROP_NM) for c in corner]
        image = np.histogram2d(place[:, 0], place[:, 1], bins, limits)[0].T
        images.append(gaussian_filter(image, 0.7))
    brightest = max(np.quantile(image, 0.999) for image in images) or 1.0
    for panel, image, title in zip(axes, images, titles, strict=True):
        panel.imshow(image, cmap="cividis", norm=PowerNorm(0.5, 0, brightest), extent=(0, _CROP_NM, _CROP_NM, 0))
        panel.set_title(f"{title}: densest {_CROP_NM / 1000:g} µm of the field", loc="left", fontsize=10)
        panel.plot([200, 700], [_CROP_NM - 200] * 2, color="white", linewidth=3)
        panel.text(450, _CROP_NM - 260, "500 nm", color="white", ha="center", va="bottom", fontsize=8)
        panel.set_axis_off()


def _densest(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corner of the square with the most localizations."""
    place = place[np.isfinite(place).all(axis=1)]
    if not len(place):
        return np.zeros(2)
    cells, counts = np.unique(np.floor(place / (_CROP_NM / 2)).astype(np.int64), axis=0, return_counts=True)
    return cells[counts.argmax()] * (_CROP_NM / 2) - _CROP_NM / 4
