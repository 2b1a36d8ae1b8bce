"""Figure of the drift of every camera against the reference camera, through the movie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from planeloc.core.figure_style import plane_colour, save_figure

_SIZE_INCH, _DPI = (10.5, 4.0), 150
_LINE_INCH = 0.24  # of text above the panels
_MOST_POINTS = 4000
_LEAST_RANGE_NM = 10.0  # so that drift of a nanometre does not fill the panel


def draw_camera_drift(
    path: Path,
    frames: NDArray[np.int64],
    drift_nm: NDArray[np.float64],
    sd_nm: NDArray[np.float64],
    names: Sequence[str],
    sentences: Sequence[str],
    seconds_per_frame: float | None = None,
) -> None:
    """Draw the drift along x and y against time, with a band of one standard deviation.

    Parameters
    ----------
    path : PNG to write.
    frames : (n,), ascending.
    drift_nm, sd_nm : (n, planes − 1, 2) of planes 1…, and its standard deviation (NaN: unknown).
    names, sentences : of the cameras of planes 1…; the sentences say how each moved.
    seconds_per_frame : time from frame to frame; None: unknown, the axis shows frames.
    """
    width, height = _SIZE_INCH
    figure = Figure(figsize=(width, height + _LINE_INCH * len(sentences)), dpi=_DPI, layout="constrained")
    figure.suptitle("\n".join(sentences), fontsize=11, fontweight="bold", x=0.01, ha="left")
    times, unit = _times(frames, seconds_per_frame)
    every = slice(None, None, max(1, -(-len(frames) // _MOST_POINTS)))
    for axis, panel in enumerate(figure.subplots(1, 2, sharex=True, sharey=True)):
        panel.spines[["top", "right"]].set_visible(False)
        for plane, name in enumerate(names):
            own, sd = drift_nm[every, plane, axis], sd_nm[every, plane, axis]
            colour = plane_colour(plane + 1)
            panel.fill_between(times[every], own - sd, own + sd, color=colour, alpha=0.25, linewidth=0)
            panel.plot(times[every], np.where(np.isfinite(sd), own, np.nan), color=colour, linewidth=1.2, label=name)
        panel.axhline(0, color="black", linewidth=0.6, zorder=0)
        panel.set_xlabel(unit)
        panel.set_title(f"drift along {'xy'[axis]}", loc="left", fontsize=11)
    _finish(panel.figure.axes[0], names)
    save_figure(path, figure, "localize")


def _finish(panel: Axes, names: Sequence[str]) -> None:
    low, high = panel.get_ylim()
    middle, half = (low + high) / 2, max(high - low, _LEAST_RANGE_NM) / 2
    panel.set_ylim(middle - half, middle + half)
    panel.margins(x=0)
    panel.set_ylabel("drift (nm), band: ± 1 standard deviation")
    panel.legend(frameon=False, fontsize=9, ncols=min(len(names), 4))


def _times(frames: NDArray[np.int64], seconds_per_frame: float | None) -> tuple[NDArray[np.float64], str]:
    if seconds_per_frame is None:
        return frames.astype(float), "frame of the movie"
    seconds = frames * seconds_per_frame
    if len(seconds) and seconds[-1] >= 180:
        return seconds / 60, "time (minutes)"
    return seconds, "time (s)"
