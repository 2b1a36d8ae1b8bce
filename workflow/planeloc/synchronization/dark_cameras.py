"""Frames in which a camera is dark: it sees no light while the others see molecules.

A closed shutter, a wrong filter, a camera that lost its connection. A dim camera is not dark: it has light above its
offset, or molecules turn on and off on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.synchronization.block_changes import Changes

_EVENT_SIGMAS = 5.0  # change of a block that is a molecule: one in two million by chance
_FEWEST_EVENTS = 20  # of the other cameras' median, for a camera without any to be dark
_MOST_EVENTS = 0.1  # on a dark camera, relative to the others' median
_MOST_LIGHT = 0.03  # on a dark camera, relative to the others' median
_SEEING = 0.5  # part of the other cameras that must have contrast for a frame without any to be the camera's fault

Dark = tuple[tuple[range, ...], ...]  # of every plane, ranges of its own frames


@dataclass(frozen=True)
class Light:
    """What every camera sees in the frames [start, stop), by their own numbers; arrays (frames, planes)."""

    start: int
    stop: int
    photons: NDArray[np.float64]  # per pixel above the offset, mean over the field
    flat: NDArray[np.bool_]  # whether all pixels are equal
    events: NDArray[np.int64]  # blocks of the sample in which a molecule turns on or off, from the frame before

    @classmethod
    def of(cls, start: int, counts: NDArray[np.uint16], changes: Changes, cameras: Sequence[Camera]) -> Light:
        """Measure counts (frames, planes, y, x); `changes` (frames, planes, blocks) are those from the frame before."""
        pixels = counts.reshape(*counts.shape[:2], -1)
        means = pixels.mean(axis=2)
        offsets = np.array([camera.offset_counts for camera in cameras])
        gains = np.array([camera.photons_per_count for camera in cameras])
        return cls(
            start,
            start + len(counts),
            (means - offsets) * gains,
            pixels.min(axis=2) == pixels.max(axis=2),
            np.count_nonzero(np.abs(changes) >= _EVENT_SIGMAS, axis=2),
        )


def dark_frames(parts: Sequence[Light]) -> Dark:
    """The frames in which every camera is dark; what was not looked at between two such frames is dark, too."""
    frames = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    photons, flat, events = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("photons", "flat", "events")
    )
    return tuple(_dark_frames(plane, frames, photons, flat, events) for plane in range(photons.shape[1]))


def _dark_frames(
    plane: int,
    frames: NDArray[np.int64],
    photons: NDArray[np.float64],
    flat: NDArray[np.bool_],
    events: NDArray[np.int64],
) -> tuple[range, ...]:
    others = np.arange(photons.shape[1]) != plane
    typical = np.median(photons[:, others], axis=1)
    no_image = flat[:, plane] & ((~flat[:, others]).mean(axis=1) >= _SEEING)
    unlit = no_image | ((typical > 0) & (photons[:, plane] < _MOST_LIGHT * typical))
    dark = []
    for first, stop in _runs(unlit):
        own = np.count_nonzero(no_image[first:stop])
        seen = float(np.median(events[first:stop, others].sum(axis=0)))
        blind = seen >= _FEWEST_EVENTS and events[first + 1 : stop, plane].sum() <= _MOST_EVENTS * seen
        if own == stop - first or blind:  # an image without contrast shows no molecule, whatever the others see
            dark.append(range(int(frames[first]), int(frames[stop - 1]) + 1))
        else:
            dark += [
                range(int(frames[first + a]), int(frames[first + b - 1]) + 1) for a, b in _runs(no_image[first:stop])
            ]
    return tuple(dark)


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last + 1 of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def gaps_with_an_end(parts: Sequence[Light], dark: Dark) -> list[range]:
    """What was not looked at between two parts of which a camera is dark at the end of only one."""
    gaps = []
    for before, after in pairwise(parts):
        if before.stop < after.start and any(_holds(own, before.stop - 1) != _holds(own, after.start) for own in dark):
            gaps.append(range(before.stop, after.start))
    return gaps


def _holds(ranges: Sequence[range], frame: int) -> bool:
    return any(frame in each for each in ranges)
