"""The check that a network fits the movie, which `localize` made before it began, from the metadata of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planeloc.core.quality_labels import number
from planeloc.reporting.shown_checks import UNKNOWN, ShownCheck

_VERDICTS = {"inside": "pass", "outside": "warn", "unknown": UNKNOWN}
_TRAIN = "Train a network for this movie: the log of localize has the settings"
_UNITS = {"background": " photons per pixel", "brightness": " photons", "density": " per 16×16 pixels"}
_LABELS = {
    "background": "background of the movie",
    "brightness": "brightness of the molecules",
    "spot_width": "spot width, relative to the PSF of the training",
    "density": "density of the molecules",
}
_WHY = {
    "background": "the background is noisier than in the training of the network, which may take noise for molecules",
    "brightness": "molecules are much dimmer or brighter than in the training of the network, which may miss them",
    "spot_width": (
        "spots are wider or narrower than in the training of the network, and depths may be wrong; first check that "
        "the calibration belongs to this movie and that the focus was right"
    ),
    "density": "molecules are denser than in the training of the network, which may miss or merge those that overlap",
}


def network_checks(metadata: Mapping[str, Any]) -> list[ShownCheck]:
    """The comparison of a movie with the training of its network, one check per quantity.

    Parameters
    ----------
    metadata : of a table of localizations; one without the comparison gives one check that could not be made.
    """
    found = metadata.get("distribution_check")
    if not found:
        return [ShownCheck("whether the network fits the movie", "not recorded", "", UNKNOWN)]
    return [_check(name, each) for name, each in found.items()]


def _check(name: str, found: Mapping[str, Any]) -> ShownCheck:
    verdict = _VERDICTS[found["verdict"]]
    text, unit = _range(found["measured"]), _UNITS.get(name, "")
    trained = _range(found["trained"])
    limit = f"trained with {'up to ' if name == 'density' else ''}{trained}{unit}"
    if name == "spot_width":
        limit = "1: as wide as in training"
    advice = "" if verdict == "pass" else f"{_WHY.get(name, '')}. {_TRAIN}"
    return ShownCheck(_LABELS.get(name, name), f"{text}{unit}" if text else "too few molecules", limit, verdict, advice)


def _range(values: Any) -> str:
    """A number, or the smallest and the largest of some; empty if none is known."""
    known = [value for value in (values if isinstance(values, list) else [values]) if value is not None]
    ends = list(dict.fromkeys(_short(value) for value in (min(known), max(known)))) if known else []
    return " to ".join(ends)


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) and value < 1000 else number(value)
