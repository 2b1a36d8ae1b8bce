"""Tables of localizations whose sample drifts by a known trajectory, drawn without a movie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DRIFTS = ("none", "linear", "random walk", "steps", "thermal", "oscillation")
STRUCTURES = ("filaments", "clusters", "dense", "sparse", "random")
DEPTHS_NM = (-600.0, 600.0)
BLINKS = 4  # of a molecule, in the mean
WRONG = 0.05  # share of localizations at random places


@dataclass(frozen=True)
class DriftingTable:
    """A table and what it was made of."""

    table: pd.DataFrame
    drift_nm: NDArray[np.float64]  # (frames, 3), its mean over the frames is zero
    blink: NDArray[np.int64]  # blink of every row, −1 for a false positive
    information: NDArray[np.float64]  # (rows, 3, 3) of a blink's position, nm⁻², in its first row and zero elsewhere


def drift_of(kind: str, frames: int, total_nm: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A trajectory (frames, 3) of the kind, whose largest lateral range is about `total_nm`, half of it in z."""
    t = np.linspace(0, 1, frames)[:, None]
    direction = random.normal(size=3) * (1, 1, 0.5)
    match kind:
        case "none":
            path = np.zeros((frames, 3))
        case "linear":
            path = t * direction
        case "random walk":
            path = np.cumsum(random.normal(size=(frames, 3)) * (1, 1, 0.5), axis=0)
        case "steps":
            at = np.sort(random.uniform(0.05, 0.95, 4))
            path = (t > at) @ (random.normal(size=(4, 3)) * (1, 1, 0.5)) + 0.2 * t * direction
        case "thermal":
            path = (1 - np.exp(-t / random.uniform(0.1, 0.3))) * direction
        case "oscillation":
            phase = random.uniform(0, 2 * np.pi, 3)
            path = np.sin(2 * np.pi * random.uniform(2, 6) * t + phase) * (1, 1, 0.5) + 0.3 * t * direction
        case _:
            raise ValueError(kind)
    reach = np.ptp(path[:, :2], axis=0).max() if kind != "none" else 1.0
    path *= total_nm / reach
    return path - path.mean(axis=0)


