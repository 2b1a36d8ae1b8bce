"""The `synchronize` stage: is frame n of all cameras the same moment, from the first frame to the last?

Parts of the movie are looked at first, evenly over its length. Where a camera's lag differs between two of them, all
frames between are read, and the slip is located. The counts stay as they are; the lags go into a file that `localize`
reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.progress import progress_bar
from planeloc.core.settings import check
from planeloc.movie.camera_frames import CameraFrames, Lag
from planeloc.movie.store import Movie
from planeloc.synchronization.block_changes import BlockGrid, changes
from planeloc.synchronization.figure import write_figure
from planeloc.synchronization.lags import MeasuredLags, Slip, Stretch, locate_slips, measure_lags
from planeloc.synchronization.quality import lag_checks, lag_values
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.transforms.camera_transform import Registration

_STRETCH_FRAMES = 100
_LOOKED_AT = (4_000, 16_000)  # frames; more of them only where the first do not tell


def synchronize(
    movie: Path, registration: Path, output: Path, figure: Path, quality: Path, settings: SynchronizeSettings
) -> dict[str, Any]:
    """Measure the lag of every camera through a movie; returns what was found, for the record.

    Parameters
    ----------
    movie, registration : manifest of the movie, and the transforms between its cameras.
    output : frames of the cameras to use (`planeloc.movie.camera_frames`), to write.
    figure, quality : figure (PNG) and quality values (JSON) to write.

    Raises
    ------
    PlanelocError : a file cannot be read, movie and transforms have different numbers of cameras, or with mode: check,
        a camera is out of step. Figure and quality values are left beside `figure` and `quality`, with `.failed` in
        their names.
    """
    check(settings)
    recorded, transforms = Movie.open(movie), Registration.read(registration)
    recorded.check_cameras(registration, transforms.planes)
    measured, slips = (None, []) if settings.mode == "never" else find_lags(recorded, transforms, settings)
    found = camera_frames(recorded, measured, slips, settings)
    used = found if settings.mode == "auto" else CameraFrames.in_step(recorded.frames, recorded.planes)
    values = lag_values(found, measured)
    cameras = recorded.microscope.cameras
    checks = lag_checks(values, found, cameras, settings) if measured else []

    def draw(path: Path) -> None:
        write_figure(path, found, measured, cameras, settings)

    stop_on_failure(movie, values, checks, figure, quality, draw)
    print_warnings(checks)
    draw(figure)
    write_quality(quality, values, checks)
    used.write(output, {"mode": settings.mode, "measured": found.as_dict()})
    return {"lags": found.as_dict()["lags"], "frames_left_out": used.frames_left_out}


def find_lags(
    movie: Movie, registration: Registration, settings: SynchronizeSettings
) -> tuple[MeasuredLags, list[Slip]]:
    """The lags of all cameras through a movie, and where they change."""
    reader = _Reader(movie, registration, min(settings.maximum_lag_frames, max(1, movie.frames // 4)))
    for most in _LOOKED_AT:
        stretches = reader.read(_spread(movie.frames, most))
        measured = measure_lags(stretches)
        if movie.frames <= most or (measured.significance >= settings.lag_significance_warn).all():
            break
    while gaps := _gaps_with_a_slip(stretches, measured):
        stretches = sorted([*stretches, *reader.read(gaps)], key=lambda stretch: stretch.start)
        measured = measure_lags(stretches)
    return measured, locate_slips(stretches, measured)


class _Reader:
    """Reads the changes of light of a movie."""

    def __init__(self, movie: Movie, registration: Registration, largest_lag: int) -> None:
        self._movie, self._largest = movie, largest_lag
        self._grid = BlockGrid.of(registration, movie.height, movie.width)

    def read(self, parts: Sequence[range]) -> list[Stretch]:
        """The changes in some parts of the movie."""
        with progress_bar(sum(map(len, parts)), "synchronizing", "frame", log_every_s=10) as bar:
            stretches = []
            for part in parts:
                stretches.append(self._read(part.start, part.stop))
                bar.update(len(part))
        return stretches

    def _read(self, start: int, stop: int) -> Stretch:
        first = max(start - self._largest - 1, 0)
        found = changes(self._grid.light(self._movie.read(first, min(stop + self._largest, self._movie.frames))))
        padded = np.zeros((stop - start + 2 * self._largest, *found.shape[1:]), np.float32)
        place = first + 1 - (start - self._largest)
        padded[place : place + len(found)] = found
        return Stretch(start, stop, padded)


def _spread(frames: int, most: int) -> list[range]:
    """Parts of a movie, evenly over its length: all of it, if that is not more than `most` frames."""
    if frames <= most:
        return _cut(0, frames)
    starts = np.linspace(0, frames - _STRETCH_FRAMES, most // _STRETCH_FRAMES).astype(int)
    return [range(start, start + _STRETCH_FRAMES) for start in starts.tolist()]


def _cut(start: int, stop: int) -> list[range]:
    return [range(first, min(first + _STRETCH_FRAMES, stop)) for first in range(start, stop, _STRETCH_FRAMES)]


def _gaps_with_a_slip(stretches: Sequence[Stretch], measured: MeasuredLags) -> list[range]:
    """What was not read between two parts whose lags differ."""
    gaps: list[range] = []
    bins = measured.bins
    changed = np.flatnonzero(np.diff(measured.lags, axis=1).any(axis=0))
    for number in changed.tolist():
        if bins.stop[number] < bins.first[number + 1]:
            gaps += _cut(int(bins.stop[number]), int(bins.first[number + 1]))
    return gaps


def camera_frames(
    movie: Movie, measured: MeasuredLags | None, slips: Sequence[Slip], settings: SynchronizeSettings
) -> CameraFrames:
    """Which frame of every camera to use; a camera of which nothing can be told is taken to be in step."""
    in_step = CameraFrames.in_step(movie.frames, movie.planes)
    if measured is None:
        return in_step
    lags = list(in_step.lags)
    gaps: list[range] = []
    for plane in np.flatnonzero(measured.significance >= settings.lag_significance_warn).tolist():
        own = [slip for slip in slips if slip.plane == plane]
        lags[plane] = _lags_of(int(measured.lags[plane, 0]), own, movie.frames)
        gaps += [_missing(slip) for slip in own]
        first, last = lags[plane][0].frames, lags[plane][-1].frames
        gaps += [range(0, max(-first, 0)), range(movie.frames - max(last, 0), movie.frames)]
    return CameraFrames(movie.frames, tuple(lags), _joined(gaps))


def _lags_of(first: int, slips: Sequence[Slip], frames: int) -> tuple[Lag, ...]:
    """The lags of a plane in order; one that lasts for no certain moment is none."""
    lags = [Lag(0, first)]
    for slip in slips:
        if slip.latest >= frames:
            break
        while lags and slip.latest <= lags[-1].first:
            lags.pop()
        lags.append(Lag(slip.latest if lags else 0, slip.after))
    return tuple(lags)


def _missing(slip: Slip) -> range:
    """Moments about a slip without an image, or for which it is uncertain which image shows them."""
    lost = max(slip.before - slip.after, 0)  # neither lag shows these moments, so they do not tell where it changes
    return range(slip.earliest - lost, slip.latest + lost)


def _joined(gaps: Sequence[range]) -> tuple[range, ...]:
    joined: list[range] = []
    for gap in sorted((gap for gap in gaps if len(gap)), key=lambda each: each.start):
        if joined and gap.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, gap.stop))
        else:
            joined.append(gap)
    return tuple(joined)
