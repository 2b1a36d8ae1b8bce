"""Figure of the synchronization: the lag of every camera through the movie, and how clearly it is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from planeloc.cameras.camera import Camera
from planeloc.core.figure_style import plane_colour
from planeloc.core.files import atomic_path
from planeloc.movie.camera_frames import CameraFrames
from planeloc.synchronization.dark_cameras import Dark
from planeloc.synchronization.lags import MeasuredLags
from planeloc.synchronization.quality import in_ranges, in_words
from planeloc.synchronization.settings import SynchronizeSettings

_SIZE_INCH, _DPI = (10.5, 4.2), 150
_APART = 0.06  # frames, so that lines of cameras in step do not hide each other
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
    figure = Figure(figsize=_SIZE_INCH, dpi=_DPI, layout="constrained")
    figure.suptitle(_title(found, measured, cameras, settings, dark), fontsize=12, fontweight="bold")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    _draw_lags(left, found, cameras)
    if measured is None:
        right.text(0.5, 0.5, "not measured", transform=right.transAxes, ha="center", color="#888888")
        right.set_axis_off()
    else:
        _draw_agreement(right, measured, cameras)
    with atomic_path(path) as partial:
        figure.savefig(partial, metadata={"Software": None})


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


def _draw_lags(panel: Axes, found: CameraFrames, cameras: Sequence[Camera]) -> None:
    middle = (len(cameras) - 1) / 2
    for plane, (camera, lags) in enumerate(zip(cameras, found.lags, strict=True)):
        first = [*(lag.first for lag in lags), found.frames]
        value = np.array([*(lag.frames for lag in lags), lags[-1].frames]) + (plane - middle) * _APART
        panel.step(first, value, where="post", color=plane_colour(plane), linewidth=2, label=camera.name)
    for gap in found.left_out:
        panel.axvspan(gap.start, gap.stop, color=_LEFT_OUT, alpha=0.25, linewidth=0)
    ends = [lag.frames for lags in found.lags for lag in lags]
    panel.set_ylim(min(*ends, -1) - 0.7, max(*ends, 1) + 0.7)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlim(0, found.frames)
    panel.set_xlabel("frame of the movie")
    panel.set_ylabel("lag (frames)")
    panel.legend(frameon=False, fontsize=9, ncols=2, loc="upper left")
    if found.left_out:
        panel.set_title("red: a camera has no image of that moment", loc="left", fontsize=9)


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
