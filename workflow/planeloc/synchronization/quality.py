"""Quality values of the synchronization of the cameras, and verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from planeloc.cameras.camera import Camera, camera_called
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.movie.camera_frames import CameraFrames, Lag
from planeloc.synchronization.dark_cameras import Dark
from planeloc.synchronization.lags import MeasuredLags
from planeloc.synchronization.settings import SynchronizeSettings

_MOST_NAMED = 5  # slips in one line


def lag_values(found: CameraFrames, measured: MeasuredLags | None) -> dict[str, float]:
    """Quality values by name: of every camera its largest lag, its slips, and how clearly its lag is known."""
    values: dict[str, float] = {"frames_out_of_step": found.frames_left_out}
    if measured is None:
        return values
    for plane, lags in enumerate(found.lags):
        values[f"camera_{plane}_lag_frames"] = max((lag.frames for lag in lags), key=abs)
        values[f"camera_{plane}_slips"] = len(lags) - 1
        values[f"camera_{plane}_lag_significance"] = float(measured.significance[plane])
    return values


def dark_values(dark: Dark, frames: int) -> dict[str, float]:
    """Of every camera, the fraction of the movie in which it is dark."""
    return {f"camera_{plane}_dark_fraction": sum(map(len, own)) / max(frames, 1) for plane, own in enumerate(dark)}


def dark_checks(
    values: Mapping[str, float], dark: Dark, cameras: Sequence[Camera], settings: SynchronizeSettings
) -> list[Check]:
    """Verdicts on every camera: does it see light where the others see molecules?"""
    most = settings.dark_fraction_fail if settings.mode == "auto" else 0.0
    checks = []
    for plane, (camera, own) in enumerate(zip(cameras, dark, strict=True)):
        value = values[f"camera_{plane}_dark_fraction"]
        advice = f"camera {camera.name}: dark in frames {in_ranges(own)}, where the others see light; "
        advice += (
            "the frames are left out; check its shutter, filter and connection"
            if value <= most
            else "every plane is needed to localize: check shutter, filter and connection, and record the movie again; "
            "to go on without this camera, leave it out of the microscope file and of all tables, and calibrate again"
        )
        checks.append(check_at_most(f"camera_{plane}_dark_fraction", value, advice, warn=0, fail=most))
    return checks


def in_ranges(ranges: Sequence[range]) -> str:
    """Frames in words: "0 to 99, 200"."""
    named = [f"{each.start} to {each.stop - 1}" if len(each) > 1 else f"{each.start}" for each in ranges]
    more = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {more} more ranges" if more > 0 else "")


def lag_checks(
    values: Mapping[str, float], found: CameraFrames, cameras: Sequence[Camera], settings: SynchronizeSettings
) -> list[Check]:
    """Verdicts on every camera: is it in step, and could the movie tell?"""
    corrected = settings.mode == "auto"
    checks = []
    for plane, camera in enumerate(cameras):
        name = f"camera_{plane}_"
        checks.append(
            check_at_least(
                f"{name}lag_significance",
                values[f"{name}lag_significance"],
                f"{camera_called(camera.name)}: cannot tell whether it is in step with the others: too few molecules "
                "turn on "
                "and off, or the registration does not fit this movie",
                warn=settings.lag_significance_warn,
            )
        )
        late = f"{camera_called(camera.name)}: {in_words(found.lags[plane])}; "
        late += (
            "the images are used at their own moment; check the trigger cable and the acquisition software"
            if corrected
            else "set mode: auto to use its images at their own moment, or record the movie again"
        )
        apart = abs(values[f"{name}lag_frames"])
        checks.append(
            check_at_most(f"{name}out_of_step_frames", apart, late, warn=0, fail=math.inf if corrected else 0)
        )
    return checks


def in_words(lags: Sequence[Lag]) -> str:
    """What a camera's lags mean: "1 frame late", "in step, 1 frame early from frame 300 on (it lost a frame)"."""
    parts = [_lag_in_words(lags[0].frames)]
    for before, lag in pairwise(lags):
        lost = before.frames - lag.frames
        why = f"lost {_frames(lost)}" if lost > 0 else f"delivered {_frames(-lost)} too many"
        parts.append(f"{_lag_in_words(lag.frames)} from frame {lag.first} on (it {why})")
    more = len(parts) - _MOST_NAMED
    return ", ".join(parts[:_MOST_NAMED]) + (f", and {more} more slips" if more > 0 else "")


def _lag_in_words(frames: int) -> str:
    if not frames:
        return "in step"
    return f"{_frames(abs(frames))} {'late' if frames > 0 else 'early'}"


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
