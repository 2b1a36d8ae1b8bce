"""The figure of a camera calibration: the photon transfer line of every camera, its residuals, and the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from planeloc.camera_calibration.photon_transfer import Levels, Line, Measurement
from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.checks import Check
from planeloc.core.figure_style import VERDICT_COLOURS, plane_colour
from planeloc.core.files import atomic_path

_COLUMNS = 4
_GREY = "#555555"


def draw_cameras(path: Path, measured: Sequence[Measurement], checks: Sequence[Check]) -> None:
    """Write the figure as PNG: per camera a panel of noise against light with its residuals below; then the checks."""
    columns = min(len(measured), _COLUMNS)
    rows = -(-len(measured) // columns)
    lines = -(-len(checks) // 3)
    figure = Figure(figsize=(max(3.9 * columns, 11), 4.9 * rows + 0.3 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [3.4, 1.1] * rows + [(0.3 * lines + 0.4)]
    grid = figure.add_gridspec(2 * rows + 1, columns, height_ratios=heights)
    for p, m in enumerate(measured):
        row, column = divmod(p, columns)
        top = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _draw_transfer(top, m, p, legend=p == 0, label=column == 0)
        _draw_residuals(below, m, p, label=column == 0)
    _draw_checks(figure.add_subplot(grid[2 * rows, :]), checks)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150)


def _draw_transfer(axes: Axes, m: Measurement, plane: int, *, legend: bool, label: bool) -> None:
    colour = plane_colour(plane)
    levels, line = m.bright.levels, m.line
    reach = 1.06 * float(levels.signal.max())
    light = np.array([0.0, reach])
    axes.plot(light, line.intercept + line.slope * light, color=colour, lw=2, zorder=2, label="photon transfer line")
    axes.plot(light, _declared(m.sheet, light), color=_GREY, lw=1.2, ls=(0, (5, 3)), zorder=1, label="as declared")
    if m.bright_without_em and m.line_without_em:
        _draw_without_em(axes, m.bright_without_em.levels, m.line_without_em)
    _draw_levels(axes, levels, line, colour)
    axes.plot(0, m.dark.read_variance, "D", color="black", ms=5, zorder=5, clip_on=False, label="in the dark")
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


def _draw_levels(axes: Axes, levels: Levels, line: Line, colour: str) -> None:
    used, left_out = line.used, ~line.used
    axes.plot(
        levels.signal[used],
        levels.variance[used],
        "o",
        ms=5,
        mfc="white",
        mec=colour,
        mew=1.3,
        zorder=4,
        label="pixels, by light",
    )
    if left_out.any():
        axes.plot(
            levels.signal[left_out], levels.variance[left_out], "x", ms=5, color="#999999", zorder=3, label="left out"
        )


def _draw_without_em(axes: Axes, levels: Levels, line: Line) -> None:
    """The line without EM gain, in a corner of its own: its light and noise are far smaller."""
    inset = axes.inset_axes((0.6, 0.1, 0.36, 0.3))
    light = np.array([0.0, 1.06 * float(levels.signal.max())])
    inset.plot(light, line.intercept + line.slope * light, color=_GREY, lw=1.2)
    _draw_levels(inset, levels, line, _GREY)
    inset.set_title("without EM gain", fontsize=8)
    inset.tick_params(labelsize=7)
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.yaxis.set_major_locator(MaxNLocator(3))


def _draw_residuals(axes: Axes, m: Measurement, plane: int, *, label: bool) -> None:
    """Distance of every level from the line, percent of its shot noise, where that can be told."""
    levels, line, colour = m.bright.levels, m.line, plane_colour(plane)
    shot = line.slope * levels.signal
    seen = shot > 0.02 * shot.max()
    residual = 100 * (levels.variance - line.intercept - shot)[seen] / shot[seen]
    sd = 100 * levels.residual_sd(line.slope)[seen] / shot[seen]
    used = line.used[seen]
    axes.axhline(0, color=colour, lw=1)
    bars = {"fmt": "none", "ecolor": "#999999", "elinewidth": 0.8, "zorder": 1}
    axes.errorbar(levels.signal[seen], residual, yerr=sd, **bars)
    axes.plot(levels.signal[seen][used], residual[used], "o", ms=4, mfc="white", mec=colour, mew=1.1)
    axes.plot(levels.signal[seen][~used], residual[~used], "x", ms=4, color="#999999")
    reach = max(2.0, 1.2 * float(np.abs(residual[used]).max(initial=0)))
    axes.set(ylim=(-reach, reach), xlabel="light above the offset (counts)")
    if label:
        axes.set_ylabel("off the line (%)")
    axes.spines[["top", "right"]].set_visible(False)


def _declared(camera: Camera, light: np.ndarray) -> np.ndarray:
    """The line that the microscope file expects."""
    noise = NoiseModel.of(camera).in_counts(camera)
    return noise.read_variance + noise.slope * light


def _title(m: Measurement) -> str:
    camera, sheet = m.camera, m.sheet
    lines = [f"{camera.name}: offset {camera.offset_counts:.2f} counts ({sheet.offset_counts:g})"]
    gain = _with_sd(camera.electrons_per_count, m.electrons_per_count_sd)
    lines.append(f"{gain} e⁻ per count ({sheet.electrons_per_count:g})")
    if sheet.em_gain > 1:
        lines.append(f"EM gain {_with_sd(camera.em_gain, m.em_gain_sd)} ({sheet.em_gain:g})")
    noise = _with_sd(camera.read_noise_electrons, m.read_noise_sd_electrons)
    lines.append(f"read noise {noise} e⁻ ({sheet.read_noise_electrons:g})")
    return "\n".join(lines)


def _with_sd(value: float, sd: float) -> str:
    if not sd > 0:
        return f"{value:g}"
    digits = max(0, 1 - int(np.floor(np.log10(sd))))
    return f"{value:.{digits}f} ± {sd:.{digits}f}"


def _draw_checks(axes: Axes, checks: Sequence[Check]) -> None:
    axes.set_axis_off()
    axes.text(0, 1.0, "In brackets: as declared in the microscope file.", va="top", fontsize=9, color=_GREY)
    rows = -(-len(checks) // 3)
    for i, check in enumerate(checks):
        column, row = divmod(i, rows)
        x, y = column / 3, 0.8 - 0.85 * row / rows
        colour = VERDICT_COLOURS[check.verdict]
        axes.text(x, y, check.verdict, color=colour, fontweight="bold", fontsize=9, va="top")
        text = f"{check.name.replace('_', ' ')}: {check.value:.3g}"
        axes.text(x + 0.042, y, text, fontsize=9, color=_GREY, va="top")
    axes.set(xlim=(0, 1), ylim=(0, 1))
