"""Settings of the `filter` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


@dataclass(frozen=True)
class FilterSettings:
    """What a localization must fulfil; the defaults keep all but the least probable."""

    minimum_probability: float = setting(0.1, "Leave out localizations less probable than this.", minimum=0, maximum=1)
    minimum_photons: float = setting(0.0, "Leave out localizations with fewer photons than this.", minimum=0)
    maximum_lateral_sd_nm: float = setting(1e4, "Leave out standard deviations of x or y above this, nm.", minimum=0)
    maximum_axial_sd_nm: float = setting(1e4, "Leave out standard deviations of z above this, nm.", minimum=0)
    minimum_depth_nm: float = setting(-1e4, "Leave out depths below this, nm.")
    maximum_depth_nm: float = setting(1e4, "Leave out depths above this, nm.")
    border_nm: float = setting(0.0, "Leave out localizations this close to the edge of the field, nm.", minimum=0)
