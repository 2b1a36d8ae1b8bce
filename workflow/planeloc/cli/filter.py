"""`planeloc filter`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.io.exporters import EXPORTERS, parse_export
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.settings import FilterSettings


@stage_command(
    "filter",
    FilterSettings,
    File("--localizations", "Localization table, without sample drift (correct-drift) or as localized."),
    output("--output", "Filtered localization table (HDF5).", marks.table),
    output("--figure", "Histogram of every quantity before and after (PNG).", marks.figure, required=False),
)
@click.option(
    "--export",
    multiple=True,
    metavar="NAME=PATH",
    help=f"The same table for another program, one of {', '.join(EXPORTERS.names())}; may be repeated.",
)
def command(
    localizations: Path, output: Path, figure: Path | None, export: tuple[str, ...], settings: FilterSettings
) -> Used:
    """Filter localizations, and export them to other programs."""
    exports = [parse_export(words) for words in export]
    filter_localizations(localizations, output, exports, settings, figure)
    return Used(outputs=tuple(path for _, path in exports))
