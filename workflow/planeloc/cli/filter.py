"""`planeloc filter`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.io.exporters import EXPORTERS, parse_export
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.settings import FilterSettings


@stage_command(
    "filter",
    FilterSettings,
    File("--localizations", "Localization table from localize."),
    output("--output", "Filtered localization table (HDF5)."),
    output("--picasso", "The same for Picasso (HDF5, with its YAML beside it)."),
    output("--thunderstorm", "The same for ThunderSTORM (CSV)."),
)
@click.option(
    "--export",
    multiple=True,
    metavar="NAME=PATH",
    help=f"Export for another program, one of {', '.join(EXPORTERS.names())}; may be repeated.",
)
def command(
    localizations: Path,
    output: Path,
    picasso: Path,
    thunderstorm: Path,
    export: tuple[str, ...],
    settings: FilterSettings,
) -> Used:
    """Filter localizations, and export them to Picasso and ThunderSTORM."""
    others = [parse_export(words) for words in export]
    exports = [("picasso", picasso), ("thunderstorm", thunderstorm), *others]
    filter_localizations(localizations, output, exports, settings)
    return Used(outputs=tuple(path for _, path in others))
