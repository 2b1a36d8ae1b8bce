"""Localization precision where a table has none."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class UnknownPrecision(Protocol):
    """Settings that state the precision of localizations without one."""

    unknown_lateral_sd_nm: float
    unknown_axial_sd_nm: float


def known_or_stated(sd: NDArray[np.float64], settings: UnknownPrecision) -> NDArray[np.float64]:
    """Standard deviations (rows, 3) of x, y, z in nm; where unknown, those of the settings."""
    unknown = (settings.unknown_lateral_sd_nm, settings.unknown_lateral_sd_nm, settings.unknown_axial_sd_nm)
    return np.where(np.isfinite(sd) & (sd > 0), sd, unknown)
