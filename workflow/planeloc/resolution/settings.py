"""Settings of the `measure-resolution` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold


@dataclass(frozen=True)
class MeasureResolutionSettings:
    """How the resolution is measured, and from which values on there is a warning."""

    slice_nm: float = setting(200.0, "Thickness of the slices of depth.", unit="nm", minimum=10, advanced=True)
    pixel_nm: float = setting(
        0.0,
        "Pixel of the images that are correlated; 0: half of the localization precision.",
        unit="nm",
        minimum=0.5,
        maximum=200,
        automatic=0,
        advanced=True,
    )
    splits: int = setting(
        4,
        "How many times the table is divided, at random and by blocks of time, to measure the spread.",
        minimum=1,
        maximum=16,
        advanced=True,
    )
    time_blocks: int = setting(
        20,
        "Largest number of blocks of time of which each half gets every other.",
        minimum=4,
        maximum=1000,
        advanced=True,
    )
    minimum_rows: int = setting(
        200,
        "Fewest molecules, and fewest pairs of neighbouring frames, from which a value is given.",
        minimum=20,
        advanced=True,
    )
    precision_ratio_warn: float = threshold(
        1.3, "warn above", "measured over stated localization precision, laterally or axially", minimum=1
    )
    precision_ratio_low_warn: float = threshold(
        0.75, "warn below", "measured over stated localization precision, laterally or axially", minimum=0, maximum=1
    )
    nyquist_ratio_warn: float = threshold(
        2.0, "warn above", "resolution by density over resolution by precision", minimum=0
    )
    time_ratio_warn: float = threshold(
        1.2, "warn above", "resolution between both halves of the movie over that between random halves", minimum=1
    )
