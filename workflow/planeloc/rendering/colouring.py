"""By which quantity localizations are coloured, between which limits, in which colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.rendering.colours import depth_colours

LEVELS = 32  # colours of a picture; neighbours can hardly be told apart
_LABELS = {
    "depth": "depth z (nm)",
    "frame": "frame",
    "precision": "lateral precision (nm)",
    "photons": "photons",
    "none": "",
}
_TAILS_PERCENT = (2, 98)  # what lies beyond has the colours of the ends


@dataclass(frozen=True)
class Colouring:
    """A quantity of the localizations, the values at both ends of the colour map, and the name of that map."""

    quantity: str
    limits: tuple[float, float]
    colour_map: str

    @property
    def label(self) -> str:
        """What stands beside the colour bar."""
        return _LABELS[self.quantity]

    @property
    def by_density(self) -> bool:
        """Whether the colour map shows the density itself."""
        return self.quantity == "none"

    def values(self, rows: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """The quantity of every row; where it is unknown, the worst that the colours show."""
        low, high = self.limits
        values = quantity(self.quantity, rows)
        return np.where(np.isnan(values), high if self.quantity == "precision" else low, values)

    def colours(self) -> NDArray[np.float32]:
        """Red, green, blue of every level, (LEVELS, 3)."""
        return np.ones((LEVELS, 3), np.float32) if self.by_density else depth_colours(self.colour_map, LEVELS)


def quantity(name: str, rows: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """One of the quantities for every row."""
    match name:
        case "depth":
            return np.asarray(rows["z"], dtype=np.float64)
        case "precision":
            return np.sqrt((np.asarray(rows["x_sd"]) ** 2 + np.asarray(rows["y_sd"]) ** 2) / 2)
        case "none":
            return np.zeros(len(rows["x"]))
    return np.asarray(rows[name], dtype=np.float64)


def limits_of(
    name: str, rows: Mapping[str, NDArray], shown: NDArray[np.bool_], frames: int, depths: tuple[float, float]
) -> tuple[float, float]:
    """Ends of the colour map: the depths and frames that there are, and of other quantities all but the tails."""
    if name == "depth":
        return depths
    if name == "frame":
        return (0.0, float(max(frames, 1)))
    values = quantity(name, rows)[shown]
    values = values[np.isfinite(values)]
    if name == "none" or not len(values):
        return (0.0, 1.0)
    low, high = (float(f"{value:.2g}") for value in np.percentile(values, _TAILS_PERCENT))
    return (low, high) if low < high else (low, low + 1.0)
