"""Figure of a camera calibration: photon transfer line and residuals of every camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from planeloc.camera_calibration.results import CameraMeasurement, PhotonTransferLine
from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.figure_style import FAINT, plane_colour, save_figure

_COLUMNS = 4
_NOTE_INCHES = 0.35


def draw_cameras(path: Path, measured: Sequence[CameraMeasurement]) -> None:
    """Write the figure as PNG: per camera, variance against signal with the residuals below."""
    columns = min(len(measured), _COLUMNS)
    rows = -(-len(measured) // columns)
    figure = Figure(figsize=(max(3.9 * columns, 4.5), 4.7 * rows + _NOTE_INCHES), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3.4, 1.1] * rows)
    for p, m in enumerate(measured):
        row, column = divmod(p, columns)
        top = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _draw_transfer(top, m, p, legend=p == 0, label=column == 0)
        _draw_residuals(below, m, p, label=column == 0)
    figure.supxlabel("in brackets: declared in the microscope file", x=0.01, ha="left", fontsize=9, color=FAINT)
    save_figure(path, figure, "cameras", dpi=150)


def _draw_transfer(axes: Axes, m: CameraMeasurement, plane: int, *, legend: bool, label: bool) -> None:
    colour = plane_colour(plane)
    line, levels = m.line, m.line.bright.levels
    reach = 1.06 * float(levels.signal.max())
    signal = np.array([0.0, reach])
    axes.plot(signal, line.intercept + line.slope * signal, color=colour, lw=2, zorder=2, label="photon transfer line")
    axes.plot(signal, _declared(m.declared, signal), color=FAINT, lw=1.2, ls=(0, (5, 3)), zorder=1, label="declared")
    if m.line_without_em:
        _draw_without_em(axes, m.line_without_em)
    _draw_levels(axes, line, colour)
    axes.plot(0, m.dark.read_variance, "D", color="black", ms=5, zorder=5, clip_on=False, label="dark movie")
    axes.set(xlim=(0, reach), ylim=(0, 1.1 * max(float(levels.variance.max()), m.dark.read_variance)))
    axes.set_title(_title(m), fontsize=10, linespacing=1.4)
    if label:
        axes.set_ylabel("variance over time (counts²)")
    if legend:
        axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.ticklabel_format(style="sci", scilimits=(-3, 5), useMathText=True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_levels(axes: Axes, line: PhotonTransferLine, colour: str) -> None:
    levels, used, excluded = line.bright.levels, line.used, ~line.used
    axes.plot(
        levels.signal[used],
        levels.variance[used],
        "o",
        ms=5,
        mfc="white",
        mec=colour,
        mew=1.3,
        zorder=4,
        label="pixels, by intensity",
    )
    if excluded.any():
        axes.plot(
            levels.signal[excluded], levels.variance[excluded], "x", ms=5, color="#999999", zorder=3, label="excluded"
        )


def _draw_without_em(axes: Axes, line: PhotonTransferLine) -> None:
    """The line without EM gain, in an inset: its signal and noise are far smaller."""
    inset = axes.inset_axes((0.6, 0.1, 0.36, 0.3))
    signal = np.array([0.0, 1.06 * float(line.bright.levels.signal.max())])
    inset.plot(signal, line.intercept + line.slope * signal, color=FAINT, lw=1.2)
    _draw_levels(inset, line, FAINT)
    inset.set_title("without EM gain", fontsize=8)
    inset.tick_params(labelsize=7)
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.yaxis.set_major_locator(MaxNLocator(3))


def _draw_residuals(axes: Axes, m: CameraMeasurement, plane: int, *, label: bool) -> None:
    """Residual of every level, percent of its shot noise, where the shot noise is large enough."""
    line, levels, colour = m.line, m.line.bright.levels, plane_colour(plane)
    shot = line.slope * levels.signal
    shown = shot > 0.02 * shot.max()
    residual = 100 * (levels.variance - line.intercept - shot)[shown] / shot[shown]
    sd = 100 * levels.residual_sd(line.slope)[shown] / shot[shown]
    used = line.used[shown]
    axes.axhline(0, color=colour, lw=1)
    bars = {"fmt": "none", "ecolor": "#999999", "elinewidth": 0.8, "zorder": 1}
    axes.errorbar(levels.signal[shown], residual, yerr=sd, **bars)
    axes.plot(levels.signal[shown][used], residual[used], "o", ms=4, mfc="white", mec=colour, mew=1.1)
    axes.plot(levels.signal[shown][~used], residual[~used], "x", ms=4, color="#999999")
    reach = max(2.0, 1.2 * float(np.abs(residual[used]).max(initial=0)))
    axes.set(ylim=(-reach, reach), xlabel="signal above the offset (counts)")
    if label:
        axes.set_ylabel("residual (%)")
    axes.spines[["top", "right"]].set_visible(False)


def _declared(camera: Camera, signal: np.ndarray) -> np.ndarray:
    """Variance that the declared camera would have."""
    noise = NoiseModel.of(camera).in_counts(camera)
    return noise.read_variance + noise.slope * signal


def _title(m: CameraMeasurement) -> str:
    camera, declared = m.camera, m.declared
    lines = [f"{camera.name}: offset {camera.offset_counts:.2f} counts ({declared.offset_counts:g})"]
    gain = _with_sd(camera.electrons_per_count, m.sd["electrons_per_count"])
    lines.append(f"{gain} e⁻ per count ({declared.electrons_per_count:g})")
    if declared.em_gain > 1:
        lines.append(f"EM gain {_with_sd(camera.em_gain, m.sd['em_gain'])} ({declared.em_gain:g})")
    noise = _with_sd(camera.read_noise_electrons, m.sd["read_noise_electrons"])
    lines.append(f"read noise {noise} e⁻ ({declared.read_noise_electrons:g})")
    return "\n".join(lines)


def _with_sd(value: float, sd: float) -> str:
    if not sd > 0:
        return f"{value:g}"
    digits = max(0, 1 - int(np.floor(np.log10(sd))))
    return f"{value:.{digits}f} ± {sd:.{digits}f}"
