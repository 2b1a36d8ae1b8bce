"""`convert`: camera files → movie store and manifest, and a first look at whether the cameras did their work.

The counts are kept as they are; registration is applied later, when frames are sampled. What is measured on the way
(lowest, mean and highest count, saturated pixels, frames without any contrast) goes into the manifest; with what some
frames tell of the noise (`planeloc.movie.noise_check`) it is judged in the quality file, and what looks wrong is said
on stderr: it is cheaper to find a camera that dropped out, or was described wrongly, here than in the final picture.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import Check, check_at_most, write_quality
from planeloc.io.camera_files import open_cameras
from planeloc.movie.noise_check import PlaneNoise, measure_noise, noise_checks, noise_values
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import write_movie

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Survey:
    """What a run of frames shows; arrays per plane."""

    frames: int
    lowest: NDArray[np.uint16]
    highest: NDArray[np.uint16]
    total: NDArray[np.uint64]  # of the counts
    saturated: NDArray[np.int64]  # pixels
    flat: NDArray[np.int64]  # frames without contrast
    first_flat: NDArray[np.int64]  # the first of them; meaningless where flat is 0


def convert(
    files: Sequence[Path],
    microscope: Microscope,
    store: Path,
    manifest: Path,
    quality: Path,
    settings: ConvertSettings,
) -> None:
    """Convert camera files to a movie; see `planeloc.io.camera_files.open_cameras` and
    `planeloc.movie.store.write_movie`.

    Progress and warnings go to stderr; the warnings are also kept in the manifest, with the statistics of every camera.

    Raises:
        PlanelocError: the files do not fit the microscope or each other, or the movie cannot be written.
    """
    limits = np.array([camera.saturation_counts for camera in microscope.cameras])
    found: list[str] = []
    checks: list[Check] = []
    noise: list[PlaneNoise] = []

    def report(surveys: list[_Survey]) -> dict[str, Any]:
        whole = _joined(surveys)
        statistics = _statistics(whole, microscope, pixels=whole.frames * source.shape[2] * source.shape[3])
        noise.extend(looking.result())
        for plane in range(microscope.planes):
            judged = _checks(statistics[plane], noise[plane], microscope.cameras[plane], plane, settings)
            checks.extend(judged)
            found.extend(check.advice for check in judged if check.verdict != "pass")
            found.extend(_dropped_out(whole, plane, microscope.cameras[plane]))
        return {"statistics": statistics, "warnings": found}

    with open_cameras(files, microscope) as source, ThreadPoolExecutor(1) as beside:
        looking = beside.submit(measure_noise, source, microscope.cameras)
        write_movie(
            source,
            store,
            manifest,
            microscope,
            chunk_frames=settings.chunk_frames,
            compression_level=settings.compression_level,
            threads=settings.threads,
            progress=True,
            survey=lambda counts: _survey(counts, limits),
            report=report,
        )
    write_quality(quality, noise_values(noise), checks)
    for warning in found:
        _LOG.warning(f"{manifest}: {warning}")


def _survey(counts: NDArray[np.uint16], limits: NDArray[np.float64]) -> _Survey:
    """Measure counts (frames, planes, height, width); `limits` is every camera's saturation."""
    images = counts.reshape(*counts.shape[:2], -1)
    lowest, highest = images.min(axis=2), images.max(axis=2)
    saturated = np.zeros(len(limits), dtype=np.int64)
    for frame, plane in np.argwhere(highest >= limits):  # rare: most frames have no saturated pixel to count
        saturated[plane] += np.count_nonzero(images[frame, plane] >= limits[plane])
    flat = lowest == highest
    return _Survey(
        len(counts),
        lowest.min(axis=0),
        highest.max(axis=0),
        images.sum(axis=2, dtype=np.uint64).sum(axis=0),
        saturated,
        flat.sum(axis=0),
        flat.argmax(axis=0),
    )


def _joined(surveys: list[_Survey]) -> _Survey:
    """The survey of all runs of frames together, in order."""
    frames = np.array([survey.frames for survey in surveys])
    flat = np.array([survey.flat for survey in surveys])
    first_flat = (np.cumsum(frames) - frames)[:, None] + [survey.first_flat for survey in surveys]
    return _Survey(
        int(frames.sum()),
        np.min([survey.lowest for survey in surveys], axis=0),
        np.max([survey.highest for survey in surveys], axis=0),
        np.sum([survey.total for survey in surveys], axis=0),
        np.sum([survey.saturated for survey in surveys], axis=0),
        flat.sum(axis=0),
        np.take_along_axis(first_flat, (flat > 0).argmax(axis=0)[None], axis=0)[0],
    )


def _statistics(whole: _Survey, microscope: Microscope, pixels: int) -> list[dict[str, Any]]:
    return [
        {
            "camera": camera.name,
            "lowest_counts": int(whole.lowest[plane]),
            "mean_counts": round(float(whole.total[plane] / pixels), 3),
            "highest_counts": int(whole.highest[plane]),
            "saturated_fraction": float(whole.saturated[plane] / pixels),
            "frames_without_contrast": int(whole.flat[plane]),
        }
        for plane, camera in enumerate(microscope.cameras)
    ]


def _checks(
    statistics: dict[str, Any], noise: PlaneNoise, camera: Camera, plane: int, settings: ConvertSettings
) -> list[Check]:
    """What a microscopist would want to know of one camera before going on."""
    saturated = check_at_most(
        f"camera_{plane}_saturated_share",
        statistics["saturated_fraction"],
        f"camera {camera.name}: {100 * statistics['saturated_fraction']:.3g} % of the pixels are saturated "
        f"(at or above {camera.saturation_counts:g} counts); lower the laser power or the gain",
        warn=settings.saturated_warn,
    )
    of_noise = noise_checks(
        noise,
        camera,
        plane,
        ratio=settings.noise_warn,
        below_counts=settings.below_offset_warn_counts,
        duplicates=settings.duplicates_warn,
    )
    return [saturated, *of_noise]


def _dropped_out(whole: _Survey, plane: int, camera: Camera) -> list[str]:
    if not whole.flat[plane]:
        return []
    return [
        f"camera {camera.name}: {whole.flat[plane]} frame(s) without any contrast, the first is frame "
        f"{whole.first_flat[plane]}; did the camera drop out?"
    ]
