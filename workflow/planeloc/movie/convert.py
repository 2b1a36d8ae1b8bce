"""The `convert` stage: camera files → movie store, manifest and quality file.

The counts stay as they are; registration is applied when frames are resampled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import Check, write_quality
from planeloc.core.locks import locked
from planeloc.io.camera_source import open_cameras
from planeloc.movie.noise_check import measure_noise
from planeloc.movie.quality import (
    Survey,
    camera_statistics,
    dropped_frames,
    noise_values,
    plane_checks,
    shorter_cameras,
)
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import RECORDED
from planeloc.movie.writer import write_movie

_LOG = logging.getLogger(__name__)


def convert(
    files: Sequence[Path],
    microscope: Microscope,
    store: Path,
    manifest: Path,
    quality: Path,
    settings: ConvertSettings,
) -> None:
    """Convert camera files to a movie.

    Warnings are logged, and kept in the manifest with the statistics of every camera.

    Parameters
    ----------
    files : recordings as for `planeloc.io.camera_source.open_cameras`, whose remarks about them are kept, too.
    store : Zarr folder of the movie, to write.
    manifest, quality : JSON files to write.

    Raises
    ------
    PlanelocError : the files do not fit the microscope or each other, the movie cannot be written, or another run
        writes it.
    """
    limits = np.array([camera.saturation_counts for camera in microscope.cameras])
    warnings: list[str] = []
    checks: list[Check] = []

    def report(surveys: list[Survey]) -> dict[str, Any]:
        whole = Survey.join(surveys)
        statistics = camera_statistics(whole, microscope, source.shape[2] * source.shape[3], source.recorded)
        for plane, (camera, noise) in enumerate(zip(microscope.cameras, noise_task.result(), strict=True)):
            judged = plane_checks(statistics[plane]["saturated_fraction"], noise, camera, plane, settings)
            checks.extend(judged)
            warnings.extend(check.advice for check in judged if check.verdict != "pass")
            warnings.extend(dropped_frames(whole.of_plane(plane, source.recorded[plane]), camera))
        if len(set(source.recorded)) == 1:
            return {"statistics": statistics, "warnings": [*source.remarks, *warnings]}
        warnings.extend(shorter_cameras(source.recorded, microscope))
        kept = [*source.remarks, *warnings]
        return {"statistics": statistics, "warnings": kept, RECORDED: list(source.recorded)}

    with (
        locked(store),
        locked(manifest),
        open_cameras(files, microscope, settings.unequal_lengths) as source,
        ThreadPoolExecutor(1) as pool,
    ):
        noise_task = pool.submit(measure_noise, source, microscope.cameras, min(source.recorded))
        write_movie(
            source,
            store,
            manifest,
            microscope,
            chunk_frames=settings.chunk_frames,
            compression_level=settings.compression_level,
            threads=settings.threads,
            survey=lambda counts: Survey.of(counts, limits),
            report=report,
        )
    write_quality(quality, noise_values(noise_task.result()), checks)
    for warning in warnings:
        _LOG.warning(f"{manifest}: {warning}")
