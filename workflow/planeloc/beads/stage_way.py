"""What of the beads' sideways motion during a scan is the stage's, and what is a spot that walks with defocus.

Where the stage is belongs to the slice and is the same for all cameras; how far a spot has walked belongs to the
defocus, and is taken to be the same on all planes, which share the objective. Planes that focus on different slices
tell the two apart, except for what is even: a stage that slides and a spot that walks in proportion look alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planeloc.core.robust import huber

Array = NDArray[np.float64]

_WALK_POWERS = (2, 3, 4)  # of the defocus; the first cannot be told from a slide of the stage
_REWEIGHTINGS = 6
_FEWEST_SERIES = 2
_LEAST_SD_NM = 1.0
_TYPICAL_WAY_NM = 6.0  # of the stage, from slice to slice
_TYPICAL_WALK_NM = 30.0  # of a spot, at one depth of focus from its focus


def uneven_way(position_nm: Array, sd_nm: Array, defocus: Array, usable: NDArray[np.bool_]) -> Array:
    """(slices, 2) nm: the way of the stage less its even part; slices that nothing is known of take their neighbours'.

    Parameters
    ----------
    position_nm : (series, slices, 2) of every bead on every camera, turned onto the reference.
    sd_nm, defocus, usable : (series, slices); defocus in depths of focus.
    """
    series, slices = usable.shape
    way = np.zeros((slices, 2))
    usable = usable & (usable.sum(axis=1, keepdims=True) >= 3)
    if np.count_nonzero(usable.any(axis=1)) < _FEWEST_SERIES:
        return way
    row, place = np.nonzero(usable)
    design = np.zeros((len(row), slices + len(_WALK_POWERS)))
    design[np.arange(len(row)), place] = 1
    design[:, slices:] = np.stack([defocus[usable] ** power for power in _WALK_POWERS], axis=1)
    variance = sd_nm[usable] ** 2 + _LEAST_SD_NM**2
    typical = np.concatenate((np.full(slices, _TYPICAL_WAY_NM), np.full(len(_WALK_POWERS), _TYPICAL_WALK_NM)))
    weights = 1 / variance
    for _ in range(_REWEIGHTINGS):
        total = np.bincount(row, weights, minlength=series)
        centred, target = (
            columns - (_sums(columns, row, weights, series) / np.maximum(total, 1e-300)[:, None])[row]
            for columns in (design, position_nm[usable])
        )
        normal = centred.T @ (weights[:, None] * centred)
        solution = np.linalg.solve(normal + np.diag(typical**-2), centred.T @ (weights[:, None] * target))
        squared = np.sum((target - centred @ solution) ** 2, axis=1) / 2
        scale = max(1.0, float(np.median(squared / variance)))
        weights = huber(squared / (variance * scale)) / variance
    at = np.nonzero(usable.any(axis=0))[0]
    if len(at) >= 3:
        for axis, known in enumerate(solution[at].T):
            way[:, axis] = np.interp(np.arange(slices), at, known - np.polyval(np.polyfit(at, known, 1), at))
    return way


def _sums(columns: Array, row: NDArray[np.int64], weights: Array, series: int) -> Array:
    """(series, k) weighted sums of columns (n, k) over the rows of every series."""
    sums = np.zeros((series, columns.shape[1]))
    np.add.at(sums, row, weights[:, None] * columns)
    return sums
