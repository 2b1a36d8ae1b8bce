"""`planeloc filter`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.settings import FilterSettings


@click.command("filter")
@file_option("--localizations", "Table from localize.")
@file_option("--output", "Filtered table (HDF5).")
@file_option("--picasso", "Filtered table for Picasso (HDF5, with its YAML beside it).")
@file_option("--thunderstorm", "Filtered table for ThunderSTORM (CSV).")
@provenance_option
@options(FilterSettings)
def command(
    localizations: Path,
    output: Path,
    picasso: Path,
    thunderstorm: Path,
    provenance: Path | None,
    settings: FilterSettings,
) -> None:
    """Keep the localizations that can be trusted, and export them."""
    filter_localizations(localizations, output, picasso, thunderstorm, settings)
    write_record(provenance, "filter", settings, [localizations], [output, picasso, thunderstorm])
