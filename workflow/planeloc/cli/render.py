"""`planeloc render`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.rendering.render import render
from planeloc.rendering.settings import RenderSettings


@click.command("render")
@file_option("--localizations", "Filtered table.")
@file_option("--depth-image", "Depth-coloured picture (PNG).")
@file_option("--voxel-image", "Picture of the voxels seen more than once (PNG).")
@file_option("--tiff", "Rendered density (OME-TIFF).")
@file_option("--voxel-tiff", "Frames per voxel (OME-TIFF).")
@provenance_option
@options(RenderSettings)
def command(
    localizations: Path,
    depth_image: Path,
    voxel_image: Path,
    tiff: Path,
    voxel_tiff: Path,
    provenance: Path | None,
    settings: RenderSettings,
) -> None:
    """Draw the super-resolution pictures."""
    used = render(localizations, depth_image, voxel_image, tiff, voxel_tiff, settings)
    write_record(provenance, "render", settings, [localizations], [depth_image, voxel_image, tiff, voxel_tiff], used)
