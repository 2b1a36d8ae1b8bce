"""Tables of blinking molecules on filaments, before and after linking, whose resolution is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

FRAMES = 10_000
DEPTHS_NM = (-600.0, 600.0)
PRECISION_NM = np.array([10.0, 10.0, 25.0])  # of a molecule of mean brightness


@dataclass(frozen=True)
class BlinkingTable:
    """A table of single frames, the same with one row per blink, and what they were made of.

    Attributes
    ----------
    table, linked : before and after linking; the linking knows which rows are one blink.
    per_nm : blinks per length of filament, 1/nm.
    sd : (blinks, 3) nm, true standard deviation of the linked positions about the filament.
    """

    table: pd.DataFrame
    linked: pd.DataFrame
    per_nm: float
    sd: NDArray[np.float64]

    def expected_frc(self, frequency: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Correlation of two random halves of the linked table, of filaments in planes of equal depth.

        A line with ρ blinks per length has a power of ρ / (π q) per blink, averaged over a ring. Each blink is blurred
        by its own precision. With half of the blinks in either half the correlation is s / (2 + s), s their product.
        """
        q = np.asarray(frequency, dtype=float)[..., None]
        blur = np.exp(-2 * np.pi**2 * q**2 * np.mean(self.sd[:, :2] ** 2, axis=1)).mean(axis=-1)
        signal = self.per_nm / (np.pi * q[..., 0]) * blur**2
        return signal / (2 + signal)

    @property
    def expected_resolution_nm(self) -> float:
        """Where the expected correlation falls below 1/7."""
        return 1 / brentq(lambda q: float(self.expected_frc(q)) - 1 / 7, 1e-5, 0.3)


def blinking_table(
    blinks: int,
    *,
    longest: int = 5,
    field_nm: float = 20_000.0,
    filaments: int = 40,
    scale: float = 1.0,
    drift_nm: float = 0.0,
    flat: bool = True,
    frames: int = FRAMES,
    seed: int = 0,
) -> BlinkingTable:
    """Draw blinks on straight filaments.

    Parameters
    ----------
    longest : a blink lasts 1 to `longest` frames, each with equal probability.
    scale : true over stated precision.
    drift_nm : drift along x from the first to the last frame.
    flat : filaments are parallel to the focal plane; else they cross the depth range.
    """
    random = np.random.default_rng([seed, blinks, longest, filaments])
    low, high = np.array([0, 0, DEPTHS_NM[0]]), np.array([field_nm, field_nm, DEPTHS_NM[1]])
    ends = random.uniform(low, high, (2, filaments, 3))
    if flat:
        ends[1, :, 2] = ends[0, :, 2]
    length = np.linalg.norm(ends[1] - ends[0], axis=1)
    filament = random.choice(filaments, blinks, p=length / length.sum())
    along = random.random((blinks, 1))
    place = ends[0, filament] * along + ends[1, filament] * (1 - along)
    duration = random.integers(1, longest + 1, blinks)
    start = random.integers(0, frames - longest, blinks)
    blink = np.repeat(np.arange(blinks), duration)
    frame = start[blink] + np.arange(len(blink)) - np.repeat(np.cumsum(duration) - duration, duration)
    brightness = random.lognormal(0, 0.4, blinks)[blink] * random.uniform(0.7, 1, len(blink))
    sd = PRECISION_NM / np.sqrt(brightness)[:, None]
    drift = (frame / frames - 0.5)[:, None] * (drift_nm, 0, 0)
    position = place[blink] + drift + random.normal(size=sd.shape) * sd * scale
    rows = _frame(frame, position, sd, 1000.0 * brightness)
    weight = 1 / sd**2
    total = np.stack([np.bincount(blink, w, blinks) for w in weight.T], axis=1)
    mean = np.stack([np.bincount(blink, v, blinks) for v in (weight * position).T], axis=1) / total
    linked = _frame(start, mean, 1 / np.sqrt(total), np.bincount(blink, 1000.0 * brightness, blinks))
    linked = linked.assign(last_frame=start + duration - 1, frames=duration)
    order, of_linked = np.argsort(frame, kind="stable"), np.argsort(start, kind="stable")
    return BlinkingTable(
        rows.iloc[order].reset_index(drop=True),
        linked.iloc[of_linked].reset_index(drop=True),
        blinks / float(length.sum()),
        scale / np.sqrt(total),
    )


def _frame(frame: NDArray, position: NDArray, sd: NDArray, photons: NDArray) -> pd.DataFrame:
    columns = {"frame": frame, **{a: position[:, i] for i, a in enumerate("xyz")}}
    columns |= {"photons": photons, "background": np.full(len(frame), 4.0), "probability": np.full(len(frame), 0.95)}
    return pd.DataFrame(columns | {f"{a}_sd": sd[:, i] for i, a in enumerate("xyz")})
