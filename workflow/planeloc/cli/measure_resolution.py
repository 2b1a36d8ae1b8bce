"""`planeloc measure-resolution`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.resolution.measure_resolution import measure_resolution
from planeloc.resolution.settings import MeasureResolutionSettings


@stage_command(
    "measure-resolution",
    MeasureResolutionSettings,
    File("--localizations", "Localization table before linking, from filter."),
    File("--linked", "The same with one row per blink, from link."),
    output("--output", "Resolution with its curves, precisions and slices of depth (JSON).", marks.RESOLUTION),
    FIGURE,
    QUALITY,
)
def command(localizations: Path, **given: Any) -> Used:
    """Measure the resolution, the precision from neighbouring frames, and what limits both."""
    return Used(measure_resolution(localizations, **given))
