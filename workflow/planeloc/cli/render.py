"""`planeloc render`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.rendering.render import render
from planeloc.rendering.settings import RenderSettings


@stage_command(
    "render",
    RenderSettings,
    File("--localizations", "Filtered localization table."),
    output("--depth-image", "Depth-coloured image (PNG)."),
    output("--voxel-image", "Image of the voxels that hold a molecule in several frames (PNG)."),
    output("--tiff", "Rendered density (OME-TIFF)."),
    output("--voxel-tiff", "Number of frames per voxel (OME-TIFF)."),
)
def command(localizations: Path, **given: Any) -> Used:
    """Render the super-resolution images."""
    return Used(render(localizations, **given))
