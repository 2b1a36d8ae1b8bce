"""Quality values of linking, and verdicts on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from planeloc.core.checks import Check, check_at_most
from planeloc.postprocessing.linking import Links
from planeloc.postprocessing.merge import Scatter
from planeloc.postprocessing.settings import LinkSettings

_CROWDED = (
    "molecules are so close to each other that blinks cannot be told apart everywhere; use fewer active molecules per "
    "frame, or results that are not linked"
)
_SCATTERED = (
    "localizations of the same molecule scatter more than their standard deviations say; is the sample crowded, or "
    "does the PSF not fit? The linked table states larger ones"
)


def link_values(
    merged: Mapping[str, NDArray], links: Links | None, found: Scatter, stated: NDArray[np.bool_], crowding: float
) -> dict[str, float]:
    """Quality values by name.

    Parameters
    ----------
    merged : columns of the linked table.
    links : None if nothing was linked.
    stated : (3,) whether there are standard deviations along x, y, z to compare the scatter with.
    crowding : fraction of links that would have been false, where nothing was linked for that.
    """
    frames, rows = merged["frames"], int(merged["frames"].sum())
    values: dict[str, float] = {
        "localizations_linked": int(links is not None),
        "localizations": rows,
        "linked_rows": len(frames),
    }
    if links is None:
        return values | ({"expected_false_links_fraction": crowding} if crowding else {})
    duration = merged["last_frame"] - merged["frame"] + 1
    number = int((links.previous >= 0).sum())
    values |= {
        "on_time_frames": float(duration.mean()),
        "longest_blink_frames": int(duration.max()),
        "localizations_per_blink": rows / len(frames),
        "gap_fraction": float(1 - frames.sum() / duration.sum()),
        "goes_on_probability": float(links.law.next_lag[0]),
        "gap_probability": float(links.law.next_lag[1:].sum()),
        "blink_ends_probability": 1 - links.law.goes_on,
        "single_frame_fraction": 1 - links.law.lasting,
        "links": number,
        "expected_false_links": links.expected_false,
        "expected_false_links_fraction": links.expected_false / number,
    }
    for axis, name in enumerate("xyz"):
        if stated[axis]:
            values[f"blink_scatter_{name}"] = float(np.sqrt(found.ratio[axis]))
            values[f"shared_{name}_fraction"] = float(found.shared[axis])
    if stated.any():
        values["blink_scatter"] = float(np.sqrt(found.ratio[stated].max()))
    return values


def link_checks(values: Mapping[str, float], settings: LinkSettings) -> list[Check]:
    """Verdicts; where nothing was linked, only on crowding, if that is the reason."""
    name = "expected_false_links_fraction"
    if name not in values:
        return []
    checks = [check_at_most(name, values[name], _CROWDED, warn=settings.false_links_warn)]
    if "blink_scatter" in values:
        checks.append(check_at_most("blink_scatter", values["blink_scatter"], _SCATTERED, warn=settings.scatter_warn))
    return checks
