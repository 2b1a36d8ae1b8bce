"""The drift of every camera against the reference camera through a movie: the file that `localize` writes (CSV).

A row is a plane in a frame, along the axes of the reference camera. Of long movies only every n-th frame is listed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path

COLUMNS = ("frame", "plane", "x_nm", "y_nm", "x_sd_nm", "y_sd_nm")

MOST_FRAMES = 2000
"""That the file lists."""

_FORMAT = ("%d", "%d", "%.3f", "%.3f", "%.3f", "%.3f")


class CameraDrift(NamedTuple):
    """Drift of planes 1… in some frames; plane 0 is the reference."""

    frame: NDArray[np.int64]  # (frames,), ascending
    drift_nm: NDArray[np.float64]  # (frames, planes − 1, 2)
    sd_nm: NDArray[np.float64]  # (frames, planes − 1, 2)


def listed_frames(frames: int) -> NDArray[np.int64]:
    """The frames of a movie that the file lists: every n-th, so that there are at most `MOST_FRAMES`."""
    return np.arange(0, frames, max(1, -(-frames // MOST_FRAMES)))


def unknown(frames: int, planes: int) -> CameraDrift:
    """Of a movie whose drift was not estimated: 0, with standard deviations that are not known (NaN)."""
    frame = listed_frames(frames)
    nothing = np.zeros((len(frame), planes - 1, 2))
    return CameraDrift(frame, nothing, np.full_like(nothing, np.nan))


def write_camera_drift(path: Path, drift: CameraDrift) -> None:
    """Write the file."""
    count, planes = drift.drift_nm.shape[:2]
    frame, plane = np.repeat(drift.frame, planes), np.tile(np.arange(1, planes + 1), count)
    rows = np.column_stack((frame, plane, drift.drift_nm.reshape(-1, 2), drift.sd_nm.reshape(-1, 2)))
    with atomic_path(path, marks.CAMERA_DRIFT) as partial:
        np.savetxt(partial, rows, _FORMAT, delimiter=",", header=",".join(COLUMNS), comments="")


def read_camera_drift(path: Path) -> CameraDrift:
    """Read the file.

    Raises
    ------
    PlanelocError : it is missing or another one.
    """
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
            rows = np.loadtxt(file, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; create it with `planeloc localize`") from None
    except (OSError, ValueError) as error:
        raise _other_file(path, str(error)) from None
    if header != list(COLUMNS) or rows.size == 0:
        raise _other_file(path, f"its columns should be {', '.join(COLUMNS)}")
    frame, plane = (rows[:, column].astype(np.int64) for column in (0, 1))
    planes = int(plane.max())
    count = len(rows) // planes if planes > 0 else 0
    if len(rows) != count * planes or (plane != np.tile(np.arange(1, planes + 1), count)).any():
        raise _other_file(path, "every frame should have a row for each plane but the first")
    values = rows[:, 2:].reshape(count, planes, 4)
    return CameraDrift(frame[::planes], values[..., :2], values[..., 2:])


def _other_file(path: Path, why: str) -> PlanelocError:
    return PlanelocError(f"{path}: not a table of camera drift ({why}); give the one of `planeloc localize`")
