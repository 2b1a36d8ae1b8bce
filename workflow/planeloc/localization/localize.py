"""The `localize` stage: movie → localization table, in blocks of frames that workers compute in any order.

The localizations of a frame do not depend on how the movie is cut (`planeloc.localization.localize_frames`). The table
is therefore the same whatever the blocks, the number of workers and the order in which they finish.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from planeloc.core.devices import choose_device, choose_precision, describe_device
from planeloc.core.errors import PlanelocError
from planeloc.core.files import sha256
from planeloc.core.marks import refuse_foreign, table
from planeloc.core.memory import out_of_memory
from planeloc.core.progress import progress_bar
from planeloc.core.settings import check
from planeloc.core.stage_versions import stage_version
from planeloc.fitting import compiled_fit, compiled_library
from planeloc.io.camera_drift import unknown
from planeloc.localization import checkpoints, movie_check, scheduler, this_process
from planeloc.localization.camera_drift import drift_of_movie, in_words
from planeloc.localization.camera_drift_files import DriftFiles
from planeloc.localization.checkpoints import Checkpoint
from planeloc.localization.context import InputPaths, Inputs
from planeloc.localization.localize_frames import Job, Localizer, compute_frames, group_frames
from planeloc.localization.results import summary_line, table_metadata, write_table
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.background import BACKGROUND_FRAMES
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.psf import PSF

_Result = TypeVar("_Result")

_LOG = logging.getLogger(__name__)

_VERSION = stage_version("localize")  # of this process: read when it started

_GROUPS_IN_A_BLOCK = 4  # of a GPU: tables are made while it computes the next group of the block

_ONE_AT_A_TIME = threading.Lock()  # a localizer is not thread-safe, and workers of foreign clusters may have threads

# Settings on which the localizations depend.
_DECISIVE = ("mode", "threshold", "candidate_threshold", "refine", "inter_camera_drift_nm", "device", "precision")


def localize(
    movie: Path,
    registration: Path,
    psf: Path,
    weights: Path,
    output: Path,
    settings: LocalizeSettings,
    advise: movie_check.Advise | None = None,
    synchronization: Path | None = None,
    drift_files: DriftFiles | None = None,
) -> dict[str, Any]:
    """Localize the molecules in every frame of a movie and write the table.

    Finished blocks stay in a folder beside `output` until the table is complete; an interrupted run resumes from them.

    Parameters
    ----------
    movie, registration, psf, weights : files to read.
    output : table to write.
    advise : writes how to train for a movie that the network was not trained for; see `movie_check`.
    synchronization : file of the `synchronize` stage; moments without an image of every camera are left out.
    drift_files : to write, of the cameras' drift through the movie.

    Returns
    -------
    Record of the run: device, precision, code of the refinement, localizations, frames; of what was computed in this
    run: frames, frames per second and seconds by kind of work.

    Raises
    ------
    PlanelocError : files that cannot be used together, a file or a device that fails, or a cluster that is lost.
    """
    check(settings)
    refuse_foreign(output, table("localize"))
    inputs = Inputs.read(InputPaths(movie, registration, psf, weights, synchronization))
    inputs.check()
    threshold = settings.threshold or network_kind(inputs.record.kind).detection_threshold
    settings = replace(settings, threshold=threshold)
    if not settings.scheduler and settings.cluster == "local":
        choose_device(settings.device)  # report a missing GPU before a cluster is started
    checked = movie_check.guard(inputs, settings, advise)
    with checkpoints.locked_folder(output) as folder:
        with _connect(settings, folder) as client:
            device, precision, description = _on_worker(client, resolve_device, settings.device, settings.precision)
            refinement = _on_worker(client, refinement_code, settings.refine, device, inputs.psf)
            job = _job(inputs, replace(settings, device=device, precision=precision))
            finished, work = _localize_blocks(client, job, inputs.movie, folder, settings.block_frames)
        drift = drift_of_movie(finished, inputs.movie.frames) if settings.inter_camera_drift_nm < 0 else None
        known = drift and drift.record()
        rows = write_table(output, finished, table_metadata(inputs, settings, checked, known), drift)
        if drift_files:
            listed = drift.listed() if drift else unknown(inputs.movie.frames, inputs.psf.planes)
            drift_files.write(listed, inputs)
        checkpoints.remove(folder)
    of_movie = {"frames": inputs.movie.frames, "frames_left_out": inputs.movie.camera_frames.frames_left_out}
    summary = {"localizations": rows, **of_movie, **work}
    _LOG.info(summary_line(summary))
    if known:
        _LOG.info(in_words(known, [camera.name for camera in inputs.movie.microscope.cameras]))
    decided = {"device": description, "precision": precision, "refinement": refinement}
    return {**decided, **summary, "distribution_check": checked, "camera_drift": known}


def _connect(settings: LocalizeSettings, folder: Path) -> AbstractContextManager[scheduler.Executor]:
    """Where blocks run: in this process, or on workers of a cluster."""
    if this_process.suffices(settings, settings.device):
        return this_process.connect()
    from planeloc.localization import dask_cluster  # half a second, and workers import this module

    return dask_cluster.connect(settings, settings.device, folder)


def resolve_device(device: str, precision: str) -> tuple[str, str, str]:
    """Resolve ``auto`` on this machine: device, precision, and a description of the device."""
    chosen = choose_device(device)
    return chosen.type, str(choose_precision(precision, chosen)).removeprefix("torch."), describe_device(chosen)


def refinement_code(refine: str, device: str, psf: PSF) -> str:
    """What fits the molecules on this machine: ``compiled (avx2)``, say, ``PyTorch``, or ``none``."""
    if refine != "likelihood":
        return "none"
    compiled = compiled_fit.is_available(psf, torch.device(device))
    return f"compiled ({compiled_library.instructions()})" if compiled else "PyTorch"


def localize_block(job: Job, version: int, folder: str, start: int, stop: int) -> tuple[int, dict[str, float]]:
    """Write a checkpoint of the frames [start, stop) to `folder`; a task of the cluster.

    Returns
    -------
    Number of rows, and seconds by kind of work.

    Raises
    ------
    MemoryError : memory did not suffice, also on the device; fewer frames may fit.
    PlanelocError : this worker has another version of the stage, or a file cannot be read or written.
    """
    if version != _VERSION:
        raise PlanelocError("the Dask workers run another version of planeloc; install the same and start them again")
    with _ONE_AT_A_TIME:
        try:
            localizer = _localizer(job, _device_index())
            block = compute_frames(localizer, start, stop)
        except RuntimeError as error:
            if out_of_memory(error):
                raise MemoryError(str(error)) from None
            raise
        with localizer.stopwatch("writing"):
            columns, arrays = block.parts()
            checkpoints.write(Path(folder), job.fingerprint, start, stop, columns, arrays)
        return len(columns["frame"]), localizer.stopwatch.take()


def _device_index() -> int:
    """Index of this process's GPU."""
    if "distributed" not in sys.modules:
        return 0  # no worker of a cluster
    from planeloc.localization import dask_cluster

    return dask_cluster.worker_index()


