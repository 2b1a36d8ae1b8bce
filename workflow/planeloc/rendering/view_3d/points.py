"""Localizations as compact bytes for the page.

Numbers are split into planes of bytes, lowest byte first, each with one byte per localization; the planes follow each
other and are compressed together:

- x, y, z: three planes each, multiples of 0.1 nm from `Points.origin_nm` (rounded by at most 0.05 nm, up to 1.6 mm);
- standard deviations of x, y, z: one plane each, the logarithm in 255 steps from the smallest to the largest;
- frame: two planes, from 0 (first frame) to 65,535 (last).

The order is random, so that any number of rows from the beginning is a fair sample: of a table that is larger than the
page holds, and, in the page, of what a slow device can draw while the view moves.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError

STEP_NM = 0.1
_AXES = ("x", "y", "z")
_LARGEST_STEPS = (1 << 24) - 1
_SD_STEPS = 255
_SMALLEST_SD_NM = 0.1
_SEED = 16  # of the order; the numbers of PCG64 are the same in all versions of NumPy
_COMPRESSION = 6


@dataclass(frozen=True)
class Points:
    """The localizations of a page.

    Attributes
    ----------
    packed : the planes of bytes, as gzip.
    shown : number of localizations in `packed`.
    total : number of rows of the table.
    unplaced : rows left out because x, y or z is not a number.
    origin_nm : x, y, z of step 0.
    low_nm, high_nm : smallest and largest x, y, z of those shown.
    sd_smallest_nm, sd_ratio : standard deviation of step 0, and ratio of two steps.
    precision_nm : 1st and 99th percentile of the lateral precision.
    frames : first and last frame.
    """

    packed: bytes
    shown: int
    total: int
    unplaced: int
    origin_nm: list[float]
    low_nm: list[float]
    high_nm: list[float]
    sd_smallest_nm: float
    sd_ratio: float
    precision_nm: list[float]
    frames: list[int]


def pack(
    path: Path, columns: Mapping[str, NDArray], maximum_points: int, sigma_nm: float, maximum_sigma_nm: float
) -> Points:
    """Pack the columns of a table.

    Parameters
    ----------
    path : the table's file, for messages.
    columns : x, y, z, x_sd, y_sd, z_sd (nm) and frame, each (rows,).
    maximum_points : largest number of rows to keep.
    sigma_nm : stands for an unknown standard deviation.
    maximum_sigma_nm : limit of the standard deviations.

    Raises
    ------
    PlanelocError : the localizations spread over more than 1.6 mm.
    """
    total = len(columns["x"])
    placed = np.flatnonzero(np.logical_and.reduce([np.isfinite(columns[axis]) for axis in _AXES]))
    rows = placed[random_order(len(placed))[:maximum_points]]
    position = np.array([columns[axis][rows] for axis in _AXES])
    sds = np.array([_standard_deviation(columns[f"{axis}_sd"][rows], sigma_nm, maximum_sigma_nm) for axis in _AXES])
    frame = columns["frame"][rows]
    if not len(rows):
        empty = [0.0, 0.0, 0.0]
        return Points(_gzip([]), 0, total, total - len(placed), empty, empty, empty, 1.0, 1.0, [0.0, 1.0], [0, 0])
    low, high = position.min(axis=1), position.max(axis=1)
    if (high - low).max() > _LARGEST_STEPS * STEP_NM:
        raise PlanelocError(
            f"{path}: localizations spread over {(high - low).max() / 1e6:.1f} mm; a 3D view holds up to 1.6 mm: "
            "filter the table first"
        )
    smallest = float(sds.min())
    ratio = max(float(sds.max()) / smallest, 1.0 + 1e-6) ** (1 / _SD_STEPS)
    first, last = int(frame.min()), int(frame.max())
    steps = np.rint((position - low[:, None]) / STEP_NM).astype("<u4")
    planes = [plane for axis in steps for plane in _bytes(axis, 3)]
    planes += [np.rint(np.log(sd / smallest) / np.log(ratio)).astype(np.uint8) for sd in sds]
    planes += _bytes(np.rint((frame - first) * (65535 / max(last - first, 1))).astype("<u2"), 2)
    lateral = np.sqrt((sds[0] ** 2 + sds[1] ** 2) / 2)
    return Points(
        packed=_gzip(planes),
        shown=len(rows),
        total=total,
        unplaced=total - len(placed),
        origin_nm=low.tolist(),
        low_nm=low.tolist(),
        high_nm=high.tolist(),
        sd_smallest_nm=smallest,
        sd_ratio=ratio,
        precision_nm=_spread(*np.percentile(lateral, (1, 99))),
        frames=[first, last],
    )


def random_order(rows: int) -> NDArray[np.int64]:
    """A random order of rows, the same for every table of this length."""
    return np.argsort(np.random.PCG64(_SEED).random_raw(rows), kind="stable")


def _standard_deviation(sd: NDArray, sigma_nm: float, maximum_nm: float) -> NDArray[np.float64]:
    known = np.where(np.isfinite(sd), sd, sigma_nm)
    return np.clip(known, min(_SMALLEST_SD_NM, maximum_nm), maximum_nm)


def _spread(low: float, high: float) -> list[float]:
    """A range that is not empty, for a scale of colours."""
    return [float(low), float(high)] if high > low * (1 + 1e-6) else [0.5 * float(low), 1.5 * float(high)]


def _bytes(values: NDArray, count: int) -> list[NDArray[np.uint8]]:
    """The `count` lowest bytes of little-endian numbers, each as an array of its own."""
    return list(values.view(np.uint8).reshape(len(values), -1).T[:count])


def _gzip(planes: list[NDArray[np.uint8]]) -> bytes:
    """Without a time, so that equal tables give equal bytes."""
    return gzip.compress(b"".join(plane.tobytes() for plane in planes), _COMPRESSION, mtime=0)
