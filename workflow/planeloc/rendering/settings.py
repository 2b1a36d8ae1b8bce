"""Settings of the `render` and `overlay` stages."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold

COLOUR_MAPS = ("depth", "turbo", "viridis", "cividis")


@dataclass(frozen=True)
class RenderSettings:
    """How localizations are rendered."""

    pixel_nm: float = setting(10.0, "Pixel size of the rendered images.", unit="nm", minimum=0.1)
    depth_slices: int = setting(32, "Number of z slices.", minimum=1, maximum=1024, advanced=True)
    sigma_nm: float = setting(
        15.0,
        "Standard deviation of the Gaussian for a localization of unknown precision.",
        unit="nm",
        minimum=0.1,
        advanced=True,
    )
    minimum_sigma_nm: float = setting(
        5.0, "Smallest standard deviation of a rendered Gaussian.", unit="nm", minimum=0.1, advanced=True
    )
    maximum_sigma_nm: float = setting(
        100.0, "Largest standard deviation of a rendered Gaussian.", unit="nm", minimum=0.1, advanced=True
    )
    minimum_frames: int = setting(
        2, "Minimum number of frames in which a voxel must hold a molecule to be shown.", minimum=1, advanced=True
    )
    saturation_percent: float = setting(
        5.0,
        "Percentage of the non-empty pixels that may be saturated in the depth-coloured image.",
        unit="%",
        minimum=0,
        maximum=50,
        advanced=True,
    )
    gamma: float = setting(
        0.6, "Gamma of the depth-coloured image; below 1 brightens thin structures.", minimum=0.1, maximum=5
    )
    colour_map: str = setting("depth", "Colour map of the depths.", choices=COLOUR_MAPS)


@dataclass(frozen=True)
class OverlaySettings:
    """How raw frames are drawn with their localizations."""

    region_px: int = setting(
        64,
        "Side of the part that is drawn of larger fields: the one with most molecules.",
        unit="px",
        minimum=8,
        advanced=True,
    )
    colour_map: str = setting("depth", "Colour map of the depths.", choices=COLOUR_MAPS, advanced=True)
    offset_warn_px: float = threshold(
        0.5,
        "warn above",
        "distance of the molecules on a camera from the place where its transform puts them",
        unit="px",
        minimum=0,
    )
