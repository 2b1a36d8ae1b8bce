"""Quality values of the correction of sample drift, and verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.postprocessing.sample_drift import SampleDrift
from planeloc.postprocessing.settings import CorrectDriftSettings

_FEW = "few molecules were localized repeatedly in the same structure; record more frames, or use fiducial markers"
_HALVES = (
    "the two halves of the field do not drift alike; is the sample moving or deforming, or is the registration of the "
    "cameras changing?"
)
_NOTHING = (
    "the localizations cannot show a drift of a few times their precision; without a larger one, the table stays as it "
    "is; record more frames, or use six fiducial markers or more"
)
_UNCONFIRMED = (
    "the sample may have drifted, but two halves of the field do not confirm it, and the table stays as "
    "it is; look at the figure of the sample drift; record more frames"
)


def drift_values(found: SampleDrift | None, corrected: bool, frame: NDArray[np.int64]) -> dict[str, float]:
    """Quality values by name; those of the trajectory only if the table was corrected by it.

    Parameters
    ----------
    frame : (rows,) frames of the localizations, over which means are taken.
    """
    values: dict[str, float] = {"sample_drift_corrected": int(corrected)}
    if found is None:
        return values
    values |= {
        "sample_drift_significance": found.significance,
        "sample_drift_detectability": found.detectability,
        "sample_drift_entropy_reduction": found.entropy_reduction,
        "blinks": found.blinks,
    }
    drift, sd = found.trajectory.drift_nm, found.trajectory.sd_nm
    if not corrected:
        if found.halves:
            values["unconfirmed_drift"] = float(np.sqrt(((drift / sd)[frame] ** 2).mean(axis=0)).max())
        return values
    for number, axis in enumerate("xyz"):
        values[f"sample_drift_range_{axis}_nm"] = float(np.ptp(drift[:, number]))
        values[f"sample_drift_rms_{axis}_nm"] = float(np.sqrt((drift[frame, number] ** 2).mean()))
    lateral, axial = sd[frame, :2], sd[frame, 2]
    values["drift_sd_lateral_nm"] = float(np.sqrt((lateral**2).mean()))
    values["drift_sd_axial_nm"] = float(np.sqrt((axial**2).mean()))
    values["halves_disagreement"] = float(np.sqrt((found.disagreement**2).mean()))
    return values


def drift_checks(values: Mapping[str, float], s: CorrectDriftSettings) -> list[Check]:
    """Verdicts on the estimate; where nothing was corrected, only whether there may be a drift all the same."""
    if values["sample_drift_corrected"]:
        limits = {
            "drift_sd_lateral_nm": (s.drift_sd_lateral_warn_nm, _FEW),
            "drift_sd_axial_nm": (s.drift_sd_axial_warn_nm, _FEW),
            "halves_disagreement": (s.halves_disagreement_warn, _HALVES),
        }
        return [check_at_most(name, _known(values[name]), advice, warn=w) for name, (w, advice) in limits.items()]
    name = "sample_drift_detectability"
    checks = [check_at_least(name, values[name], _NOTHING, warn=s.detectability_warn)]
    if checks[0].verdict == "pass" and "unconfirmed_drift" in values:  # else nothing is known of the drift
        value = _known(values["unconfirmed_drift"])
        checks.append(check_at_most("unconfirmed_drift", value, _UNCONFIRMED, warn=s.unconfirmed_drift_warn))
    return checks


def _known(value: float) -> float:
    return value if math.isfinite(value) else math.inf
