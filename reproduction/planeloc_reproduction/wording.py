"""Numbers of the report as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from planeloc.core.quality_labels import NOTHING, number
from planeloc_reproduction.figures.style import look
from planeloc_reproduction.measures import Interval
from planeloc_reproduction.published import TRAINING_IMAGES, Published
from planeloc_reproduction.results import Training, Variant


def shown(value: float | Interval | Published | None) -> str:
    """16.7, or 16.9 (16.1–17.8) with an interval; "—" where there is nothing."""
    if value is None:
        return NOTHING
    if isinstance(value, Interval) and math.isfinite(value.value):
        return f"{number(value.value)} ({number(value.low)}–{number(value.high)})"
    return number(getattr(value, "value", value))


def difference(ours: float | Interval | None, paper: float | Interval | Published | None) -> str:
    """+0.200 (+1.2 %), or from tenfold on +19.1 (× 149)."""
    ours, paper = (getattr(value, "value", value) for value in (ours, paper))
    if ours is None or not math.isfinite(ours) or not paper:
        return NOTHING
    if ours == paper:
        return "none"
    change = ours - paper
    sign = "+" if change > 0 else "−"
    share = f"× {number(ours / paper)}" if ours >= 10 * paper > 0 else f"{sign}{percent(abs(change / paper))}"
    return f"{sign}{number(abs(change))} ({share})"


def condition(value: float) -> str:
    """A number that was set and not measured: 0, 0.2, −24, 1,628."""
    return (f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}").replace("-", "−")


def percent(share: float) -> str:
    """11 %; below 10 % with two digits, and never rounded up to 100 %."""
    if not math.isfinite(share):
        return NOTHING
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{math.floor(value * 10) / 10:.1f} %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def label(estimator: str) -> str:
    """The name of an estimator as the figures write it."""
    return look(estimator).label


def begin(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def training_mark(training: Mapping[str, Training], networks: Iterable[str]) -> str:
    """How far these networks were trained; empty where all have seen as many images as the paper's or more."""
    parts = []
    for name in networks:
        record = training.get(name)
        if record is None or not record.images:
            parts.append(f"how far the {label(name)} was trained is not recorded")
        elif record.fraction < 1:
            parts.append(f"{label(name)}: {record.images:,} training images, {percent(record.fraction)}")
    whole = f" (the paper: {TRAINING_IMAGES.value:,})" if any("%" in part for part in parts) else ""
    return begin("; ".join(parts)) + whole


def study_mark(variants: Sequence[Variant]) -> str:
    """How far the architectures of the study were trained."""
    images = sorted({variant.training_images for variant in variants})
    seen = " to ".join(f"{count:,}" for count in dict.fromkeys([images[0], images[-1]]))
    share = percent(images[-1] / TRAINING_IMAGES.value)
    return f"Each trained on {seen} images, {share} of the paper's {TRAINING_IMAGES.value:,}"
