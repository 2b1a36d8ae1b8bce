"""Which frame of every camera shows a moment of the movie.

Frame n of all cameras should be the same moment. A camera that starts late, or loses a frame, is out of step from then
on: its image of moment n is its frame n + lag. The `synchronize` stage measures the lags; here they are applied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import SYNCHRONIZATION

_FORMAT = "planeloc synchronization 1"


class Lag(NamedTuple):
    """From a moment of the movie on, a camera's image is its frame of that number plus `frames`."""

    first: int
    frames: int


@dataclass(frozen=True)
class CameraFrames:
    """The frames of all cameras that show the same moment.

    Attributes
    ----------
    frames : length of the movie, as recorded.
    lags : for every plane, in order of their first frame; the first begins at 0.
    left_out : ranges of moments that are not localized, because one camera's image is missing or uncertain.
    recorded : number of frames that every camera recorded; empty if all recorded all.
    """

    frames: int
    lags: tuple[tuple[Lag, ...], ...]
    left_out: tuple[range, ...] = ()
    recorded: tuple[int, ...] = ()

    @classmethod
    def in_step(cls, frames: int, planes: int, recorded: Sequence[int] = ()) -> CameraFrames:
        """Cameras that are in step; frames that one of them did not record are left out."""
        missing = (range(min(recorded), frames),) if recorded and min(recorded) < frames else ()
        return cls(frames, ((Lag(0, 0),),) * planes, missing, tuple(recorded))

    @property
    def trivial(self) -> bool:
        """Whether frame n of every camera is used as moment n."""
        return not self.left_out and all(lag.frames == 0 for plane in self.lags for lag in plane)

    @property
    def identity(self) -> str:
        """A hash of what is used; empty if the cameras are used as they are."""
        return "" if self.trivial else hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def lag_of(self, plane: int, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lag of a plane at some moments."""
        firsts, lags = np.array(self.lags[plane]).T
        return lags[np.searchsorted(firsts, moments, side="right") - 1]

    def of(self, start: int, stop: int) -> NDArray[np.int64]:
        """(planes, stop − start): frame of every camera at the moments [start, stop).

        A moment that is left out has the frames of its mirror image beyond the nearer end of the gap, so that it does
        not spoil what is computed over neighbouring frames, such as the background; `whole` says where.
        """
        moments = self._mirrored(np.arange(start, stop))
        frames = np.stack([moments + self.lag_of(plane, moments) for plane in range(len(self.lags))])
        last = np.array(self.recorded or (self.frames,) * len(self.lags)) - 1
        return frames.clip(0, last[:, None])

    def whole(self, moments: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether all cameras have an image of some moments, and it is certain which."""
        known = np.ones(np.shape(moments), dtype=bool)
        for gap in self.left_out:
            known &= (moments < gap.start) | (moments >= gap.stop)
        return known

    def _mirrored(self, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Moments, with those that are left out replaced by others that are not."""
        mirrored = moments.copy()
        edges = [0, *(edge for gap in self.left_out for edge in (gap.start, gap.stop)), self.frames]
        for number, gap in enumerate(self.left_out):
            first, last = edges[2 * number], edges[2 * number + 3] - 1  # of what is kept on both sides
            inside = moments[(moments >= gap.start) & (moments < gap.stop)]
            before = np.maximum(2 * gap.start - 1 - inside, first)
            after = np.minimum(2 * gap.stop - 1 - inside, last)
            nearer = (inside - gap.start < gap.stop - 1 - inside) | (last < gap.stop)
            chosen = np.where(nearer & (first < gap.start), before, after)
            mirrored[(moments >= gap.start) & (moments < gap.stop)] = chosen
        return mirrored.clip(0, max(self.frames - 1, 0))

    @property
    def frames_left_out(self) -> int:
        """Number of moments that are not localized."""
        return int(np.count_nonzero(~self.whole(np.arange(self.frames))))

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "frames": self.frames,
            "lags": [[lag._asdict() for lag in plane] for plane in self.lags],
            "left_out": [[gap.start, gap.stop] for gap in self.left_out],
            **({"recorded": list(self.recorded)} if self.recorded else {}),
        }

    def write(self, path: Path, details: Mapping[str, Any]) -> None:
        """Write JSON; `details` are kept beside the frames."""
        meaning = "the image of moment n of a camera is its frame n + frames, from first on; [start, stop) is left out"
        content = {"format": _FORMAT, "meaning": meaning, **self.as_dict(), "details": dict(details)}
        write_json(path, content, SYNCHRONIZATION)

    @classmethod
    def read(cls, path: Path) -> CameraFrames:
        """Read the file.

        Raises
        ------
        PlanelocError : it is missing, damaged or of another format.
        """
        content = read_json(path)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            lags = tuple(tuple(Lag(int(e["first"]), int(e["frames"])) for e in plane) for plane in content["lags"])
            left_out = tuple(range(int(start), int(stop)) for start, stop in content["left_out"])
            recorded = tuple(map(int, content.get("recorded", ())))
            found = cls(int(content["frames"]), lags, left_out, recorded)
            if not lags or not all(_in_order(plane, found.frames) for plane in lags):
                raise ValueError("lags")
            if recorded and (len(recorded) != len(lags) or not 1 <= min(recorded) <= max(recorded) == found.frames):
                raise ValueError("recorded")
        except (KeyError, TypeError, ValueError):
            raise PlanelocError(
                f"{path}: not a planeloc synchronization; make it with `planeloc synchronize`"
            ) from None
        return found


def _in_order(lags: Sequence[Lag], frames: int) -> bool:
    firsts = [lag.first for lag in lags]
    return firsts[:1] == [0] and firsts == sorted(set(firsts)) and firsts[-1] < max(frames, 1)
