"""Settings of the `evaluate` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold


@dataclass(frozen=True)
class EvaluateSettings:
    """How localizations are compared with the ground truth, and how good they should be.

    The defaults of the comparison are those of the 2016 SMLM challenge; a movie of ordinary brightness and density
    passes all thresholds.
    """

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
    localizations_warn: int = threshold(100, "warn below", "number of localizations", minimum=0)
    localizations_fail: int = threshold(1, "fail below", "number of localizations", minimum=0)
    depth_ends_warn: float = threshold(
        0.5,
        "warn above",
        "fraction of localizations in the outermost tenths of the depth range",
        minimum=0,
        maximum=1,
    )
    empty_frames_warn: float = threshold(
        0.9, "warn above", "fraction of frames without localizations", minimum=0, maximum=1
    )
    recall_warn: float = threshold(0.7, "warn below", "recall", minimum=0, maximum=1)
    recall_fail: float = threshold(0.3, "fail below", "recall", minimum=0, maximum=1)
    precision_warn: float = threshold(0.8, "warn below", "precision", minimum=0, maximum=1)
    precision_fail: float = threshold(0.5, "fail below", "precision", minimum=0, maximum=1)
    rmse_lateral_warn_nm: float = threshold(50.0, "warn above", "lateral RMSE", unit="nm", minimum=0)
    rmse_lateral_fail_nm: float = threshold(150.0, "fail above", "lateral RMSE", unit="nm", minimum=0)
    rmse_axial_warn_nm: float = threshold(100.0, "warn above", "axial RMSE", unit="nm", minimum=0)
    rmse_axial_fail_nm: float = threshold(300.0, "fail above", "axial RMSE", unit="nm", minimum=0)
    bias_lateral_warn_nm: float = threshold(15.0, "warn above", "mean error in x or y", unit="nm", minimum=0)
    bias_axial_warn_nm: float = threshold(30.0, "warn above", "mean error in z", unit="nm", minimum=0)
