"""Numbers and recurring phrases of the report as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from planeloc_reproduction.figures.style import look
from planeloc_reproduction.measures import Interval
from planeloc_reproduction.published import TRAINING_IMAGES, Published
from planeloc_reproduction.results import Training

NOTHING = "—"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands with commas, a true minus sign; "—" for NaN."""
    if not math.isfinite(value):
        return NOTHING
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "−")
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    decimals = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{decimals}f}".replace("-", "−")


def interval(value: Interval) -> str:
    """16.9 (16.1–17.8)."""
    if not math.isfinite(value.value):
        return NOTHING
    return f"{number(value.value)} ({number(value.low)}–{number(value.high)})"


def difference(ours: float, paper: float) -> str:
    """+0.200 (+1.2 %), or from tenfold on +19.1 (× 149)."""
    if not (math.isfinite(ours) and paper):
        return NOTHING
    if ours == paper:
        return "none"
    change = ours - paper
    sign = "+" if change > 0 else "−"
    share = f"× {number(ours / paper)}" if ours >= 10 * paper > 0 else f"{sign}{percent(abs(change / paper))}"
    return f"{sign}{number(abs(change))} ({share})"


def condition(value: float) -> str:
    """A number that was set and not measured: 0, 0.2, 24, 1,628."""
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def percent(share: float) -> str:
    """11 %; below 10 % with two digits, and never rounded up to 100 %."""
    if not math.isfinite(share):
        return NOTHING
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{math.floor(value * 10) / 10:.1f} %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def printed(value: Published | None) -> str:
    """The paper's number, or "—" where it prints none."""
    return number(value.value) if value else NOTHING


def label(estimator: str) -> str:
    """The name of an estimator as the figures write it."""
    return look(estimator).label


def training_mark(training: Mapping[str, Training], networks: Iterable[str]) -> str:
    """How far these networks were trained; empty where all saw as many images as the paper's or more."""
    known = {name: training[name] for name in networks if name in training and training[name].images}
    unknown = [name for name in networks if name not in known]
    short = [name for name, record in known.items() if record.fraction < 1]
    parts = [f"how far the {label(name)} was trained is not recorded" for name in unknown]
    whole = f"of the paper's {TRAINING_IMAGES.value:,}"
    if short and len(known) > 1 and len({record.images for record in known.values()}) == 1:
        first = known[short[0]]
        parts.insert(0, f"networks trained on {first.images:,} images, {percent(first.fraction)} {whole}")
    elif short:
        shares = [
            f"{label(name)} trained on {record.images:,} images, {percent(record.fraction)}"
            for name, record in known.items()
        ]
        parts.insert(0, "; ".join(shares) + f" {whole}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]
