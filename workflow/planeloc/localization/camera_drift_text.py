"""The drift of every camera through a movie in words and numbers, as a microscopist would say it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.core.checks import Check, check_at_most

Array = NDArray[np.float64]

_LEAST_NM = 10.0  # movements below are not worth a remedy
_SIGMAS = 4.0  # by which a movement must exceed its standard deviation
_EARLY = 1 / 3  # part of the movie in which a camera settles
_MOST_OF = 0.6  # of the movement, to call it settling
_STEPS = 8.0  # times the usual step from frame to frame is a jump
_ENDS = 5  # frames that are averaged at the beginning and at the end
_UNSTEADY = 0.8  # scatter from frame to frame relative to all of the movement: no slow drift


class Movement(NamedTuple):
    """How a camera moved against the reference camera."""

    kind: str  # unknown, still, jump, unsteady, settling, steady
    size_nm: float
    frame: int = 0  # of a jump, or by which a camera has settled


def movement(frames: NDArray[np.int64], drift_nm: Array, sd_nm: Array) -> Movement:
    """What kind of drift a camera has.

    Parameters
    ----------
    frames : (n,), ascending.
    drift_nm, sd_nm : (n, 2) of one camera along x and y, and its standard deviation (NaN: unknown).
    """
    known = np.isfinite(sd_nm).all(axis=1) & np.isfinite(drift_nm).all(axis=1)
    if np.count_nonzero(known) < 2:
        return Movement("unknown", math.nan)
    frames, drift, sd = frames[known], drift_nm[known], sd_nm[known]
    noise = float(np.median(np.hypot(*sd.T)))
    middle = np.median(drift, axis=0)
    size = 2 * float(np.quantile(np.hypot(*(drift - middle).T), 0.98))
    steps = np.hypot(*np.diff(drift, axis=0).T)
    largest = int(steps.argmax())
    beside = np.delete(steps, largest)
    usual = float(np.quantile(beside, 0.9)) if len(beside) else 0.0
    if steps[largest] > max(_LEAST_NM, _STEPS * usual, _SIGMAS * noise):
        return Movement("jump", float(steps[largest]), int(frames[largest + 1]))
    if size < max(_LEAST_NM, _SIGMAS * noise):
        return Movement("still", max(size, 2 * noise))
    scatter = math.sqrt(float((steps**2).mean()) / 2)
    if scatter > _UNSTEADY * math.sqrt(float(((drift - drift.mean(axis=0)) ** 2).sum(axis=1).mean())):
        return Movement("unsteady", scatter / math.sqrt(2))
    return _slow(frames, drift)


def _slow(frames: NDArray[np.int64], drift: Array) -> Movement:
    """Settling early in the movie, or drifting all through it."""
    few = max(1, min(_ENDS, len(frames) // 50))
    begin, late = drift[:few].mean(axis=0), drift[len(drift) // 2 :].mean(axis=0)
    way = float(np.hypot(*(late - begin)))
    left = np.hypot(*(drift - late).T)
    rest = 2 * float(np.quantile(left[int(_EARLY * len(frames)) :], 0.98))
    settled = np.flatnonzero(left > 0.2 * way)
    last = int(settled[-1]) + 1 if len(settled) else 0
    if way > 0 and rest <= (1 - _MOST_OF) * 2 * way and last <= _EARLY * len(frames):
        return Movement("settling", way, int(frames[min(last, len(frames) - 1)]))
    ends = drift[-few:].mean(axis=0) - begin
    middle = np.median(drift, axis=0)
    widest = 2 * float(np.quantile(np.hypot(*(drift - middle).T), 0.98))
    return Movement("steady", max(float(np.hypot(*ends)), widest), int(frames[-1]))


def in_words(name: str, found: Movement, frames: int, seconds_per_frame: float | None = None) -> str:
    """One sentence on a camera: what it did, and what to do about it."""
    size = f"{found.size_nm:.0f} nm"
    if found.kind == "unknown":
        return f"{name}: its drift is not known"
    if found.kind == "still":
        return f"{name} stayed in place within {size}"
    if found.kind == "jump":
        return f"{name} jumped by {size} at {_moment(found.frame, seconds_per_frame)}: was it touched?"
    if found.kind == "unsteady":
        return f"{name} moves by {size} from frame to frame along x and y (rms): check for vibrations and air currents"
    if found.kind == "settling":
        return f"{name} moved {size} in the first {_time(found.frame, seconds_per_frame)}: let the stage settle"
    return f"{name} drifted by {size} over {_time(frames, seconds_per_frame)}: check the temperature and the mounts"


def _moment(frame: int, seconds_per_frame: float | None) -> str:
    return f"frame {frame}" if seconds_per_frame is None else f"{_time(frame, seconds_per_frame)} (frame {frame})"


def _time(frames: int, seconds_per_frame: float | None) -> str:
    if seconds_per_frame is None:
        return f"{frames:,} frame{'' if frames == 1 else 's'}"
    seconds = frames * seconds_per_frame
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def drift_values(drift_nm: Array, sd_nm: Array) -> dict[str, float]:
    """Quality values by name, of drift and standard deviation (n, planes − 1, 2); NaN where the drift is unknown."""
    values: dict[str, float] = {}
    for plane in range(1, drift_nm.shape[1] + 1):
        drift, sd = drift_nm[:, plane - 1], sd_nm[:, plane - 1]
        known = np.isfinite(sd).all(axis=1)
        name = f"camera_{plane}_"
        rms = math.sqrt(float((drift[known] ** 2).mean())) if known.any() else math.nan
        values[f"{name}drift_rms_nm"] = rms
        values[f"{name}drift_sd_nm"] = float(np.median(sd[known])) if known.any() else math.nan
    return values


def drift_checks(
    values: Mapping[str, float], sentences: Sequence[str], trained_nm: Sequence[float], factor: float
) -> list[Check]:
    """Whether every camera's drift is one that the network was trained for; none on one that is unknown.

    Parameters
    ----------
    values : of `drift_values`.
    sentences, trained_nm : of planes 1…: `in_words`, and rms drift per axis in the network's training.
    factor : that the drift may exceed that of the training by.
    """
    checks = []
    for plane, (sentence, trained) in enumerate(zip(sentences, trained_nm, strict=True), start=1):
        rms = values[f"camera_{plane}_drift_rms_nm"]
        if math.isfinite(rms):
            advice = (
                f"{sentence}; the network was trained for {trained:.0f} nm (rms along x and y): train it with larger "
                "inter_camera_drift_voxels, or record beads again"
            )
            checks.append(check_at_most(f"camera_{plane}_drift_rms_nm", rms, advice, warn=factor * trained))
    return checks
