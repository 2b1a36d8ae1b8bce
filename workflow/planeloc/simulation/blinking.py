"""Blinking dyes: a two-state Markov process in continuous time, cut into exposures.

A dye that turns on during an exposure leaves only part of its photons in that frame; the first and the last frame of a
blink are therefore dimmer, as on a real camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.core.settings import setting


@dataclass(frozen=True)
class BlinkingSettings:
    """Rates and brightness; `blinking:` in a simulation file."""

    mean_on_s: float = setting(0.12, "Mean duration of a blink (exponential).", unit="s", minimum=1e-6)
    mean_off_s: float = setting(30.0, "Mean time between blinks (exponential).", unit="s", minimum=1e-6)
    photons: float = setting(5424.0, "Brightest blink, per frame on all planes together.", unit="photons", minimum=1)
    dimmest: float = setting(
        0.3, "Brightness of the dimmest blink as a fraction of the brightest.", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class Blinks:
    """One row per blink: `emitter` is on from `start_s` to `stop_s`, which may be outside the movie."""

    emitter: NDArray[np.int64]
    start_s: NDArray[np.float64]
    stop_s: NDArray[np.float64]


def blinks(emitters: int, duration_s: float, settings: BlinkingSettings, random: np.random.Generator) -> Blinks:
    """All blinks of `emitters` dyes that overlap the time from 0 to `duration_s`; the process is stationary."""
    on, off = settings.mean_on_s, settings.mean_off_s
    on_at_start = random.random(emitters) < on / (on + off)
    clock = np.where(on_at_start, 0.0, random.exponential(off, emitters))  # dwell times are memoryless
    active = np.flatnonzero(clock < duration_s)
    rows = [(active[:0], clock[:0], clock[:0])]
    while active.size:
        start = clock[active]
        stop = start + random.exponential(on, active.size)
        rows.append((active, start, stop))
        clock[active] = stop + random.exponential(off, active.size)
        active = active[clock[active] < duration_s]
    return Blinks(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def exposures(
    blinks: Blinks, frames: int, exposure_s: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Cut blinks into frames: (blink, frame, fraction of the exposure, in (0, 1]), ordered by frame."""
    start, stop = blinks.start_s / exposure_s, np.minimum(blinks.stop_s / exposure_s, frames)
    first = np.floor(start).astype(np.int64)
    count = np.ceil(stop).astype(np.int64) - first
    blink = np.repeat(np.arange(len(start)), count)
    within = np.arange(len(blink)) - np.repeat(np.cumsum(count) - count, count)
    frame = first[blink] + within
    share = np.minimum(stop[blink], frame + 1) - np.maximum(start[blink], frame)
    order = np.lexsort((blink, frame))
    order = order[share[order] > 0]
    return blink[order], frame[order], share[order]
