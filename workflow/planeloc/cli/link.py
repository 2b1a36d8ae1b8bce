"""`planeloc link`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.io.exporters import EXPORTERS, parse_export
from planeloc.postprocessing.link import link_localizations
from planeloc.postprocessing.settings import LinkSettings


@stage_command(
    "link",
    LinkSettings,
    File("--localizations", "Filtered localization table."),
    File("--sample-drift", "Sample drift from correct-drift (CSV), if the table was corrected by it.", required=False),
    output("--output", "Linked table, one row per blink (HDF5).", marks.table),
    FIGURE,
    QUALITY,
)
@click.option(
    "--export",
    multiple=True,
    metavar="NAME=PATH",
    help=f"The linked table for another program, one of {', '.join(EXPORTERS.names())}; may be repeated.",
)
def command(localizations: Path, export: tuple[str, ...], **given: Any) -> Used:
    """Link the localizations of every blink over the frames, and merge them into one row.

    The table that is read stays; the linked file also says which of its rows each localization belongs to.
    """
    exports = [parse_export(words) for words in export]
    return Used(link_localizations(localizations, exports=exports, **given), outputs=tuple(path for _, path in exports))
