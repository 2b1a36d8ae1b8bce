"""Fig. 10: how fast the network is on images of any size."""

from __future__ import annotations

import numpy as np

from planeloc_reproduction import published
from planeloc_reproduction.figures.speed import draw_speed
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import Speed
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, difference, number, percent


def speed(context: Context) -> Section:
    """Frames per second against the paper's law and its one printed value."""
    title, measured = "Fig. 10: speed against image size", context.results.speed
    if measured is None:
        return Section("fig10", title, missing="The speed was not measured in this run (speed.json).")
    path, mark = context.figures / "fig10.png", context.mark(["robust"])
    draw_speed(path, measured, mark)
    architecture = f" ({measured.network})" if measured.network else ""
    picture = Picture(
        path,
        "Frames per second against the side of the image, both logarithmic",
        f"The network{architecture} on {measured.device}. Dashed: inversely proportional to the number of "
        "pixels, through the largest size. The training changes no speed.",
    )
    law = _law(measured)
    rows = []
    for size, rate, expected in zip(measured.size_px, measured.frames_per_second, law, strict=True):
        told = published.NETWORK_SPEED if size == published.SPEED_SIZE_PX else None
        rows.append(
            (
                f"{size:g} × {size:g}",
                number(told.value) if told else NOTHING,
                number(rate),
                difference(rate, told.value) if told else NOTHING,
                percent(rate / expected),
                f"× {number(rate / published.CAMERA_SPEED.value)}",
            )
        )
    header = (
        "Image, pixels",
        "Paper, frames/s",
        "Ours, frames/s",
        "Difference",
        "Of 1 / pixels",
        "Over the camera's 22",
    )
    return Section("fig10", title, _why(measured), [picture], [Table("Frames per second", header, rows, mark)])


def _law(measured: Speed) -> np.ndarray:
    return measured.frames_per_second[-1] * (measured.size_px[-1] / measured.size_px) ** 2


def _why(measured: Speed) -> str:
    size, rate = measured.size_px, measured.frames_per_second
    told, parts = published.NETWORK_SPEED.value, []
    at = np.flatnonzero(size == published.SPEED_SIZE_PX)
    if len(at):
        ratio = rate[at[0]] / told
        parts.append(f"makes {number(ratio)} times the paper's {told:g} frames per second (V100) at 16 × 16 pixels")
    if len(size) > 1:
        share = rate[0] / _law(measured)[0]
        if share < 0.8:
            cause = (
                f"small images reach {percent(share)} of the 1 / pixels law: every call has a cost besides its pixels"
            )
        elif share > 1.25:
            cause = "large images are slower than 1 / pixels says, as when layers outgrow the caches"
        else:
            cause = "the speed follows 1 / pixels, as in the paper"
        parts.append(cause if parts else f"was timed: {cause}")
    fast = size[rate >= published.CAMERA_SPEED.value]
    whole = f"up to {fast.max():g} × {fast.max():g} pixels" if len(fast) else "at no size measured"
    parts.append(
        f"{'it ' if parts else ''}keeps up with the camera's {published.CAMERA_SPEED.value:g} frames per second {whole}"
    )
    return f"The network here ({measured.device}) " + "; ".join(parts) + "."
