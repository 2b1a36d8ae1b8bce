"""`planeloc render`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import File, Used, output, stage_command
from planeloc.core import marks
from planeloc.rendering.render import RenderedFiles, render
from planeloc.rendering.settings import RenderSettings


@stage_command(
    "render",
    RenderSettings,
    File("--localizations", "Table of localizations, filtered or linked."),
    File("--drift", "Sample drift that was subtracted from the table (CSV of correct-drift).", required=False),
    output("--depth-image", "Depth-coloured image (PNG).", marks.figure),
    output("--voxel-image", "Image of the voxels that hold a molecule in several frames (PNG).", marks.figure),
    output("--tiff", "Rendered density (OME-TIFF).", marks.stack),
    output("--voxel-tiff", "Number of frames per voxel (OME-TIFF).", marks.stack),
    output("--zarr", "Rendered density in several resolutions (OME-Zarr, a folder).", marks.PYRAMID, required=False),
    output("--projections", "Views from the objective and from two sides (PNG).", marks.figure, required=False),
    output("--slices", "Montage of slices (PNG).", marks.figure, required=False),
    output("--drift-image", "Part of the sample with and without its drift (PNG).", marks.figure, required=False),
)
def command(localizations: Path, settings: RenderSettings, **files: Any) -> Used:
    """Render the super-resolution images."""
    return Used(render(localizations, RenderedFiles(**files), settings))
