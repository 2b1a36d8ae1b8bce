"""The same part of the sample with and without its drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.rendering.colouring import Colouring
from planeloc.rendering.figure import GAP_PX, Panel, write_panels
from planeloc.rendering.layouts import Tone
from planeloc.rendering.scene import Scene

_SIDE_NM = 3000.0  # of the part that is shown, at most
_PIXEL_NM = 4.0
_CELL_NM = 25.0  # localizations that share a cell belong to a structure
_STEPS = 4  # places per side of the part that are compared


def write_before_after(
    path: Path, scene: Scene, drift_nm: NDArray[np.float64], colouring: Colouring, tone: Tone, subtracted: bool
) -> None:
    """Draw the part of the sample with most structure, as it was localized and without drift, from two sides.

    Parameters
    ----------
    scene : the localizations without drift.
    drift_nm : what was subtracted from every row, (rows, 3).
    subtracted : whether anything was; if not, there is one column only.
    """
    part = {**scene.box, **busiest(scene)}
    after = replace(scene, box=part)
    rows = dict(scene.rows)
    rows |= {axis: scene.rows[axis] + drift_nm[:, number] for number, axis in enumerate("xyz")}
    before = replace(after, rows=rows)
    shown = [(before, "as localized"), (after, "without sample drift")] if subtracted else [(after, "as localized")]
    panels: list[Panel] = []
    top = 0
    for side in ("xy", "xz"):
        pictures = tone.pictures([each.mixture(side, (_PIXEL_NM, _PIXEL_NM), colouring) for each, _ in shown])
        for number, (picture, (_, title)) in enumerate(zip(pictures, shown, strict=True)):
            left = number * (picture.shape[1] + GAP_PX)
            last = number == len(shown) - 1 and side == "xz"  # all panels have the same scale
            text = f"{side}{', z ↑' if side == 'xz' else ''}: {title}"
            panels.append(Panel(picture, (_PIXEL_NM, _PIXEL_NM), left, top, text, "across" if last else ""))
        top += pictures[0].shape[0] + GAP_PX
    spread = np.ptp(drift_nm, axis=0) if len(drift_nm) else np.zeros(3)
    ranges = ", ".join(f"{value:.0f} nm in {axis}" for value, axis in zip(spread, "xyz", strict=True))
    note = f"range of the drift: {ranges}" if subtracted else "no sample drift was subtracted"
    write_panels(path, panels, note, tone.bar())


def busiest(scene: Scene) -> dict[str, tuple[float, float]]:
    """The square of the field with most structure: most cells of 25 nm that hold several localizations.

    Cells count by the logarithm of their localizations, so that a bead that is always on does not decide.
    """
    sizes = [scene.size_nm(axis) for axis in "xy"]
    side = min(_SIDE_NM, *sizes)
    cell = [np.floor((scene.rows[axis] - scene.box[axis][0]) / _CELL_NM) for axis in "xy"]
    limits = [int(np.ceil(size / _CELL_NM)) for size in sizes]
    inside = np.logical_and.reduce([(c >= 0) & (c < limit) for c, limit in zip(cell, limits, strict=True)])
    x, y = (c[inside].astype(np.int64) for c in cell)
    cells, counts = np.unique(y * limits[0] + x, return_counts=True)
    y, x = np.divmod(cells, limits[0])
    block = side / _STEPS / _CELL_NM
    shape = [max(_STEPS, int(np.ceil(limit / block))) for limit in limits[::-1]]
    scores = np.zeros(shape)
    np.add.at(scores, ((y / block).astype(int), (x / block).astype(int)), np.log(counts))
    sums = np.lib.stride_tricks.sliding_window_view(scores, (_STEPS, _STEPS)).sum(axis=(2, 3))
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    corner = [min(place * side / _STEPS, size - side) for place, size in zip((column, row), sizes, strict=True)]
    places = [low + scene.box[axis][0] for axis, low in zip("xy", corner, strict=True)]
    return {axis: (place, place + side) for axis, place in zip("xy", places, strict=True)}
