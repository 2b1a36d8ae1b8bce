"""Settings of the `render`, `view` and `overlay` stages."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold

COLOUR_MAPS = ("depth", "rainbow", "turbo", "viridis", "cividis")
"""Colour maps of a quantity; `depth` is the only one whose colours are all as bright."""

DENSITY_MAPS = ("grey", "magma", "viridis", "cividis")
"""Colour maps of the density where nothing else is coloured."""

PROJECTIONS = ("xy", "xz", "yz", "orthogonal", "slices")
COLOURED = ("depth", "frame", "precision", "photons", "none")


@dataclass(frozen=True)
class GaussianWidths:
    """How wide a localization is drawn: as its standard deviation, within limits."""

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

    def contradiction(self) -> str:
        """What is wrong if the limits are exchanged; empty if they are not."""
        low, high = self.minimum_sigma_nm, self.maximum_sigma_nm
        return f"minimum_sigma_nm: {low:g} is above maximum_sigma_nm: {high:g}; exchange them" if low > high else ""


@dataclass(frozen=True)
class RenderSettings(GaussianWidths):
    """How localizations are rendered."""

    pixel_nm: float = setting(10.0, "Pixel size of the rendered images.", unit="nm", minimum=0.1)
    depth_slices: int = setting(32, "Number of z slices.", minimum=1, maximum=1024, advanced=True)
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
    colour_map: str = setting(
        "depth",
        "Colour map of the depths. depth: equally bright colours that differ with red-green colour deficiencies, too.",
        choices=COLOUR_MAPS,
    )
    montage_slices: int = setting(12, "Number of slices in the montage.", minimum=1, maximum=100, advanced=True)
    z_stretch: float = setting(
        0.0,
        "Factor by which z is enlarged in the side views; 0: chosen by the size of the field.",
        minimum=0,
        maximum=100,
        advanced=True,
    )


def _numbers(count: int, hint: str) -> tuple[str, str]:
    """Pattern of so many numbers separated by commas, or nothing, and what to write."""
    number = r" *-?[0-9]+(\.[0-9]*)? *"
    return f"^$|^{number}(,{number}){{{count - 1}}}$", hint


@dataclass(frozen=True)
class ViewSettings(GaussianWidths):
    """A picture of a part of a sample: what it shows, from which side, and by which quantity it is coloured."""

    region: str = setting(
        "",
        "Part of the field as x0,x1,y0,y1, in nm, as in the table of localizations; empty: the whole field.",
        pattern=_numbers(4, "give x0,x1,y0,y1 in nm, without brackets: 1000,3000,500,2500"),
    )
    depth_range: str = setting(
        "",
        "Range of depths as z0,z1, in nm; empty: that of the table.",
        pattern=_numbers(2, "give z0,z1 in nm, without brackets: -300,300"),
    )
    pixel_nm: float = setting(5.0, "Pixel size of picture and stack.", unit="nm", minimum=0.1)
    projection: str = setting(
        "xy",
        "Direction of view. xy: from the objective; xz, yz: from a side; orthogonal: all three; slices: a montage.",
        choices=PROJECTIONS,
    )
    colour_by: str = setting(
        "depth",
        "What the colour shows: depth, time (frame), lateral localization precision, photons, or nothing but density.",
        choices=COLOURED,
    )
    colour_range: str = setting(
        "",
        "Values at both ends of the colour map, as low,high; empty: chosen from the localizations shown.",
        pattern=_numbers(2, "give both ends of the colour map, without brackets: 0,40"),
    )
    colour_map: str = setting(
        "auto",
        "Colour map. auto: depth, or grey with colour_by: none.",
        choices=("auto", *dict.fromkeys((*COLOUR_MAPS, *DENSITY_MAPS))),
    )
    slices: int = setting(
        32,
        "Number of slices of the TIFF file, across the direction of view.",
        minimum=1,
        maximum=1024,
        advanced=True,
    )
    montage_slices: int = setting(
        12, "Number of slices in a montage (projection: slices).", minimum=1, maximum=100, advanced=True
    )
    z_stretch: float = setting(
        0.0,
        "Factor by which z is enlarged in side views; 0: 1, or in orthogonal views chosen by the size of the region.",
        minimum=0,
        maximum=100,
        advanced=True,
    )
    saturation_percent: float = setting(
        5.0,
        "Percentage of the non-empty pixels that may be saturated in the picture.",
        unit="%",
        minimum=0,
        maximum=50,
        advanced=True,
    )
    gamma: float = setting(0.6, "Gamma of the picture; below 1 brightens thin structures.", minimum=0.1, maximum=5)


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
