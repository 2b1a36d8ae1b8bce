"""`planeloc filter`."""

from __future__ import annotations

from pathlib import Path

from planeloc.cli.options import File, output, stage_command
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
def command(localizations: Path, output: Path, picasso: Path, thunderstorm: Path, settings: FilterSettings) -> None:
    """Filter localizations, and export them to Picasso and ThunderSTORM."""
    filter_localizations(localizations, output, picasso, thunderstorm, settings)
