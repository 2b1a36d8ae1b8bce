"""Tables of localizations of blinking molecules at known positions, drawn without a movie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FRAMES, FIELD_NM = 5000, 10_000.0
DEPTHS_NM = (-600.0, 600.0)
SD_NM = (10.0, 10.0, 25.0)  # of a molecule of mean brightness
FILAMENTS, WIDTH_NM = 20, 12.0
STRUCTURES = ("random", "filaments")


@dataclass(frozen=True)
class BlinkingTable:
    """A table and what it was made of.

    Attributes
    ----------
    table : localizations, in the order of frames.
    blink : (rows,) blink of every row, −1 for a false positive.
    place : (rows, 3) nm, true position; NaN for a false positive.
    """

    table: pd.DataFrame
    blink: NDArray[np.int64]
    place: NDArray[np.float64]


def blinking_table(
    blinks: int,
    *,
    structure: str = "random",
    on_frames: float = 4.0,
    missed: float = 0.0,
    false: float = 0.02,
    shared: float = 0.0,
    frames: int = FRAMES,
    field_nm: float = FIELD_NM,
    seed: int = 0,
) -> BlinkingTable:
    """Localizations of molecules that each blink three times in the mean.

    Parameters
    ----------
    blinks : number of blinks.
    on_frames : mean length of a blink; lengths are distributed geometrically.
    missed : probability that a molecule that is on is not found in a frame.
    false : false positives per localization.
    shared : part of the variance that all frames of a blink share.
    """
    random = np.random.default_rng([seed, blinks, STRUCTURES.index(structure)])
    molecules = max(1, round(blinks / 3))
    place = _places(structure, molecules, field_nm, random)[random.integers(0, molecules, blinks)]
    start, length = random.integers(0, frames, blinks), random.geometric(1 / on_frames, blinks)
    blink = np.repeat(np.arange(blinks), length)
    frame = start[blink] + np.arange(len(blink)) - np.repeat(np.cumsum(length) - length, length)
    kept = (frame < frames) & (random.random(len(blink)) >= missed)
    blink, frame = blink[kept], frame[kept]
    brightness = random.lognormal(0, 0.5, blinks)[blink] * random.uniform(0.6, 1, len(blink))
    sd = np.array(SD_NM) / np.sqrt(brightness)[:, None]
    own, common = random.normal(size=sd.shape), random.normal(size=(blinks, 3))[blink]
    position = place[blink] + sd * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common)
    wrong = round(false * len(blink))
    frame = np.concatenate([frame, random.integers(0, frames, wrong)])
    low, high = (0, 0, DEPTHS_NM[0]), (field_nm, field_nm, DEPTHS_NM[1])
    position = np.concatenate([position, random.uniform(low, high, (wrong, 3))])
    sd = np.concatenate([sd, sd[random.integers(0, len(sd), wrong)]])
    truth = np.concatenate([place[blink], np.full((wrong, 3), np.nan)])
    blink = np.concatenate([blink, np.full(wrong, -1)])
    order = np.lexsort((random.random(len(frame)), frame))
    columns = {"frame": frame, **{a: position[:, i] for i, a in enumerate("xyz")}}
    columns |= {f"{a}_sd": sd[:, i] for i, a in enumerate("xyz")}
    table = pd.DataFrame(columns).assign(photons=1e5 / sd[:, 0] ** 2, background=4.0, probability=0.95)
    return BlinkingTable(table.iloc[order].reset_index(drop=True), blink[order], truth[order])


def _places(structure: str, count: int, field_nm: float, random: np.random.Generator) -> NDArray[np.float64]:
    low, high = np.array([0, 0, DEPTHS_NM[0]]), np.array([field_nm, field_nm, DEPTHS_NM[1]])
    if structure == "random":
        return random.uniform(low, high, (count, 3))
    ends = random.uniform(low, high, (2, FILAMENTS, 3))
    of, part = random.integers(0, FILAMENTS, count), random.random((count, 1))
    return ends[0, of] * part + ends[1, of] * (1 - part) + random.normal(0, WIDTH_NM, (count, 3))


def true_links(blink: NDArray[np.int64], frame: NDArray[np.int64], largest_lag: int) -> NDArray[np.int64]:
    """(rows,) the row before it in its blink, at most so many frames earlier; −1 where there is none."""
    order = np.lexsort((frame, blink))
    earlier, later = order[:-1], order[1:]
    same = (blink[earlier] == blink[later]) & (blink[later] >= 0) & (frame[later] - frame[earlier] <= largest_lag)
    previous = np.full(len(blink), -1)
    previous[later[same]] = earlier[same]
    return previous


def previous_of(group: NDArray[np.integer], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) the row before it in its group, −1 for the first of each; rows are in the order of frames."""
    order = np.lexsort((frame, group))
    same = group[order[1:]] == group[order[:-1]]
    previous = np.full(len(group), -1)
    previous[order[1:][same]] = order[:-1][same]
    return previous
