"""Quality values of the resolution, and verdicts on them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.core.widths import FWHM
from planeloc.resolution.results import Measured
from planeloc.resolution.ring_sums import Resolution
from planeloc.resolution.settings import MeasureResolutionSettings
from planeloc.resolution.spacing import Spacing

_UNKNOWN = "the resolution cannot be told: there are too few molecules, or they show no structure; record more frames"
_UNLINKED = (
    "the table is not linked (linking.png says why), so that halves share the blinks and the resolution comes out too "
    "small; rely on the FRC before linking with blinks kept whole"
)
_BLURRED = (
    "molecules scatter more than their stated precision; check the PSF model and the camera values, and whether the "
    "sample moves within a blink; do not filter or weight by the stated precision"
)
_MODEST = "molecules scatter less than their stated precision; check the camera values (gain, excess noise)"
_SPARSE = "molecules are too far apart for the precision; record more frames, or label more densely"
_MOVED = "the first and the second half of the movie do not show the same; is there sample drift left?"
_NAMES = {
    "frc": "xy",
    "frc_time": "time",
    "frc_time_blocks": "time blocks",
    "frc_naive": "naive",
    "frc_unlinked": "unlinked",
    "frc_xz": "xz",
    "frc_yz": "yz",
    "fsc": "3d",
    "fsc_axial": "axial",
}


def resolution_values(measured: Measured) -> dict[str, float]:
    """Quality values by name; NaN where something cannot be told."""
    values: dict[str, float] = {"molecules": measured.molecules}
    values["localizations_per_molecule"] = measured.localizations / max(measured.molecules, 1)
    for name, key in _NAMES.items():
        found = measured.resolutions.get(key, Resolution(math.nan))
        values[f"{name}_nm"] = found.nm
        if name in ("frc", "fsc", "fsc_axial"):
            values[f"{name}_sd_nm"] = found.sd_nm
    known = [nm for nm in measured.splits_nm if math.isfinite(nm)]
    values["frc_split_spread_nm"] = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    values["frc_time_ratio"] = values["frc_time_nm"] / values["frc_nm"]
    values["naive_frc_ratio"] = values["frc_naive_nm"] / values["frc_unlinked_nm"]
    for number, direction in enumerate(("lateral", "axial")):
        nena = measured.nena[direction]
        values[f"nena_{direction}_nm"], values[f"nena_{direction}_sd_nm"] = nena.value, nena.sd
        values[f"stated_precision_{direction}_nm"] = measured.stated[number]
        values[f"linked_precision_{direction}_nm"] = measured.linked[number]
        name = f"precision_ratio_{direction}"
        values[name], values[f"{name}_sd"] = measured.ratios[direction]
    flat, solid = (measured.spacings.get(k, Spacing(math.nan, math.nan, math.nan)) for k in ("lateral", "3d"))
    values["nyquist_lateral_nm"], values["nyquist_3d_nm"] = flat.nyquist_nm, solid.nyquist_nm
    values["structure_dimension"] = flat.dimension
    ratio = values["precision_ratio_lateral"]
    values["precision_fwhm_nm"] = precision_fwhm_nm(measured.linked[0], ratio, measured.enlarged)
    values["nyquist_ratio"] = values["nyquist_lateral_nm"] / (values["precision_fwhm_nm"] or math.nan)
    values["rows_are_blinks"] = int(measured.linked_rows)
    values["resolution_measured"] = int(math.isfinite(values["frc_nm"]))
    return values


def precision_fwhm_nm(linked_nm: float, ratio: float, enlarged: float) -> float:
    """Full width at half maximum of a molecule's lateral position, as its blinks show it.

    Parameters
    ----------
    linked_nm : standard deviation that the linked table states.
    ratio : measured over stated precision of the table before linking; NaN if unknown.
    enlarged : by which part of the ratio `link` has enlarged the standard deviation already.
    """
    return FWHM * linked_nm * (ratio / enlarged if math.isfinite(ratio) else 1.0)


def limit_of(values: Mapping[str, float]) -> str:
    """What limits the resolution: density or precision, or "unknown"."""
    ratio = values["nyquist_ratio"]
    if not (math.isfinite(ratio) and math.isfinite(values["frc_nm"])):
        return "unknown"
    return "density" if ratio > 1 else "precision"


def resolution_checks(values: Mapping[str, float], s: MeasureResolutionSettings) -> list[Check]:
    """Verdicts; what cannot be told is not judged, except that nothing can be told of the resolution."""
    checks = [check_at_least("resolution_measured", values["resolution_measured"], _UNKNOWN, warn=1)]
    if not values["rows_are_blinks"]:
        checks.append(check_at_least("rows_are_blinks", values["rows_are_blinks"], _UNLINKED, warn=1))
    for direction in ("lateral", "axial"):
        name = f"precision_ratio_{direction}"
        if values[name] < s.precision_ratio_low_warn:
            checks.append(check_at_least(name, values[name], _MODEST, warn=s.precision_ratio_low_warn))
        elif math.isfinite(values[name]):
            checks.append(check_at_most(name, values[name], _BLURRED, warn=s.precision_ratio_warn))
    limits = {"nyquist_ratio": (s.nyquist_ratio_warn, _SPARSE), "frc_time_ratio": (s.time_ratio_warn, _MOVED)}
    for name, (warn, advice) in limits.items():
        if math.isfinite(values[name]):
            checks.append(check_at_most(name, values[name], advice, warn=warn))
    return checks
