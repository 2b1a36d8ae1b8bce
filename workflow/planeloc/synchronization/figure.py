"""Figure of the synchronization: the lag of every camera through the movie, and how clearly it is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from planeloc.cameras.camera import Camera
from planeloc.core.figure_style import plane_colour, save_figure
from planeloc.movie.camera_frames import CameraFrames
from planeloc.synchronization.dark_cameras import Dark
from planeloc.synchronization.lags import MeasuredLags
from planeloc.synchronization.quality import in_ranges, in_words
from planeloc.synchronization.settings import SynchronizeSettings

_WIDTH_INCH, _DPI = 10.5, 150
_LEAST_SEEN = 0.006  # of the movie, how wide a gap is drawn at least
_LEFT_OUT = "#b3261e"


def write_figure(
    path: Path,
    found: CameraFrames,
    measured: MeasuredLags | None,
    cameras: Sequence[Camera],
    settings: SynchronizeSettings,
    dark: Dark = (),
) -> None:
    """Draw lag against frame, and agreement of every camera with the others against lag."""
    figure = Figure(figsize=(_WIDTH_INCH, max(4.2, 0.9 * len(cameras) + 0.9)), dpi=_DPI, layout="constrained")
    figure.suptitle(_title(found, measured, cameras, settings, dark), fontsize=12, fontweight="bold")
    left, beside = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    right = beside.subplots()
    right.spines[["top", "right"]].set_visible(False)
    _draw_lags(left, found, cameras)
    if measured is None:
        right.text(0.5, 0.5, "not measured", transform=right.transAxes, ha="center", color="#888888")
        right.set_axis_off()
    else:
        _draw_agreement(right, measured, cameras)
    save_figure(path, figure, "synchronize")


def _title(
    found: CameraFrames,
    measured: MeasuredLags | None,
    cameras: Sequence[Camera],
    settings: SynchronizeSettings,
    dark: Dark,
) -> str:
    if measured is None:
        return "synchronization of the cameras: not measured (mode: never)"
    late = [
        f"{camera.name}: {in_words(lags)}"
        for camera, lags in zip(cameras, found.lags, strict=True)
        if any(lag.frames for lag in lags)
    ]
    unlit = [
        f"{camera.name}: dark in frames {in_ranges(own)}" for camera, own in zip(cameras, dark, strict=True) if own
    ]
    if late:
        late.append("put in step" if settings.mode == "auto" else "not put in step (mode: check)")
    if late or unlit:
        return "\n".join([*unlit, *late])
    unknown = measured.significance < settings.lag_significance_warn
    if unknown.any():
        return "cannot tell whether all cameras are in step"
    return "all cameras are in step"


def _draw_lags(figure: SubFigure, found: CameraFrames, cameras: Sequence[Camera]) -> None:
    """A strip for every camera, so that those in step do not hide each other."""
    ends = [lag.frames for lags in found.lags for lag in lags]
    panels = figure.subplots(len(cameras), 1, sharex=True, sharey=True, squeeze=False).ravel()
    least = _LEAST_SEEN * found.frames
    for plane, (panel, camera, lags) in enumerate(zip(panels, cameras, found.lags, strict=True)):
        panel.spines[["top", "right"]].set_visible(False)
        panel.axhline(0, color="#bbbbbb", linewidth=0.6, zorder=1)
        for gap in found.left_out:
            start = min(gap.start, found.frames - least)
            panel.axvspan(start, max(gap.stop, start + least), color=_LEFT_OUT, alpha=0.6, linewidth=0)
        first = [*(lag.first for lag in lags), found.frames]
        value = np.array([*(lag.frames for lag in lags), lags[-1].frames])
        panel.step(first, value, where="post", color=plane_colour(plane), linewidth=2.2, zorder=3)
        panel.set_title(camera.name, loc="right", fontsize=9, color=plane_colour(plane), pad=2)
    panels[0].set_ylim(min(*ends, -1) - 0.3, max(*ends, 1) + 0.3)
    panels[0].yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    panels[0].set_xlim(0, found.frames)
    panels[-1].set_xlabel("frame of the movie")
    figure.supylabel("lag behind most cameras (frames)", fontsize=10)
    if found.left_out:
        panels[0].set_title("red: a camera has no image of that moment", loc="left", fontsize=9, color=_LEFT_OUT)


def _draw_agreement(panel: Axes, measured: MeasuredLags, cameras: Sequence[Camera]) -> None:
    largest = measured.curves.shape[1] // 2
    for plane, (camera, curve) in enumerate(zip(cameras, measured.curves, strict=True)):
        panel.plot(
            np.arange(-largest, largest + 1), curve, "o-", markersize=3, color=plane_colour(plane), label=camera.name
        )
    panel.axhline(0, color="black", linewidth=0.6)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("lag (frames)")
    panel.set_ylabel("agreement with the other cameras\n(standard deviations per 10 frames)")
