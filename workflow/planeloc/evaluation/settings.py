"""Settings of the `evaluate` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


@dataclass(frozen=True)
class EvaluateSettings:
    """How localizations are compared with the ground truth; the defaults are those of the 2016 SMLM challenge."""

    lateral_nm: float = setting(
        250.0, "Largest lateral distance between a localization and its molecule.", unit="nm", minimum=1, advanced=True
    )
    axial_nm: float = setting(
        500.0, "Largest axial distance between a localization and its molecule.", unit="nm", minimum=1, advanced=True
    )
    border_nm: float = setting(
        450.0,
        "Width of the margin of the field in which molecules are not counted.",
        unit="nm",
        minimum=0,
        advanced=True,
    )
    minimum_truth_photons: float = setting(
        0.0,
        "Minimum photon count of a molecule in the ground truth; dimmer molecules are not counted.",
        unit="photons",
        minimum=0,
        advanced=True,
    )
    depth_bins: int = setting(
        8, "Number of depth intervals for which errors are listed.", minimum=1, maximum=1000, advanced=True
    )
