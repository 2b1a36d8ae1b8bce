"""Fig. 10: frames per second against the size of the image."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from planeloc.paper import published
from planeloc.paper.figures.style import GREY, INK, look, plain, reference, sheet
from planeloc.paper.results import Speed


def draw_speed(path: Path, speed: Speed, note: str) -> None:
    """Log–log, with the law 1/pixels through the largest size, the camera's rate and the paper's one printed value."""
    size, rate = speed.size_px, speed.frames_per_second
    style, paper = look("robust"), published.NETWORK_SPEED.value
    with sheet(path, (8.6, 5.8), note) as figure:
        axes = figure.subplots()
        axes.plot(
            size, rate[-1] * (size[-1] / size) ** 2, color=GREY, linestyle="--", linewidth=1.5, label="1 / pixels"
        )
        axes.plot(size, rate, color=style.colour, marker=style.marker, label="the network here")
        axes.plot(published.SPEED_SIZE_PX, paper, "D", color=INK, markersize=9, label="the paper, V100", zorder=4)
        axes.set(xscale="log", yscale="log", xlabel="side of the image [pixels]", ylabel="frames per second")
        axes.set_title(plain(f"{speed.device}, {speed.precision}".rstrip(", ")), fontsize=12, fontweight="normal")
        reference(axes, published.CAMERA_SPEED.value, f"camera: {published.CAMERA_SPEED.value:g} frames/s")
        for x, y in zip(size, rate, strict=True):
            axes.annotate(f"{y:.3g}", (x, y), (0, 9), textcoords="offset points", ha="left", fontsize=11)
        axes.set_xticks(size, [f"{x:g}" for x in size])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(top=2.5 * max(paper, rate.max()))
        axes.grid(color="0.92")
        axes.legend(loc="lower left")
