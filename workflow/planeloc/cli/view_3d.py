"""`planeloc view-3d`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.rendering.view_3d.settings import View3DSettings
from planeloc.rendering.view_3d.view_3d import view_3d


@stage_command(
    "view-3d",
    View3DSettings,
    File("--localizations", "Localization table: as localized, filtered or linked."),
    output("--output", "Page with the 3D view (HTML).", marks.page),
)
def command(localizations: Path, **given: Any) -> Used:
    """Write a page that shows the localizations in 3D.

    The page is one file, for any browser, and needs no network.
    """
    return Used(view_3d(localizations, **given))
