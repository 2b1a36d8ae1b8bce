"""Settings of the `render` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting
from planeloc.rendering import figure as figures


@dataclass(frozen=True)
class RenderSettings:
    """How localizations become pictures."""

    pixel_nm: float = setting(10.0, "Pixel of the Gaussian rendering, nm.", minimum=0.1)
    depth_slices: int = setting(32, "Slices of the Gaussian rendering along depth.", minimum=1, maximum=1024)
    sigma_nm: float = setting(15.0, "Width of a localization whose standard deviation is unknown, nm.", minimum=0.1)
    minimum_sigma_nm: float = setting(5.0, "No localization is drawn narrower than this, nm.", minimum=0.1)
    maximum_sigma_nm: float = setting(100.0, "No localization is drawn wider than this, nm.", minimum=0.1)
    minimum_frames: int = setting(2, "Frames in which a voxel must hold a molecule to be shown.", minimum=1)
    saturation_percent: float = setting(
        5.0, "Share of the lit pixels of the depth picture that may be fully bright, percent.", minimum=0, maximum=50
    )
    gamma: float = setting(0.6, "Exponent of the brightness; below 1 lifts thin structures.", minimum=0.1, maximum=5)
    colour_map: str = setting("depth", "Colours of the depths.", choices=figures.COLOUR_MAPS)
