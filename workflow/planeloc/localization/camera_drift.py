"""Drift of the cameras through a movie: estimated when all frames are localized, and taken into every molecule.

Frames are fitted alone, each with a drift of its own. What they know of it is kept in the checkpoints; all frames
together then tell more of the drift of each (`planeloc.localization.drift_strengths`). A molecule follows the drift
that is found, by its response: no second fit is needed, and the table does not depend on how the movie was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.io import localization_table
from planeloc.io.camera_drift import CameraDrift, listed_frames
from planeloc.localization.checkpoints import Checkpoint
from planeloc.localization.drift_model import FrameInformation, sound
from planeloc.localization.drift_strengths import Strengths, estimate_strengths

Array = NDArray[np.float64]

_POSITION, _SD = ("x", "y", "z"), ("x_sd", "y_sd", "z_sd")
_OF_FRAMES = ("precision", "moment")
_OF_ROWS = ("response", "at_rest", "variance")
ARRAYS = (*_OF_FRAMES, *_OF_ROWS)
"""In a checkpoint, beside the table."""


@dataclass(frozen=True)
class DriftOfMovie:
    """Drift of planes 1… in every frame of a movie, x and y of each plane in turn."""

    strengths: Strengths
    drift_nm: Array  # (frames, q)
    covariance: Array  # (frames, q, q)
    level_nm: Array  # (frames, q) without the part that is new in every frame

    def listed(self) -> CameraDrift:
        """For the file."""
        frame = listed_frames(len(self.drift_nm))
        sd = np.sqrt(np.einsum("nii->ni", self.covariance[frame]))
        drift = self.drift_nm[frame]
        return CameraDrift(frame, drift.reshape(len(frame), -1, 2), sd.reshape(len(frame), -1, 2))

    def record(self) -> dict[str, Any]:
        """For metadata and records: strengths, how far each plane moved, jumps and loose frames."""
        found, planes = self.strengths, self.drift_nm.shape[1] // 2
        level = self.level_nm.reshape(-1, planes, 2)
        moved = np.hypot(*np.moveaxis(level - level[:1], -1, 0)).max(axis=0)
        steps = [(frame, plane, level[frame, plane] - level[frame - 1, plane]) for frame, plane in found.jumps]
        return {
            "walk_nm": _rounded(np.sqrt(found.step).reshape(planes, 2)),
            "white_nm": _rounded(np.sqrt(found.white).reshape(planes, 2)),
            "moved_nm": _rounded(moved),
            "jumps": [{"frame": f, "plane": p + 1, "x_nm": x, "y_nm": y} for f, p, (x, y) in _plain(steps)],
            "loose_frames": [{"frame": frame, "plane": plane + 1} for frame, plane in found.loose],
        }


def drift_of_movie(checkpoints: Sequence[Checkpoint], frames: int) -> DriftOfMovie | None:
    """The drift of a movie from its checkpoints; None where nothing was fitted."""
    known = _frames_of(checkpoints, frames)
    return None if known is None else estimate_drift(known)


def estimate_drift(known: FrameInformation) -> DriftOfMovie | None:
    """The drift of a movie from what its frames say; None where they say nothing."""
    known = sound(known)
    if not known.precision.any():
        return None
    strengths, found = estimate_strengths(known)
    return DriftOfMovie(strengths, found.drift, found.covariance, found.level)


def _frames_of(checkpoints: Sequence[Checkpoint], frames: int) -> FrameInformation | None:
    """What all frames say of the drift."""
    known: FrameInformation | None = None
    for checkpoint in checkpoints:
        arrays = localization_table.read_arrays(checkpoint.path, _OF_FRAMES)
        if len(arrays) < len(_OF_FRAMES):
            continue
        if known is None:
            q = arrays["moment"].shape[1]
            known = FrameInformation(np.zeros((frames, q, q)), np.zeros((frames, q)))
        here = slice(checkpoint.frames.start, checkpoint.frames.stop)
        known.precision[here], known.moment[here] = arrays["precision"], arrays["moment"]
    return known


def follow(columns: dict[str, NDArray], arrays: Mapping[str, NDArray], drift: DriftOfMovie) -> dict[str, NDArray]:
    """Move the localizations of a checkpoint with the drift of its movie; the rows are put in order again.

    Parameters
    ----------
    columns : of the table, of molecules whose frames were fitted alone.
    arrays : `ARRAYS` of the checkpoint.
    """
    rows = np.isfinite(arrays["variance"]).all(axis=1)
    frame = columns["frame"][rows]
    response = arrays["response"][rows].astype(np.float64)
    shift = arrays["at_rest"][rows] + np.einsum("naq,nq->na", response, drift.drift_nm[frame])
    of_drift = np.einsum("naq,nqp,nap->na", response, drift.covariance[frame], response)
    sd = np.sqrt(arrays["variance"][rows] + of_drift)
    moved = {name: values.copy() for name, values in columns.items()}
    for axis, (position, deviation) in enumerate(zip(_POSITION, _SD, strict=True)):
        moved[position][rows] += shift[:, axis]
        moved[deviation][rows] = sd[:, axis]
    order = localization_table.order(moved)
    return {name: values[order] for name, values in moved.items()}


def _rounded(values: Array) -> list[Any]:
    return np.round(values, 3).tolist()


def _plain(steps: list[tuple[int, int, Array]]) -> list[tuple[int, int, list[float]]]:
    return [(int(frame), int(plane), _rounded(step)) for frame, plane, step in steps]
