"""Settings of the `view-3d` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting
from planeloc.rendering.settings import COLOUR_MAPS, RenderSettings


@dataclass(frozen=True)
class View3DSettings:
    """What the 3D view holds and how it looks at first."""

    maximum_points: int = setting(
        500_000,
        "Maximum number of localizations in the page; of a larger table, a random sample is shown.",
        minimum=1,
        maximum=5_000_000,
    )
    colour_map: str = setting(
        RenderSettings().colour_map, "Colour map of depth, time and precision.", choices=COLOUR_MAPS, advanced=True
    )
    sigma_nm: float = setting(
        15.0,
        "Standard deviation of the spot for a localization of unknown precision.",
        unit="nm",
        minimum=0.1,
        advanced=True,
    )
    maximum_sigma_nm: float = setting(
        100.0, "Largest standard deviation of a spot.", unit="nm", minimum=0.1, advanced=True
    )
    title: str = setting("", "Title of the page; empty: name of the table's folder.", command_line_only=True)
