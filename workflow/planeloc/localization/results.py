"""What a localization writes and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from planeloc.io import localization_table
from planeloc.localization.camera_drift import ARRAYS, DriftOfMovie, follow
from planeloc.localization.checkpoints import Checkpoint
from planeloc.localization.context import Inputs
from planeloc.localization.settings import LocalizeSettings
from planeloc.transforms.coverage import Coverage

ADDED = ("goodness_of_fit", "planes_seen")


def write_table(
    output: Path, checkpoints: Sequence[Checkpoint], metadata: dict[str, Any], drift: DriftOfMovie | None = None
) -> int:
    """Join checkpoints into one table, one at a time in memory; returns the number of rows.

    Where the drift of the cameras through the movie is known, molecules follow it. Those whose depth cannot be told,
    which have an infinite standard deviation, are left out. Their number is added to the `coverage` of the metadata,
    and that of the rows that not all cameras see.
    """
    left_out = partly = 0
    for checkpoint in checkpoints:
        for columns in localization_table.portions(checkpoint.path, ("z_sd", "planes_seen")):
            told = ~np.isinf(columns["z_sd"])
            left_out += int((~told).sum())
            partly += int((columns["planes_seen"][told] < len(metadata["plane_depths_nm"])).sum())
    found = {"left_out": left_out, "partly_seen": partly}
    metadata = {**metadata, "coverage": {**metadata["coverage"], **found}}
    with localization_table.LocalizationsWriter(output, metadata, ADDED, "localize") as writer:
        for checkpoint in checkpoints:
            columns = localization_table.read_columns(checkpoint.path)[0]
            if drift is not None:
                columns = follow(columns, localization_table.read_arrays(checkpoint.path, ARRAYS), drift)
            told = ~np.isinf(columns["z_sd"])
            writer.append({name: values[told] for name, values in columns.items()})
    return sum(checkpoint.rows for checkpoint in checkpoints) - left_out


def table_metadata(
    inputs: Inputs, settings: LocalizeSettings, checked: dict[str, Any], drift: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Metadata of the table; `checked` is the record of the distribution check, `drift` that of the cameras' drift."""
    movie, registration, psf, scene = inputs.movie, inputs.registration, inputs.psf, inputs.record.scene
    trained_nm = scene.drift_sd_nm(psf.pixel_size_nm)
    field_sds = [registration.transform_sd_nm(plane)[0] for plane in range(registration.planes)]
    left_out = [[gap.start, gap.stop] for gap in movie.camera_frames.left_out]
    coverage = Coverage(registration, inputs.field_px)
    outline_nm = coverage.common_outline_px() * psf.pixel_size_nm
    return {
        "frames": movie.frames,
        **({"frames_left_out": left_out} if left_out else {}),
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
        "camera_drift": drift,
        "coverage": {"common_share": coverage.common_share(), "common_outline_nm": outline_nm.round(1).tolist()},
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
