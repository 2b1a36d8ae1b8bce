"""Local density: localizations of the whole movie around each one, per area.

Counted on a fine grid, in strips of the field: the cost grows with the number of localizations and with the area, and
not, as that of pairs of neighbours does, with the square of the density.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_CELLS_IN_RADIUS = 10
_STRIP_CELLS = 1 << 22  # in memory at once
_LEAST_ROWS = 64  # of a strip, beside those that are read twice


def local_density(x: NDArray[np.float32], y: NDArray[np.float32], radius_nm: float) -> NDArray[np.float32]:
    """Localizations per µm² within a circle around each one, itself left out; NaN where a position is unknown.

    Places are rounded to a tenth of the radius. Beyond the edge of the field there is nothing, so that the density
    there is lower.

    Parameters
    ----------
    x, y : (rows,) nm.
    radius_nm : of the circle.
    """
    density = np.full(len(x), np.nan, np.float32)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return density
    cell = radius_nm / _CELLS_IN_RADIUS
    column, row = (_cells(values, known, cell) for values in (x, y))
    order = np.argsort(np.where(known, row, np.iinfo(np.int32).max), kind="stable")[: np.count_nonzero(known)]
    width, height = int(column[known].max()) + 1, int(row[known].max()) + 1
    half = _half_widths()
    at_once = max(_STRIP_CELLS // width, _LEAST_ROWS)
    sorted_rows = row[order]
    for first in range(0, height, at_once):
        last = min(first + at_once, height)
        reach = first - _CELLS_IN_RADIUS, last + _CELLS_IN_RADIUS
        near, own = (np.searchsorted(sorted_rows, bounds) for bounds in (reach, (first, last)))
        around, inside = order[slice(*near)], order[slice(*own)]
        counts = _counts(row[around] - reach[0], column[around], (reach[1] - reach[0], width), half)
        density[inside] = counts[row[inside] - first, column[inside]] - 1
    cells = sum(2 * each + 1 for each in [half[0], *half[1:], *half[1:]])
    density /= cells * (cell / 1000) ** 2
    return density


def _cells(values: NDArray[np.float32], known: NDArray[np.bool_], cell: float) -> NDArray[np.int32]:
    lowest = values[known].min()
    return np.where(known, np.floor((np.where(known, values, lowest) - lowest) / cell), 0).astype(np.int32)


def _half_widths() -> list[int]:
    """Half the cells of a circle along every line of cells, from its middle on."""
    return [math.floor(math.sqrt(_CELLS_IN_RADIUS**2 - line**2)) for line in range(_CELLS_IN_RADIUS + 1)]


def _counts(
    row: NDArray[np.int32], column: NDArray[np.int32], shape: tuple[int, int], half: list[int]
) -> NDArray[np.int32]:
    """Numbers within the circle around every cell; the lines of cells that only some circles reach are left out."""
    reach = _CELLS_IN_RADIUS
    height, width = shape[0] - 2 * reach, shape[1]
    place = row.astype(np.int64) * width + column
    cells = np.bincount(place, minlength=shape[0] * width).reshape(shape)
    before = np.zeros((shape[0], width + 2 * reach + 1), np.int32)
    np.cumsum(cells, axis=1, out=before[:, reach + 1 : reach + 1 + width])
    before[:, reach + 1 + width :] = before[:, reach + width, None]
    counts = np.zeros((height, width), np.int32)
    for line in range(-reach, reach + 1):
        reached, lines = half[abs(line)], slice(reach + line, reach + line + height)
        counts += before[lines, reach + reached + 1 : reach + reached + 1 + width]
        counts -= before[lines, reach - reached : reach - reached + width]
    return counts
