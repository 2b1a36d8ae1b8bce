"""Drift of the cameras through a movie: estimated when all frames are localized, and taken into every molecule.

Frames are fitted alone, each with a drift of its own. What they know of it is kept in the checkpoints; all frames
together then tell more of the drift of each (`planeloc.localization.drift_strengths`). A molecule follows the drift
that is found, by its response: no second fit is needed, and the table does not depend on how the movie was cut.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.io import localization_table
from planeloc.io.camera_drift import CameraDrift, listed_frames
from planeloc.localization.checkpoints import Checkpoint
from planeloc.localization.drift_model import FARTHEST_NM, FrameInformation, sound
from planeloc.localization.drift_strengths import Strengths, estimate_strengths

_LOG = logging.getLogger(__name__)

Array = NDArray[np.float64]

_POSITION, _SD = ("x", "y", "z"), ("x_sd", "y_sd", "z_sd")
_OF_FRAMES = ("precision", "moment")
_OF_ROWS = ("response", "at_rest", "variance")
ARRAYS = (*_OF_FRAMES, *_OF_ROWS)
"""In a checkpoint, beside the table."""

_LISTED = 3  # jumps
_FRAMES_AT_ONCE = 50_000  # some 7 kB each
_OVERLAP = 1_000  # frames on either side of a stretch: what is farther away says nothing more


class Stretch(NamedTuple):
    """A stretch of frames that is estimated at once."""

    own: range  # frames that the result is taken for
    read: range  # frames that are looked at: some before and after, too


@dataclass(frozen=True)
class DriftOfMovie:
    """Drift of planes 1… in every frame of a movie, x and y of each plane in turn."""

    strengths: tuple[Strengths, ...]  # of the stretches of the movie; nearly always one
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
        planes = self.drift_nm.shape[1] // 2
        level = self.level_nm.reshape(-1, planes, 2)
        moved = np.hypot(*np.moveaxis(level - level[:1], -1, 0)).max(axis=0)
        walk, white = (
            np.sqrt(np.mean([getattr(each, name) for each in self.strengths], axis=0)).reshape(planes, 2)
            for name in ("step", "white")
        )
        jumps = [jump for each in self.strengths for jump in each.jumps]
        steps = [_rounded(level[frame, plane] - level[frame - 1, plane]) for frame, plane in jumps]
        loose = [one for each in self.strengths for one in each.loose]
        return {
            "walk_nm": _rounded(walk),
            "white_nm": _rounded(white),
            "moved_nm": _rounded(moved),
            "jumps": [
                {"frame": frame, "plane": plane + 1, "x_nm": x, "y_nm": y}
                for (frame, plane), (x, y) in zip(jumps, steps, strict=True)
            ],
            "loose_frames": [{"frame": frame, "plane": plane + 1} for frame, plane in loose],
        }


def in_words(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """How far the cameras moved against the first, in a line; `names` of all cameras."""
    moved = ", ".join(f"{name} {size:.0f} nm" for name, size in zip(names[1:], record["moved_nm"], strict=True))
    jumps = ", ".join(
        f"{names[jump['plane']]} by {math.hypot(jump['x_nm'], jump['y_nm']):.0f} nm at frame {jump['frame']}"
        for jump in record["jumps"][:_LISTED]
    )
    more = f" and {len(record['jumps']) - _LISTED} more" if len(record["jumps"]) > _LISTED else ""
    return f"moved during the movie, against {names[0]}: {moved}" + (f"; jumps: {jumps}{more}" if jumps else "")


def drift_of_movie(checkpoints: Sequence[Checkpoint], frames: int) -> DriftOfMovie | None:
    """The drift of a movie from its checkpoints; None where nothing was fitted."""
    return _in_stretches(lambda read: _frames_of(checkpoints, read), frames)


def estimate_drift(known: FrameInformation) -> DriftOfMovie | None:
    """The drift of a movie from what its frames say; None where they say nothing."""

    def read(frames: range) -> FrameInformation:
        return FrameInformation(*(each[frames.start : frames.stop] for each in known))

    return _in_stretches(read, len(known.moment))


def stretches(frames: int) -> list[Stretch]:
    """The stretches of a movie: very long ones are estimated piece by piece, so that memory suffices."""
    count = max(1, -(-frames // _FRAMES_AT_ONCE))
    ends = [round(number * frames / count) for number in range(count + 1)]
    return [
        Stretch(range(start, stop), range(max(0, start - _OVERLAP), min(frames, stop + _OVERLAP)))
        for start, stop in pairwise(ends)
    ]


def _in_stretches(read: Callable[[range], FrameInformation | None], frames: int) -> DriftOfMovie | None:
    found, spoke, silenced = [], 0, 0
    for own, wide in stretches(frames):
        known = read(wide)
        if known is None:
            return None
        before = np.count_nonzero(known.precision.any(axis=(1, 2)))
        known = sound(known)
        now = np.count_nonzero(known.precision.any(axis=(1, 2)))
        spoke, silenced = spoke + now, silenced + before - now
        strengths, best = estimate_strengths(known)
        rows = slice(own.start - wide.start, own.stop - wide.start)
        values = (each[rows] for each in (best.drift, best.covariance, best.level))
        found.append(DriftOfMovie((_within(strengths, own, wide.start),), *values))
    if silenced > spoke:
        _LOG.warning(
            "most frames say that a camera is more than %.0f nm from where its transform says: they are not used to"
            " estimate the drift of the cameras; run update-registration, or register again",
            FARTHEST_NM,
        )
    if not spoke:
        return None
    names = ("drift_nm", "covariance", "level_nm")
    together = (np.concatenate([getattr(each, name) for each in found]) for name in names)
    return DriftOfMovie(tuple(each.strengths[0] for each in found), *together)


def _within(strengths: Strengths, own: range, first: int) -> Strengths:
    """Jumps and loose frames of some frames, where those of `strengths` are counted from the `first`."""
    places = ([(f + first, p) for f, p in each if f + first in own] for each in (strengths.jumps, strengths.loose))
    jumps, loose = map(tuple, places)
    return replace(strengths, jumps=jumps, loose=loose)


def _frames_of(checkpoints: Sequence[Checkpoint], read: range) -> FrameInformation | None:
    """What some frames say of the drift."""
    known: FrameInformation | None = None
    for checkpoint in checkpoints:
        start, stop = max(read.start, checkpoint.frames.start), min(read.stop, checkpoint.frames.stop)
        if start >= stop:
            continue
        arrays = localization_table.read_arrays(checkpoint.path, _OF_FRAMES)
        if len(arrays) < len(_OF_FRAMES):
            return None
        if known is None:
            q = arrays["moment"].shape[1]
            known = FrameInformation(np.zeros((len(read), q, q)), np.zeros((len(read), q)))
        there, here = (slice(start - first, stop - first) for first in (checkpoint.frames.start, read.start))
        known.precision[here], known.moment[here] = arrays["precision"][there], arrays["moment"][there]
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
