"""What the filter kept and removed, from the metadata of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planeloc.reporting.shown_checks import ShownCheck

_LOOSEN = "The filter leaves nothing: loosen its limits; the figure shows which of them removes most"


def filter_values(metadata: Mapping[str, Any]) -> dict[str, float]:
    """How many rows were read and kept, and how many fail each criterion that removes any.

    Parameters
    ----------
    metadata : of a filtered table; nothing is known of one that no filter wrote.
    """
    record = metadata.get("filter")
    if not record:
        return {}
    failing = {f"{name}_removes": rows for name, rows in record["failing"].items() if rows}
    return {"rows_read": record["rows_read"], "rows_kept": record["rows_kept"], **failing}


def filter_checks(metadata: Mapping[str, Any]) -> list[ShownCheck]:
    """Whether the filter kept anything."""
    record = metadata.get("filter")
    if not record:
        return []
    read, kept = record["rows_read"], record["rows_kept"]
    share = f" ({kept / read:.1%})".replace("%", " %") if read else ""
    verdict = "fail" if read and not kept else "pass"
    return [ShownCheck("localizations kept", f"{kept:,} of {read:,}{share}", "", verdict, _LOOSEN)]
