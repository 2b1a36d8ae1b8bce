"""Settings of the `filter` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


@dataclass(frozen=True)
class FilterSettings:
    """What a localization must fulfil; the defaults keep all but the least probable."""

    minimum_probability: float = setting(0.1, "Minimum detection probability.", minimum=0, maximum=1)
    minimum_photons: float = setting(0.0, "Minimum photon count.", unit="photons", minimum=0)
    maximum_lateral_sd_nm: float = setting(
        1e4, "Largest localization precision (standard deviation) in x or y.", unit="nm", minimum=0
    )
    maximum_axial_sd_nm: float = setting(
        1e4, "Largest localization precision (standard deviation) in z.", unit="nm", minimum=0
    )
    minimum_depth_nm: float = setting(-1e4, "Smallest depth z.", unit="nm", advanced=True)
    maximum_depth_nm: float = setting(1e4, "Largest depth z.", unit="nm", advanced=True)
    border_nm: float = setting(0.0, "Minimum distance from the edge of the field.", unit="nm", minimum=0, advanced=True)
