"""What is measured of the resolution."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planeloc.resolution.neighbouring_frames import Precision
from planeloc.resolution.ring_sums import Resolution, RingSums
from planeloc.resolution.spacing import Spacing


@dataclass
class Slice:
    """One slice of depth."""

    low_nm: float
    high_nm: float
    molecules: int = 0
    frc: Resolution = field(default_factory=lambda: Resolution(np.nan, reason="there are too few molecules"))
    stated: tuple[float, float] = (np.nan, np.nan)  # lateral, axial, nm, of the linked table
    nena: tuple[float, float] = (np.nan, np.nan)
    ratio: tuple[float, float] = (np.nan, np.nan)
    spacing: Spacing = field(default_factory=lambda: Spacing(np.nan, np.nan, np.nan))


@dataclass
class Measured:
    """Everything that was measured; sums of correlations by name, and what they say."""

    pixel_nm: float
    molecules: int = 0
    localizations: int = 0
    sums: dict[str, RingSums] = field(default_factory=dict)
    resolutions: dict[str, Resolution] = field(default_factory=dict)
    splits_nm: list[float] = field(default_factory=list)  # of every random division
    stated: tuple[float, float] = (np.nan, np.nan)
    linked: tuple[float, float] = (np.nan, np.nan)
    linked_rows: bool = True  # whether a row is a blink: `link` joined the frames of each, or nothing was to be joined
    enlarged: float = 1.0  # factor by which `link` has enlarged the stated lateral standard deviations
    nena: dict[str, Precision] = field(default_factory=dict)
    ratios: dict[str, tuple[float, float]] = field(default_factory=dict)  # value and standard deviation
    spacings: dict[str, Spacing] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
