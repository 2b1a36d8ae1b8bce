"""Fig. 10: frames per second against the size of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from planeloc_reproduction import published
from planeloc_reproduction.figures.style import GREY, INK, look, plain, reference, sheet
from planeloc_reproduction.results import Speed


def draw_speed(path: Path, speed: Speed, note: str) -> None:
    """Log–log, with the law 1/pixels through the largest size, the camera's rate and the paper's one printed value."""
    size, rate = speed.size_px, speed.frames_per_second
    style, paper = look("robust"), published.NETWORK_SPEED.value
    with sheet(path, (9.0, 6.0), note) as figure:
        axes = figure.subplots()
        axes.plot(size, rate, color=style.colour, marker=style.marker, label="the network on this device", zorder=4)
        law = rate[-1] * (size[-1] / size) ** 2
        axes.plot(size, law, color=GREY, linestyle="--", linewidth=1.5, label="1 / pixels through the largest size")
        reach = np.array([published.SPEED_SIZE_PX, max(size[-1], published.SPEED_SIZE_PX)])
        line = {"color": INK, "marker": "D", "markersize": 9, "markevery": [0], "linestyle": ":", "linewidth": 1.5}
        axes.plot(reach, paper * (reach[0] / reach) ** 2, **line, label="the paper: V100, and its law 1 / pixels")
        axes.set(xscale="log", yscale="log", xlabel="side of the image [pixels]", ylabel="frames per second")
        axes.set_title(plain(f"{speed.device}, {speed.precision}".rstrip(", ")), fontsize=12, fontweight="normal")
        reference(axes, published.CAMERA_SPEED.value, f"camera: {published.CAMERA_SPEED.value:g} frames/s")
        for x, y in zip(size, rate, strict=True):
            text = axes.annotate(f"{y:.3g}", (x, y), (-7, -5), textcoords="offset points", ha="right", va="top")
            text.set(fontsize=11, color=style.colour)
        axes.set_xticks(size, [f"{x:g}" for x in size])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0.4 * rate.min(), 2.5 * max(paper, rate.max()))
        axes.set_xlim(size[0] / 1.5, size[-1] * 1.3)
        axes.grid(color="0.92")
        axes.legend(loc="upper right")
