"""The few numbers on top of the page, from the quality values of all stages. A new one is one function in the list."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from planeloc.core.quality_labels import NOTHING, number

Values = Mapping[str, Mapping[str, Any]]  # stage → name → value


def key_numbers(values: Values) -> list[tuple[str, str, str]]:
    """Name, value and remark of every number that is known.

    Parameters
    ----------
    values : quality values by stage, and by name, and verdicts of the stage's checks by `verdict_of` their names.
    """
    return [(name, *found) for name, find in _NUMBERS.items() if (found := find(values))]


def verdict_of(check: str) -> str:
    """The name under which the verdict of a check is."""
    return f"verdict of {check}"


def _of(values: Values, stage: str, *names: str) -> list[Any] | None:
    """Values of a stage; None if one is missing."""
    found = [values.get(stage, {}).get(name) for name in names]
    return None if None in found else found


def _localizations(values: Values) -> tuple[str, str] | None:
    if not (found := _of(values, "evaluation", "localizations", "frames")):
        return None
    count, frames = found
    per_frame = f", {number(count / frames)} per frame" if frames else ""
    removed = f"; {_removed(values)}" if _removed(values) else ""
    return f"{count:,.0f}", f"in {frames:,.0f} frames{per_frame}{removed}"


def _removed(values: Values) -> str:
    """What the filter removed in words; nothing if it removed nothing."""
    found = _of(values, "filter", "rows_read", "rows_kept")
    if not found or found[0] == found[1]:
        return ""
    read, kept = found
    return f"the filter removed {read - kept:,.0f} of {read:,.0f} ({(read - kept) / read:.1%})".replace("%", " %")


def _blinks(values: Values) -> tuple[str, str] | None:
    found = _of(values, "linking", "localizations_linked", "linked_rows", "localizations")
    if not found:
        return None
    linked, rows, localizations = found
    if not linked:
        return "not linked", ""
    each = number(localizations / rows) if rows else NOTHING
    return f"{rows:,.0f}", f"{each} localizations each; a molecule may blink several times"


def _precision(values: Values) -> tuple[str, str] | None:
    found = _of(values, "evaluation", "lateral_sd_median_nm", "axial_sd_median_nm")
    return (
        (f"{_nm(found[0])} lateral, {_nm(found[1])} axial", "standard deviation along one axis, median")
        if found
        else None
    )


def _resolution(values: Values) -> tuple[str, str] | None:
    if "resolution" not in values:
        return None
    directions = {"frc_nm": "lateral", "fsc_axial_nm": "axial"}
    known = [
        f"{_nm(found[0])} {text}" for name, text in directions.items() if (found := _of(values, "resolution", name))
    ]
    if not known:
        return "not known", "too few localizations to tell"
    linked = values["resolution"].get("rows_are_blinks", 1)
    how = "Fourier correlation: precision, density and structure together"
    return ", ".join(known), how if linked else f"{how}; too small, since not linked"


def _drift(values: Values) -> tuple[str, str] | None:
    corrected = _of(values, "sample_drift", "sample_drift_corrected")
    if not corrected:
        return None
    ranges = _of(values, "sample_drift", *(f"sample_drift_range_{axis}_nm" for axis in "xyz"))
    if corrected[0] and ranges:
        return ", ".join(f"{_nm(span)} {axis}" for span, axis in zip(ranges, "xyz", strict=True)), "range, removed"
    if _of(values, "sample_drift", "sample_drift_significance") is None:
        return "none removed", "not looked for"
    if _of(values, "sample_drift", verdict_of("unconfirmed_drift")) == ["warn"]:
        return "none removed", "a drift may be there, but is not confirmed"
    return "none removed", "no significant drift found"


def _found(values: Values) -> tuple[str, str] | None:
    found = _of(values, "evaluation", "recall", "precision")
    if not found:
        return None
    remark = f"{found[1]:.1%} of the localizations are true".replace("%", " %")
    if _removed(values):
        remark += f"; after the filter, which removes true ones, too: {_removed(values)}"
    return f"{found[0]:.1%} found".replace("%", " %"), remark


def _errors(values: Values) -> tuple[str, str] | None:
    found = _of(values, "evaluation", "rmse_lateral_nm", "rmse_axial_nm")
    if not found:
        return None
    remark = (
        f"rms distance from the ground truth; lateral: x and y together, {_nm(found[0] / math.sqrt(2))} along one axis"
    )
    return f"{_nm(found[0])} lateral, {_nm(found[1])} axial", remark


def _photons(values: Values) -> tuple[str, str] | None:
    if not (found := _of(values, "evaluation", "photons_median", "background_median")):
        return None
    return f"{found[0]:,.0f}", f"median; background {number(found[1])} per pixel"


def _field(values: Values) -> tuple[str, str] | None:
    if not (found := _of(values, "registration", "common_field_fraction")):
        return None
    left_out = values.get("evaluation", {}).get("left_out_at_edges")
    remark = f"elsewhere {left_out:,.0f} molecules of unknown depth were left out" if left_out else ""
    return f"{100 * found[0]:.0f} %", remark


def _nm(value: float) -> str:
    return f"{number(value)} nm"


_NUMBERS: dict[str, Callable[[Values], tuple[str, str] | None]] = {
    "Localizations": _localizations,
    "Blinks": _blinks,
    "Localization precision": _precision,
    "Resolution": _resolution,
    "Sample drift": _drift,
    "Field that all cameras see": _field,
    "Photons per localization": _photons,
    "Molecules of the ground truth": _found,
    "Error": _errors,
}
