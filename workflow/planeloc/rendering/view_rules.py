"""What the text of a view's settings means, and what a view must fulfil.

The workflow runs this file by itself before its first job, where the package may live only in a container: it needs
nothing but Python.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

INTERVALS = {"region": ("x", "y"), "depth_range": ("z",), "colour_range": ("colour",)}
"""Settings that hold the ends of intervals, and what these are of."""

_LARGEST_PICTURE_PX = 100_000_000  # a picture is computed in memory, some 30 bytes per pixel
_LARGEST_STACK_PX = 1_000_000_000  # 4 GB before compression


def intervals(text: str, quantities: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The two ends of every interval in "1,2,3,4", by quantity; nothing if the text is empty.

    Raises
    ------
    ValueError : the text is not that; says what to give.
    """
    if not text.strip():
        return {}
    wanted = ",".join(f"{quantity}0,{quantity}1" for quantity in quantities)
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 2 * len(quantities) or not all(map(math.isfinite, values)):
        raise ValueError(f"give {2 * len(quantities)} numbers, {wanted}")
    ends = {quantity: (values[2 * i], values[2 * i + 1]) for i, quantity in enumerate(quantities)}
    for quantity, (low, high) in ends.items():
        if low >= high:
            raise ValueError(f"{quantity}0 is {low:g} and {quantity}1 is {high:g}; give the smaller one first")
    return ends


def size_mistake(width_nm: float, height_nm: float, pixel_nm: float, slices: int) -> str:
    """What to change in a view of this size in x and y, or nothing."""
    pixels = width_nm * height_nm / pixel_nm**2
    if pixels <= _LARGEST_PICTURE_PX and pixels * slices <= _LARGEST_STACK_PX:
        return ""
    smallest = math.sqrt(width_nm * height_nm / min(_LARGEST_PICTURE_PX, _LARGEST_STACK_PX / slices))
    return (
        f"{width_nm / 1000:g} × {height_nm / 1000:g} µm in pixels of {pixel_nm:g} nm and {slices} slices are too many; "
        f"give pixel_nm {math.ceil(smallest * 10) / 10:g} or more, or a smaller region"
    )


def view_mistakes(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Setting and what is wrong with it, for the settings of a view whose kinds and bounds are right."""
    mistakes: list[tuple[str, str]] = []
    ends: dict[str, tuple[float, float]] = {}
    for name, quantities in INTERVALS.items():
        try:
            ends |= intervals(settings[name], quantities)
        except ValueError as error:
            mistakes.append((name, f"is {settings[name]!r}; {error}"))
    if settings["colour_by"] == "none" and settings["colour_range"]:
        mistakes.append(("colour_range", "is given, but colour_by is none; delete one of them"))
    mistakes += [
        (
            "region",
            f"is {settings['region']}: {high - low:g} nm along {axis} are less than a pixel; coordinates are "
            "in nm (those in µm, as Fiji shows them, times 1,000)",
        )
        for axis, (low, high) in ends.items()
        if axis in "xy" and high - low < settings["pixel_nm"]
    ][:1]
    if "x" in ends and "y" in ends:
        width, height = (ends[axis][1] - ends[axis][0] for axis in "xy")
        if mistake := size_mistake(width, height, settings["pixel_nm"], settings["slices"]):
            mistakes.append(("pixel_nm", f"is {settings['pixel_nm']:g}: {mistake}"))
    return mistakes
