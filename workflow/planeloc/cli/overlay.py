"""`planeloc overlay`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, stage_command
from planeloc.rendering.overlay import overlay
from planeloc.rendering.settings import OverlaySettings


@stage_command(
    "overlay",
    OverlaySettings,
    File("--movie", "Movie manifest from convert."),
    File("--registration", "Transforms from register."),
    File("--localizations", "Localization table from localize, with positions as they were in the frames."),
    File("--synchronization", "Frames of the cameras from synchronize.", required=False),
    FIGURE,
    QUALITY,
)
def command(localizations: Path, **given: Any) -> Used:
    """Draw raw frames of all cameras with the localizations found in them."""
    return Used(overlay(localizations_file=localizations, **given))
