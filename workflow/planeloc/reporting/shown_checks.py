"""Checks as the page shows them: value and limit in words, which side is good, the verdict, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planeloc.core.quality_labels import label, quantity
from planeloc.reporting.verdicts import worst

UNKNOWN = "unknown"  # the verdict where a check could not be made


@dataclass(frozen=True)
class ShownCheck:
    """One check in words."""

    label: str
    value: str
    limit: str  # "≤ 10 nm is good"
    verdict: str  # pass, warn, fail or unknown
    advice: str = ""


def shown(check: Mapping[str, Any]) -> ShownCheck:
    """A check of a quality file in words."""
    name = check["name"]
    value = quantity(name, check["value"])
    return ShownCheck(label(name), value, _limit(check), check["verdict"], check.get("advice", ""))


def stage_verdict(checks: Sequence[ShownCheck]) -> str:
    """The worst verdict; "unknown" is between pass and warn, and the verdict of a stage without checks."""
    bad = worst(check.verdict for check in checks if check.verdict != UNKNOWN)
    return UNKNOWN if (bad == "pass" and any(c.verdict == UNKNOWN for c in checks)) or not checks else bad


def overall(checks: Sequence[ShownCheck]) -> tuple[str, str]:
    """The verdict on a sample, and the sentence that says why.

    Fail if any check failed, else warn if any warned, else pass; unknown if no check could be made. Single checks that
    could not be made change no verdict, and are named.
    """
    known = [check for check in checks if check.verdict != UNKNOWN]
    count = {
        verdict: sum(check.verdict == verdict for check in checks) for verdict in ("pass", "warn", "fail", UNKNOWN)
    }
    verdict = worst(check.verdict for check in known) if known else UNKNOWN
    of = f"of {len(known)} checks"
    match verdict:
        case "fail":
            why = f"Do not rely on this result yet: {count['fail']} {of} failed"
            why += f", and {count['warn']} gave a warning." if count["warn"] else "."
        case "warn":
            gave = "gives a warning" if count["warn"] == 1 else "give a warning"
            why = f"The result can be used with care: {count['warn']} {of} {gave}, none failed."
        case "pass":
            why = f"All {len(known)} checks passed." if len(known) > 1 else "The only check passed."
        case _:
            why = "No check could be made."
    if count[UNKNOWN] and known:
        names = _listed(dict.fromkeys(check.label for check in checks if check.verdict == UNKNOWN))
        why += f" Not known: {names}."
    return verdict, why


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _limit(check: Mapping[str, Any]) -> str:
    """Which side of the threshold is good; beyond that of a failure, that it fails there."""
    value, threshold = check["value"], check["threshold"]
    text, side = quantity(check["name"], threshold), check.get("side", "") or _side(check)
    if threshold is None:
        return ""
    if not side or (value is None and check["verdict"] == "fail"):
        return f"limit {text}"
    if check["verdict"] == "fail":
        return f"{'above' if side == '≤' else 'below'} {text} fails"
    return f"{side} {text} is good"


def _side(check: Mapping[str, Any]) -> str:
    """The good side of a threshold in a file that does not state it: the one that a value which passed is on."""
    value, threshold = check["value"], check["threshold"]
    if value is None or threshold is None or value == threshold:
        return ""
    return "≤" if (value < threshold) == (check["verdict"] == "pass") else "≥"
