"""What a localization writes and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planeloc.io import localization_table
from planeloc.localization.checkpoints import Checkpoint
from planeloc.localization.context import Inputs
from planeloc.localization.settings import LocalizeSettings

_ADDED = ("goodness_of_fit",)


def write_table(output: Path, checkpoints: Sequence[Checkpoint], metadata: dict[str, Any]) -> int:
    """Join checkpoints into one table, one at a time in memory; returns the number of rows."""
    with localization_table.LocalizationsWriter(output, metadata, _ADDED, "localize") as writer:
        for checkpoint in checkpoints:
            writer.append(localization_table.read_columns(checkpoint.path)[0])
    return sum(checkpoint.rows for checkpoint in checkpoints)


def table_metadata(inputs: Inputs, settings: LocalizeSettings, checked: dict[str, Any]) -> dict[str, Any]:
    """Metadata of the table; `checked` is the record of the distribution check."""
    movie, registration, psf, scene = inputs.movie, inputs.registration, inputs.psf, inputs.record.scene
    trained_nm = scene.drift_sd_nm(psf.pixel_size_nm)
    field_sds = [registration.transform_sd_nm(plane)[0] for plane in range(registration.planes)]
    return {
        "frames": movie.frames,
        "height_px": movie.height,
        "width_px": movie.width,
        "pixel_size_nm": psf.pixel_size_nm,
        "plane_depths_nm": list(psf.plane_depths_nm),
        "voxel_nm": list(scene.voxel_nm(psf.pixel_size_nm)),
        "depth_range_nm": list(scene.depth_range_nm),
        "threshold": settings.threshold,
        "refine": settings.refine,
        "inter_camera_drift_nm": trained_nm if settings.inter_camera_drift_nm < 0 else settings.inter_camera_drift_nm,
        "registration_sd_nm": [sd if math.isfinite(sd) else None for sd in field_sds],
        "network": list(inputs.record.architecture.channels),
        "distribution_check": checked,
    }


def summary_line(summary: dict[str, Any]) -> str:
    """Number of localizations, speed, and seconds by kind of work, in one line."""
    total = sum(summary["seconds"].values())
    spent = ", ".join(f"{name} {value:.1f} s ({value / total:.0%})" for name, value in summary["seconds"].items())
    return (
        f"{summary['localizations']:,} localizations in {summary['frames']:,} frames; computed now"
        f" {summary['computed_frames']:,} frames at {summary['frames_per_s']:.3g} frames/s"
        + (f"; time of all workers: {spent}" if total else "")
    )
