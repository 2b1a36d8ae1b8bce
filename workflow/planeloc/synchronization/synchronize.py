"""The `synchronize` stage: is frame n of all cameras the same moment, from the first frame to the last?

Parts of the movie are looked at first, evenly over its length. Where a camera's lag differs between two of them, all
frames between are read, and the slip is located. The counts stay as they are; the lags go into a file that `localize`
reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.progress import progress_bar
from planeloc.core.settings import check
from planeloc.diagnostics.registered_changes import RegisteredChanges, Windows
from planeloc.movie.camera_frames import CameraFrames, Lag
from planeloc.movie.store import Movie
from planeloc.synchronization.block_changes import BlockGrid, changes
from planeloc.synchronization.dark_cameras import Dark, Light, dark_frames, gaps_with_an_end
from planeloc.synchronization.figure import write_figure
from planeloc.synchronization.lags import MeasuredLags, Slip, Stretch, locate_slips, measure_lags
from planeloc.synchronization.quality import dark_checks, dark_values, lag_checks, lag_values
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.transforms.camera_transform import Registration

_STRETCH_FRAMES = 100
_PARTS = 4  # of a movie in which a displaced camera is looked for
_FEWEST_FRAMES = 20  # of such a part, beyond the largest lags
_PIXELS = 16_000_000  # of all frames of such parts together, of every camera
_VALUES, _BLOCKS = 16_000_000, (64, 1024)  # changes of a camera in memory; blocks in which most happens
_ROWS = 64  # in which the light of a camera is measured
_BEYOND_LENGTH, _MOST_FOR_LENGTH = 10, 200  # frames: lags looked for beyond a difference in length, at most
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
    recorded, transforms = Movie.open(movie).every_frame(), Registration.read(registration)
    recorded.check_cameras(registration, transforms.planes)
    looked = None if settings.mode == "never" else look(recorded, transforms, settings)
    in_step = CameraFrames.in_step(recorded.frames, recorded.planes, recorded.recorded)
    found = camera_frames(recorded, looked, settings) if looked else in_step
    used = found if settings.mode == "auto" else in_step
    values = lag_values(found, looked and looked.measured)
    cameras = recorded.microscope.cameras
    checks = []
    if looked:
        values |= dark_values(looked.dark, recorded.frames)
        checks = [
            *dark_checks(values, looked.dark, cameras, settings),
            *lag_checks(values, found, cameras, settings),
        ]

    def draw(path: Path) -> None:
        of_figure = (looked.measured, cameras, settings, looked.dark) if looked else (None, cameras, settings)
        write_figure(path, found, *of_figure)

    stop_on_failure(movie, values, checks, figure, quality, draw)
    print_warnings(checks)
    draw(figure)
    write_quality(quality, values, checks)
    used.write(output, {"mode": settings.mode, "measured": found.as_dict()})
    return {"lags": found.as_dict()["lags"], "frames_left_out": used.frames_left_out}


class Looked(NamedTuple):
    """What the cameras show through a movie."""

    measured: MeasuredLags
    slips: list[Slip]  # where lags change
    dark: Dark


def look(movie: Movie, registration: Registration, settings: SynchronizeSettings) -> Looked:
    """The lags of all cameras through a movie, where they change, and frames in which a camera is dark."""
    largest = _largest_lag(movie, settings)
    looked_at = (movie.frames,) if settings.every_frame else _LOOKED_AT
    reader = _Reader(movie, registration, largest, looked_at[-1])
    for most in looked_at:
        stretches, lights = reader.read(_spread(movie.frames, most))
        measured = measure_lags(_lit(stretches, lights))
        if (measured.significance >= settings.lag_significance_warn).all():
            break
        if in_place := _in_place(movie, registration, measured, lights, largest, settings):
            reader = _Reader(movie, in_place, largest, looked_at[-1])
            stretches, lights = reader.read(_spread(movie.frames, most))
            measured = measure_lags(_lit(stretches, lights))
        if movie.frames <= most:
            break
    while gaps := _gaps_with_a_slip(stretches, measured) or _cut_all(gaps_with_an_end(lights, dark_frames(lights))):
        more, lit = reader.read(gaps)
        stretches = sorted([*stretches, *more], key=lambda part: part.start)
        lights = sorted([*lights, *lit], key=lambda part: part.start)
        measured = measure_lags(_lit(stretches, lights))
    return Looked(measured, locate_slips(_lit(stretches, lights), measured), dark_frames(lights))


def _in_place(
    movie: Movie,
    registration: Registration,
    measured: MeasuredLags,
    lights: Sequence[Light],
    largest_lag: int,
    settings: SynchronizeSettings,
) -> Registration | None:
    """Transforms with which cameras agree that see another part of the sample than theirs say; None if none is found.

    They are for this measurement alone: `update-registration` finds the displacement when the cameras are in step.
    """
    dark = [sum(map(len, own)) for own in dark_frames(lights)]
    lost = measured.significance < settings.lag_significance_warn
    planes = [plane for plane in np.flatnonzero(lost).tolist() if dark[plane] < movie.frames / 2]
    if not planes or movie.frames < _FEWEST_FRAMES:
        return None
    lags = range(-largest_lag, largest_lag + 1)
    frames = 2 * largest_lag + _FEWEST_FRAMES
    windows = Windows.of(movie.shape[2:]).within(_PIXELS // frames)
    parts = int(np.clip(_PIXELS // (frames * windows.pixels), 1, _PARTS))
    images, found = RegisteredChanges(movie, registration, parts, frames, _PIXELS, windows), False
    while planes:
        seen = {plane: images.far(plane, lags) for plane in planes}
        clearest = max(planes, key=lambda plane: seen[plane][2])
        if seen[clearest][2] < settings.lag_significance_warn:
            break
        images.move(clearest, seen[clearest][0], np.zeros((2, 2)))
        planes.remove(clearest)
        found = True
        if movie.planes == 2:
            break
    return replace(registration, transforms=tuple(images.transforms)) if found else None


def _lit(stretches: Sequence[Stretch], lights: Sequence[Light]) -> list[Stretch]:
    """Changes in frames in which no camera is dark: noise alone must not look like a slip."""
    dark = dark_frames(lights)
    return [part.without(dark) for part in stretches]


def _largest_lag(movie: Movie, settings: SynchronizeSettings) -> int:
    """The largest lag to look for: that of the settings, and what cameras of different length allow."""
    missing = movie.frames - min(movie.recorded) if movie.recorded else 0
    largest = max(settings.maximum_lag_frames, min(missing + _BEYOND_LENGTH, _MOST_FOR_LENGTH))
    return min(largest, max(1, movie.frames // 4))


class _Reader:
    """Reads the changes of light of a movie."""

    def __init__(self, movie: Movie, registration: Registration, largest_lag: int, most_frames: int) -> None:
        self._movie, self._largest = movie, largest_lag
        self._grid = BlockGrid.of(registration, movie.height, movie.width)
        self._blocks = int(np.clip(_VALUES // max(most_frames, 1), *_BLOCKS))

    def read(self, parts: Sequence[range]) -> tuple[list[Stretch], list[Light]]:
        """The changes in some parts of the movie, and what every camera sees there."""
        with progress_bar(sum(map(len, parts)), "synchronizing", "frame", log_every_s=10) as bar:
            stretches, lights = [], []
            for part in parts:
                stretch, light = self._read(part.start, part.stop)
                stretches.append(stretch), lights.append(light)
                bar.update(len(part))
        return stretches, lights

    def _read(self, start: int, stop: int) -> tuple[Stretch, Light]:
        first = max(start - self._largest - 1, 0)
        counts = self._movie.read(first, min(stop + self._largest, self._movie.frames))
        found = changes(self._grid.light(counts), self._blocks)
        padded = np.zeros((stop - start + 2 * self._largest, *found.shape[1:]), np.float32)
        place = first + 1 - (start - self._largest)
        padded[place : place + len(found)] = found
        own = padded[self._largest : self._largest + stop - start]
        some_rows = counts[start - first : stop - first, :, :: max(1, self._movie.height // _ROWS)]
        return Stretch(start, stop, padded), Light.of(start, some_rows, own, self._movie.microscope.cameras)


def _spread(frames: int, most: int) -> list[range]:
    """Parts of a movie, evenly over its length: all of it, if that is not more than `most` frames."""
    if frames <= most:
        return _cut(0, frames)
    starts = np.linspace(0, frames - _STRETCH_FRAMES, most // _STRETCH_FRAMES).astype(int)
    return [range(start, start + _STRETCH_FRAMES) for start in starts.tolist()]


def _cut(start: int, stop: int) -> list[range]:
    return [range(first, min(first + _STRETCH_FRAMES, stop)) for first in range(start, stop, _STRETCH_FRAMES)]


def _cut_all(gaps: Sequence[range]) -> list[range]:
    return [part for gap in gaps for part in _cut(gap.start, gap.stop)]


def _gaps_with_a_slip(stretches: Sequence[Stretch], measured: MeasuredLags) -> list[range]:
    """What was not read between two parts whose lags differ."""
    gaps: list[range] = []
    bins = measured.bins
    changed = np.flatnonzero(np.diff(measured.lags, axis=1).any(axis=0))
    for number in changed.tolist():
        if bins.stop[number] < bins.first[number + 1]:
            gaps += _cut(int(bins.stop[number]), int(bins.first[number + 1]))
    return gaps


def camera_frames(movie: Movie, looked: Looked, settings: SynchronizeSettings) -> CameraFrames:
    """Which frame of every camera to use; a camera of which nothing can be told is taken to be in step."""
    measured = looked.measured
    recorded = movie.recorded or (movie.frames,) * movie.planes
    lags = list(CameraFrames.in_step(movie.frames, movie.planes).lags)
    gaps: list[range] = []
    for plane, significance in enumerate(measured.significance):
        if significance >= settings.lag_significance_warn:
            own = [slip for slip in looked.slips if slip.plane == plane]
            lags[plane] = _lags_of(int(measured.lags[plane, 0]), own, movie.frames)
            gaps += [_missing(slip) for slip in own]
        first, last = lags[plane][0].frames, lags[plane][-1].frames
        gaps += [range(0, max(-first, 0)), range(min(recorded[plane] - last, movie.frames), movie.frames)]
        of_plane = [lag.frames for lag in lags[plane]]
        gaps += [range(max(each.start - max(of_plane), 0), each.stop - min(of_plane)) for each in looked.dark[plane]]
    kept = [range(max(gap.start, 0), min(gap.stop, movie.frames)) for gap in gaps]
    return CameraFrames(movie.frames, tuple(lags), _joined(kept), movie.recorded)


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