@lru_cache(maxsize=2)
def _localizer(job: Job, device_index: int) -> Localizer:
    return Localizer(job, device_index)


def _on_worker(client: scheduler.Executor, task: Callable[..., _Result], *arguments: object) -> _Result:
    """What a worker says of itself."""
    try:
        return client.submit(task, *arguments).result()
    except ImportError as error:
        raise PlanelocError(
            f"the Dask workers have no planeloc ({error}); install this version where they run"
        ) from None


def _job(inputs: Inputs, settings: LocalizeSettings) -> Job:
    """The job of all blocks; its fingerprint identifies inputs, settings and version, but not the blocks."""
    paths = InputPaths(*(path and path.resolve() for path in inputs.paths))
    content = {
        "version": [_VERSION, torch.__version__],
        "movie": inputs.movie.digest + inputs.movie.camera_frames.identity,
        "files": [sha256(path) for path in (paths.registration, paths.psf, paths.weights)],
        "settings": {name: getattr(settings, name) for name in _DECISIVE},
    }
    return Job(paths, settings, hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16])


def _localize_blocks(
    client: scheduler.Executor, job: Job, movie: Movie, folder: Path, block_frames: int
) -> tuple[list[Checkpoint], dict[str, Any]]:
    """Compute the frames without a checkpoint; returns all checkpoints in order, and the statistics of the work."""
    frames = movie.frames
    folder = folder / job.fingerprint
    folder.mkdir(exist_ok=True)
    finished = checkpoints.finished(folder, job.fingerprint)
    found, done = sum(checkpoint.rows for checkpoint in finished), sum(len(each.frames) for each in finished)
    seconds: Counter[str] = Counter()
    start = time.monotonic()
    task = partial(localize_block, job, _VERSION, str(folder))
    group = group_frames(movie, torch.device(job.settings.device))
    if group > BACKGROUND_FRAMES:  # of a GPU, which would compute a group for every block that has some of its frames
        block_frames = max(-(-block_frames // group), _GROUPS_IN_A_BLOCK) * group
    with progress_bar(frames, "localizing", "frame", done=done, log_every_s=10) as bar:
        missing = checkpoints.missing_blocks(finished, frames, block_frames)
        for block, (rows, spent) in scheduler.run(client, task, missing, min(block_frames, group)):
            finished.append(Checkpoint(block, rows, checkpoints.path_of(folder, block.start, block.stop)))
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
    return sorted(finished, key=lambda checkpoint: checkpoint.frames.start), work
