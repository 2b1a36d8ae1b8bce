"""`planeloc link`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.postprocessing.link import link_localizations
from planeloc.postprocessing.settings import LinkSettings


@stage_command(
    "link",
    LinkSettings,
    File("--localizations", "Filtered localization table."),
    File("--sample-drift", "Sample drift from correct-drift (CSV), which the table is without.", required=False),
    output("--output", "Table of linked molecules (HDF5)."),
    FIGURE,
    QUALITY,
)
def command(localizations: Path, **given: Any) -> Used:
    """Link the localizations of every blink over the frames, and merge them into one row.

    The table that is read stays; the linked file also says which of its rows each localization belongs to.
    """
    return Used(link_localizations(localizations, **given))
