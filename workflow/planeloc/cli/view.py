"""`planeloc view`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.rendering.settings import ViewSettings
from planeloc.rendering.view import view


@stage_command(
    "view",
    ViewSettings,
    File("--localizations", "Table of localizations, of any stage."),
    output("--picture", "Picture (PNG).", marks.figure),
    output("--tiff", "Density in slices across the direction of view (OME-TIFF).", marks.stack, required=False),
)
def command(localizations: Path, **given: Any) -> Used:
    """Draw a part of the sample: a region, from a side, coloured by a quantity."""
    return Used(view(localizations, **given))
