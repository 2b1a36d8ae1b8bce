"""`localize`: movie → table of localizations, in blocks of frames that workers compute in any order.

What a block holds does not depend on how the movie is cut (`planeloc.localization.worker`), so the table is the same
whatever the blocks, the number of workers and the order in which they finish.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
from collections import Counter
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from distributed import Client

from planeloc.core.devices import choose_device, choose_precision, describe_device
from planeloc.core.errors import PlanelocError
from planeloc.core.files import sha256
from planeloc.core.memory import out_of_memory
from planeloc.core.progress import progress_bar
from planeloc.core.stage_version import stage_version
from planeloc.io import localization_table
from planeloc.localization import checkpoints, cluster, domain_check, scheduler
from planeloc.localization.settings import LocalizeSettings
from planeloc.localization.worker import Job, Localizer, group_frames, localize_frames
from planeloc.movie.store import Movie
from planeloc.networks.compatibility import worst_mistaken_depth
from planeloc.networks.record import NetworkRecord, load_network
from planeloc.psf import PSF, read_psf
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)

_VERSION = stage_version("localize")  # of this process: read when it started

_ONE_AT_A_TIME = threading.Lock()  # a localizer is not made for several threads, which workers of others may have


_THRESHOLDS = {"regression": 0.3, "upsampling": 0.005}  # where none is given, by kind of network
_LEAST_THRESHOLD = 1e-4  # below, every pixel is a molecule


@lru_cache(maxsize=2)
def _localizer(job: Job, device_index: int) -> Localizer:
    return Localizer(job, device_index)


def localize_block(job: Job, version: int, folder: str, start: int, stop: int) -> tuple[int, dict[str, float]]:
    """A task of the cluster: leave the rows of the frames [start, stop) in `folder`, whole or not at all.

    Gives the number of rows and the seconds by kind of work.

    Raises:
        MemoryError: also where PyTorch lacks memory; fewer frames may do.
        PlanelocError: this worker has another version of the stage than the one that asks, or a file cannot be
            read or written.
    """
    if version != _VERSION:
        raise PlanelocError("the Dask workers run another version of planeloc; install the same and start them again")
    with _ONE_AT_A_TIME:
        try:
            localizer = _localizer(job, cluster.worker_index())
            table = pd.DataFrame(localize_frames(localizer, start, stop))
        except RuntimeError as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from None
            raise
        with localizer.stopwatch("writing"):
            checkpoints.write_part(Path(folder), job.fingerprint, start, stop, table)
        return len(table), localizer.stopwatch.take()


def resolve_device(device: str, precision: str) -> tuple[str, str, str]:
    """What ``auto`` means on this machine: device, precision, and the device in words."""
    chosen = choose_device(device)
    return chosen.type, str(choose_precision(precision, chosen)).removeprefix("torch."), describe_device(chosen)


def localize(
    movie: Path, registration: Path, psf: Path, weights: Path, output: Path, settings: LocalizeSettings
) -> dict[str, Any]:
    """Find the molecules in every frame of a movie and write the table.

    Blocks that are finished stay in a folder beside `output` until the table is whole, so an interrupted run goes on
    where it stopped. Returns what was used and what came out: device, precision, rows, frames, frames per second and
    seconds by kind of work, the last two of what was computed in this run.
    """
    opened, measured = Movie.open(movie), read_psf(psf)
    _, record = load_network(weights)
    settings = replace(settings, threshold=_threshold(settings.threshold, record.kind))
    maps = Registration.read(registration)
    _check_agreement(opened, movie, maps, registration, measured, psf, record, weights)
    worst = worst_mistaken_depth(record, measured.seen_through(maps.matrices))
    if worst > record.scene.voxel_depth_nm:
        _LOG.warning(
            f"{weights} was made for another PSF; depths will be wrong by up to {worst:.0f} nm; see `planeloc train`"
        )
    if not settings.scheduler and settings.cluster == "local":
        choose_device(settings.device)  # an absent GPU is said before a cluster is started
    paths = domain_check.Paths(movie, registration, psf, weights, output)
    compared = domain_check.guard(opened, maps, measured, record, paths, settings.on_domain_mismatch)
    with checkpoints.locked_folder(output) as folder:
        with cluster.connect(settings, settings.device, folder) as client:
            device, precision, words = _resolve_on_worker(client, settings)
            paths = (str(path.resolve()) for path in (movie, registration, psf, weights))
            how = (settings.mode, settings.threshold, settings.candidate_threshold, settings.refine, settings.drift_nm)
            job = Job(*paths, *how, device, precision)
            job = replace(job, fingerprint=_fingerprint(job, opened))
            finished, work = _localize_blocks(client, job, opened, folder, settings.block_frames)
        rows = _write_table(
            output, finished, _metadata(opened, maps, measured, record, settings) | {"domain": compared}
        )
        checkpoints.remove(folder)
    summary = {"localizations": rows, "frames": opened.frames, **work}
    _LOG.info(_in_words(summary))
    return {"device": words, "precision": precision, **summary, "domain": compared}


def _threshold(given: float, kind: str) -> float:
    """The one that is given, or what suits the kind of network."""
    if 0 < given < _LEAST_THRESHOLD:
        raise PlanelocError(
            f"setting threshold: {given:g} is below {_LEAST_THRESHOLD:g}, where all noise is found; give more, or 0"
            f" for {_THRESHOLDS[kind]:g}"
        )
    return given or _THRESHOLDS[kind]


def _resolve_on_worker(client: Client, settings: LocalizeSettings) -> tuple[str, str, str]:
    try:
        return client.submit(resolve_device, settings.device, settings.precision).result()
    except ImportError as error:
        raise PlanelocError(
            f"the Dask workers have no planeloc ({error}); install this version where they run"
        ) from None


def _localize_blocks(
    client: Client, job: Job, movie: Movie, folder: Path, block_frames: int
) -> tuple[list[checkpoints.Part], dict[str, Any]]:
    """Compute what has no part yet. Gives all parts in the order of the movie, and how the work went."""
    frames = movie.frames
    folder = folder / job.fingerprint
    folder.mkdir(exist_ok=True)
    finished = checkpoints.finished_parts(folder, job.fingerprint)
    found, done = sum(part.rows for part in finished), sum(len(part.frames) for part in finished)
    seconds: Counter[str] = Counter()
    start = time.monotonic()
    task = partial(localize_block, job, _VERSION, str(folder))
    with progress_bar(frames, "localizing", "frame", done=done, log_every_s=10) as bar:
        missing = checkpoints.missing_blocks(finished, frames, block_frames)
        for block, (rows, spent) in scheduler.run(client, task, missing, min(block_frames, group_frames(movie))):
            finished.append(checkpoints.Part(block, rows, checkpoints.part_path(folder, block.start, block.stop)))
            found += rows
            seconds.update(spent)
            bar.set_postfix(localizations=found, refresh=False)
            bar.update(len(block))
    elapsed = time.monotonic() - start
    work = {
        "computed_frames": frames - done,
        "frames_per_s": round((frames - done) / elapsed, 3),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    return sorted(finished, key=lambda part: part.frames.start), work


def _write_table(output: Path, finished: list[checkpoints.Part], metadata: dict[str, Any]) -> int:
    """Put the parts together, one at a time in memory; gives the number of rows."""
    with localization_table.LocalizationsWriter(output, metadata) as writer:
        for part in finished:
            writer.append(localization_table.read(part.path)[0])
    return sum(part.rows for part in finished)


def _in_words(summary: dict[str, Any]) -> str:
    """What came out and where the time went, in one line."""
    total = sum(summary["seconds"].values())
    spent = ", ".join(f"{name} {value:.1f} s ({value / total:.0%})" for name, value in summary["seconds"].items())
    return (
        f"planeloc: {summary['localizations']:,} localizations in {summary['frames']:,} frames; computed now"
        f" {summary['computed_frames']:,} frames at {summary['frames_per_s']:.3g} frames/s"
        + (f"; time of all workers: {spent}" if total else "")
    )


def _fingerprint(job: Job, movie: Movie) -> str:
    """Names the parts of one computation: the same inputs, settings and version of the stage find them again.

    How the movie is cut into blocks does not count.
    """
    files = ("registration", "psf", "weights")
    content = {
        "version": [_VERSION, torch.__version__],
        "movie": movie.digest,
        "files": [sha256(getattr(job, name)) for name in files],
        "settings": {
            name: value for name, value in asdict(job).items() if name not in ("movie", *files, "fingerprint")
        },
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _check_agreement(
    movie: Movie,
    movie_path: Path,
    registration: Registration,
    registration_path: Path,
    psf: PSF,
    psf_path: Path,
    record: NetworkRecord,
    weights_path: Path,
) -> None:
    """All inputs must speak of the same number of planes."""
    planes = {
        movie_path: movie.planes,
        registration_path: registration.planes,
        psf_path: psf.planes,
        weights_path: record.architecture.planes,
    }
    if len(set(planes.values())) > 1:
        listed = ", ".join(f"{path} has {count}" for path, count in planes.items())
        raise PlanelocError(f"number of planes differs: {listed}; calibrate and train for the movie's microscope")
    field = (movie.height, movie.width)
    if registration.field_px and registration.field_px != field:
        found, has = ("×".join(str(n) for n in reversed(size)) for size in (registration.field_px, field))
        raise PlanelocError(
            f"{registration_path}: found from images of {found} pixels and the movie has {has}; register with beads"
            " recorded on the same part of the sensor"
        )
    if not math.isclose(psf.pixel_size_nm, movie.microscope.pixel_size_nm, rel_tol=1e-3):
        raise PlanelocError(
            f"{psf_path}: pixels of {psf.pixel_size_nm:g} nm and the movie has {movie.microscope.pixel_size_nm:g} nm;"
            " use one microscope file for both"
        )


def _metadata(
    movie: Movie, maps: Registration, psf: PSF, record: NetworkRecord, settings: LocalizeSettings
) -> dict[str, Any]:
    scene = record.scene
    of_field = [maps.field_sd_nm(plane)[0] for plane in range(maps.planes)]
    known = [sd if math.isfinite(sd) else None for sd in of_field]
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
        "drift_nm": settings.drift_nm if settings.drift_nm >= 0 else scene.drift_sd_nm(psf.pixel_size_nm),
        "registration_sd_nm": known,
        "network": list(record.architecture.channels),
    }
