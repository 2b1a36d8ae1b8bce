"""Figure of the sample drift: the trajectory with its standard deviation, and a part of the sample before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from planeloc.core.figure_style import AXIAL, FAINT, LATERAL, save_figure
from planeloc.core.quality_labels import quantity
from planeloc.postprocessing.drift_refinement import Trajectory
from planeloc.postprocessing.sample_drift import SampleDrift

_SIZE_INCH, _DPI = (11.0, 6.4), 150
_COLOURS = (LATERAL, LATERAL, AXIAL)  # of x, y, z
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
            panel.text(0.5, 0.6, "unknown", transform=panel.transAxes, ha="center", color=FAINT)
    text = "coloured: drift of the whole field, ± 2 standard deviations; mean zero"
    if drawn and found.halves:
        text += "\ngrey: of two halves of the field, each on its own"
        text += "" if values["sample_drift_corrected"] else "; without a drift, they differ by chance"
    axes[0].set_title(text, loc="left", fontsize=10)
    axes[-1].set_xlabel("frame")
    axes[-1].set_xlim(0, max(len(subtracted.drift_nm) - 1, 1))
    _before_and_after(right, table, subtracted, values)
    save_figure(path, figure, "correct-drift")


def _title(found: SampleDrift | None, values: Mapping[str, float]) -> str:
    if found is None:
        return "sample drift: not estimated (mode: never)"
    if not values["sample_drift_corrected"]:
        return "no significant sample drift; the table is unchanged"
    ranges = ", ".join(quantity(f"sample_drift_range_{a}_nm", values[f"sample_drift_range_{a}_nm"]) for a in "xyz")
    sd = (values["drift_sd_lateral_nm"], values["drift_sd_axial_nm"])
    return (
        f"sample drift corrected: range {ranges} in x, y, z;\nknown to {sd[0]:.2g} nm laterally, {sd[1]:.2g} nm axially"
    )


def _curve(axes: Axes, found: SampleDrift, number: int) -> None:
    drift, sd = found.trajectory.drift_nm[:, number], found.trajectory.sd_nm[:, number]
    frame = np.unique(np.linspace(0, len(drift) - 1, _MOST_POINTS).astype(int))
    for half in found.halves:
        values = half.drift_nm[:, number]
        axes.plot(frame, (values - values.mean() + drift.mean())[frame], color=FAINT, linewidth=0.7)
    low, high = (drift + sign * 2 * sd for sign in (-1, 1))
    axes.fill_between(frame, low[frame], high[frame], color=_COLOURS[number], alpha=0.3, linewidth=0)
    axes.plot(frame, drift[frame], color=_COLOURS[number], linewidth=1.3)


def _before_and_after(
    figure: SubFigure, table: pd.DataFrame, subtracted: Trajectory, values: Mapping[str, float]
) -> None:
    """Draw a part of the sample with and without the drift; once, if nothing was subtracted."""
    position, frame = table[["x", "y"]].to_numpy(), table["frame"].to_numpy()
    shown = {"as localized": np.zeros((len(table), 2))}
    if values["sample_drift_corrected"]:
        shown["corrected"] = subtracted.drift_nm[frame, :2]
    corner, images = np.zeros(2), []
    for number, drift in enumerate(shown.values()):
        place = position - drift
        corner = _densest(place) if number == 0 else corner
        bins = round(_CROP_NM / _PIXEL_NM)
        limits = [(c, c + _CROP_NM) for c in corner]
        image = np.histogram2d(place[:, 0], place[:, 1], bins, limits)[0].T
        images.append(gaussian_filter(image, 0.7))
    brightest = max(np.quantile(image, 0.999) for image in images) or 1.0
    panels = figure.subplots(len(shown), 1, squeeze=False).ravel()
    for panel, image, title in zip(panels, images, shown, strict=True):
        panel.imshow(image, cmap="gray", norm=PowerNorm(0.5, 0, brightest), extent=(0, _CROP_NM, _CROP_NM, 0))
        panel.set_title(f"{title}: densest {_CROP_NM / 1000:g} µm of the field", loc="left", fontsize=10)
        panel.plot([_CROP_NM - 500, _CROP_NM], [1.05 * _CROP_NM] * 2, color="black", linewidth=3, clip_on=False)
        panel.text(_CROP_NM - 560, 1.05 * _CROP_NM, "500 nm", ha="right", va="center", fontsize=9)
        panel.set(xlim=(0, _CROP_NM), ylim=(_CROP_NM, 0))
        panel.set_axis_off()


def _densest(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corner of the square with the most localizations."""
    place = place[np.isfinite(place).all(axis=1)]
    if not len(place):
        return np.zeros(2)
    cells, counts = np.unique(np.floor(place / (_CROP_NM / 2)).astype(np.int64), axis=0, return_counts=True)
    return cells[counts.argmax()] * (_CROP_NM / 2) - _CROP_NM / 4
