"""Settings of the `evaluate` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


@dataclass(frozen=True)
class EvaluateSettings:
    """How localizations are held against the truth; the defaults are those of the 2016 SMLM challenge."""

    lateral_nm: float = setting(250.0, "Largest lateral distance of a match, nm.", minimum=1)
    axial_nm: float = setting(500.0, "Largest axial distance of a match, nm.", minimum=1)
    border_nm: float = setting(450.0, "Molecules this close to the edge of the field do not count, nm.", minimum=0)
    minimum_truth_photons: float = setting(
        0.0, "Molecules with fewer photons do not count: finding them is neither right nor wrong.", minimum=0
    )
    depth_bins: int = setting(8, "Intervals of depth for which errors are listed.", minimum=1, maximum=1000)