def drifting_table(
    structure: str, drift: str, rows: int, *, frames: int = 10_000, total_nm: float = 500.0, seed: int = 0
) -> DriftingTable:
    """About `rows` localizations of blinking molecules on a structure.

    Precision is 10 nm laterally and 25 nm axially in the middle and varies between molecules; a blink lasts three
    frames in the mean and moves with the sample.
    """
    random = np.random.default_rng([seed, DRIFTS.index(drift), STRUCTURES.index(structure), rows])
    path = drift_of(drift, frames, total_nm, random)
    blinks = max(2, round(rows * (1 - WRONG) / 3))
    molecules = blinks if structure == "random" else max(1, blinks // BLINKS)
    place, spread, along = _molecules(structure, molecules, random)
    molecule = np.arange(blinks) if structure == "random" else random.integers(0, molecules, blinks)
    length = random.geometric(1 / 3, blinks)
    start = random.integers(-2, frames, blinks)
    blink = np.repeat(np.arange(blinks), length)
    frame = start[blink] + np.arange(len(blink)) - np.repeat(np.cumsum(length) - length, length)
    inside = (frame >= 0) & (frame < frames)
    blink, frame = blink[inside], frame[inside]
    brightness = random.lognormal(0, 0.5, blinks)[blink] * random.uniform(0.6, 1, len(blink))
    sd = np.array([10.0, 10.0, 25.0]) / np.sqrt(brightness)[:, None]
    position = place[molecule[blink]] + path[frame] + random.normal(size=sd.shape) * sd
    information = _information(blink, molecule, sd, spread, along)
    return _with_false_positives(structure, frame, position, sd, blink, information, path, random)


def _size_nm(structure: str) -> NDArray[np.float64]:
    side = {"dense": 8_000.0, "sparse": 45_000.0, "clusters": 20_000.0}.get(structure, 30_000.0)
    return np.array([side, side])


def _molecules(
    structure: str, count: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions, spread about the structure's axis or centre (nm), and its direction (zero for a centre)."""
    low, high = np.array([0, 0, DEPTHS_NM[0]]), np.array([*_size_nm(structure), DEPTHS_NM[1]])
    if structure == "random":
        return random.uniform(low, high, (count, 3)), np.full(count, 1e6), np.zeros((count, 3))
    if structure == "clusters":
        centre = random.uniform(low, high, (max(10, min(300, count // 30)), 3))
        of = random.integers(0, len(centre), count)
        return centre[of] + random.normal(0, 25, (count, 3)), np.full(count, 25.0), np.zeros((count, 3))
    filaments = {"filaments": 60, "dense": 40, "sparse": 250}[structure]
    ends = random.uniform(low, high, (2, filaments, 3))
    length = np.linalg.norm(ends[1] - ends[0], axis=1)
    of = random.choice(filaments, count, p=length / length.sum())
    part = random.random((count, 1))
    direction = (ends[1] - ends[0])[of] / length[of, None]
    place = ends[0, of] * part + ends[1, of] * (1 - part) + random.normal(0, 12, (count, 3))
    return place, np.full(count, 12.0), direction


def _information(
    blink: NDArray[np.int64],
    molecule: NDArray[np.int64],
    sd: NDArray[np.float64],
    spread: NDArray[np.float64],
    along: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Information of every blink on its shift, in its first row, if it were known which blinks are of one molecule.

    It is the sum of what the blinks of a molecule say about each other and of what the structure, if it were known,
    says about the mean of the molecule. No estimator has both, so that this is a bound.
    """
    blinks, molecules = len(molecule), len(spread)
    weight = np.stack([np.bincount(blink, 1 / sd[:, axis] ** 2, blinks) for axis in range(3)], axis=1)
    total = np.stack([np.bincount(molecule, weight[:, axis], molecules) for axis in range(3)], axis=1)
    share = weight / np.maximum(total[molecule], 1e-30)
    structure = np.zeros((molecules, 3, 3))
    variance = spread[:, None] ** 2 + 1 / np.maximum(total, 1e-12)
    structure[:, range(3), range(3)] = 1 / variance
    on_line = along / variance
    norm = np.maximum((along * on_line).sum(axis=1), 1e-30)
    structure -= on_line[:, :, None] * on_line[:, None, :] / norm[:, None, None]
    structure[spread > 1e5] = 0
    found = structure[molecule] * share[:, :1, None]
    found[:, range(3), range(3)] += weight * (1 - share)
    rows = np.zeros((len(blink), 3, 3))
    first = np.unique(blink, return_index=True)[1]
    rows[first] = found[blink[first]]
    return rows


def _with_false_positives(structure, frame, position, sd, blink, information, path, random) -> DriftingTable:
    wrong = round(len(frame) * WRONG / (1 - WRONG))
    low, high = np.array([0, 0, DEPTHS_NM[0]]), np.array([*_size_nm(structure), DEPTHS_NM[1]])
    frame = np.concatenate([frame, random.integers(0, len(path), wrong)])
    position = np.concatenate([position, random.uniform(low, high, (wrong, 3))])
    sd = np.concatenate([sd, sd[random.integers(0, len(sd), wrong)]])
    blink = np.concatenate([blink, np.full(wrong, -1)])
    information = np.concatenate([information, np.zeros((wrong, 3, 3))])
    order = np.lexsort((random.random(len(frame)), frame))
    columns = {"frame": frame, **{a: position[:, i] for i, a in enumerate("xyz")}}
    columns |= {f"{a}_sd": sd[:, i] for i, a in enumerate("xyz")}
    table = pd.DataFrame(columns).assign(photons=1e5 / sd[:, 0] ** 2, background=4.0, probability=0.95)
    return DriftingTable(table.iloc[order].reset_index(drop=True), path, blink[order], information[order])
