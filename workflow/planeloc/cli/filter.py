"""`planeloc filter`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.io.exporters import EXPORTERS, parse_export
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.settings import FilterSettings


@click.command("filter")
@file_option("--localizations", "Table from localize.")
@file_option("--output", "Filtered table (HDF5).")
@file_option("--picasso", "Filtered table for Picasso (HDF5, with its YAML beside it).")
@file_option("--thunderstorm", "Filtered table for ThunderSTORM (CSV).")
@click.option(
    "--export",
    multiple=True,
    metavar="NAME=PATH",
    help=f"Table for another program; NAME is an exporter: {', '.join(EXPORTERS.names())}. May be repeated.",
)
@provenance_option
@options(FilterSettings)
def command(
    localizations: Path,
    output: Path,
    picasso: Path,
    thunderstorm: Path,
    export: tuple[str, ...],
    provenance: Path | None,
    settings: FilterSettings,
) -> None:
    """Keep the localizations that can be trusted, and export them."""
    exports = [("picasso", picasso), ("thunderstorm", thunderstorm), *map(parse_export, export)]
    filter_localizations(localizations, output, exports, settings)
    write_record(provenance, "filter", settings, [localizations], [output, *(path for _, path in exports)])
