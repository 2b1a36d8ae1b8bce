"""Settings that give a range as text, such as ``photons: 1600-5400``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planeloc.core.errors import PlanelocError
from planeloc.scenes.random_density import MOST_PER_PIXEL
from planeloc.training.settings import TrainSettings

DENSITY_PX = 16  # side of the square that densities are given for, pixels


@dataclass(frozen=True)
class Bounds:
    """The values that can be drawn."""

    least: float
    most: float
    unit: str


BOUNDS = {
    "photons": Bounds(1.0, 1e7, "photons per molecule"),
    "background": Bounds(0.0, 1e6, "photons per pixel"),
    "density": Bounds(0.0, MOST_PER_PIXEL * DENSITY_PX**2, "molecules per 16×16 pixels"),
}


def interval(settings: TrainSettings, name: str) -> tuple[float, float]:
    """Return the ends of the range that a setting gives: ``"1600-5400"`` → (1600.0, 5400.0).

    Raises
    ------
    PlanelocError
        The text is no range, or its values cannot be drawn.
    """
    text, bounds = getattr(settings, name), BOUNDS[name]
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high < math.inf:
        raise PlanelocError(
            f"setting {name}: {text!r} is neither auto nor an interval such as 1600-5400, the lower end first"
        )
    if low < bounds.least:
        raise PlanelocError(f"setting {name}: {text!r} begins below {bounds.least:g} {bounds.unit}; give more")
    if high > bounds.most:
        raise PlanelocError(
            f"setting {name}: {text!r} ends above {bounds.most:g} {bounds.unit}, the most that is drawn;"
            f" give a smaller {name}"
        )
    return low, high


def density(settings: TrainSettings) -> tuple[float, float]:
    """Return the fewest and the most molecules per pixel that the setting `density` asks for."""
    fewest, most = (number / DENSITY_PX**2 for number in interval(settings, "density"))
    return fewest, most
