"""`localize`: movie → table of localizations, in blocks of frames that workers compute in any order.

What a block holds does not depend on how the movie is cut (`planeloc.localizer`), so the table is the same whatever the
blocks, the number of workers and the order in which they finish.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import Client

from planeloc import cluster, localizations
from planeloc.agreement import worst_mistaken_depth
from planeloc.devices import DEVICES, PRECISIONS, choose_device, choose_precision, describe_device
from planeloc.errors import PlanelocError
from planeloc.files import sha256
from planeloc.geometry import Registration
from planeloc.localizer import MODES, Job, Localizer, localize_frames
from planeloc.movie import Movie
from planeloc.networks import NetworkRecord, load_network
from planeloc.optics import PSF, read_psf
from planeloc.progress import progress_bar
from planeloc.settings import setting

_BATCH = {"cpu": 1, "cuda": 8}
_FRAMES_READ = 20  # at once; a part of BACKGROUND_FRAMES, so that one background serves all of them


@dataclass(frozen=True)
class LocalizeSettings:
    """How to find molecules, and on what."""

    threshold: float = setting(
        0.005, "Probability of a voxel from which its surroundings are looked at.", minimum=1e-4, maximum=0.999
    )
    mode: str = setting(
        "sparse", "sparse: the network looks only where a filter sees light; dense: everywhere.", choices=MODES
    )
    candidate_threshold: float = setting(
        4.0, "sparse: light of a candidate over the noise, in standard deviations.", minimum=0
    )
    block_frames: int = setting(100, "Frames in one task.", minimum=1)
    workers: int = setting(0, "Processes on this machine; 0: one per GPU, or per CPU core.", minimum=0)
    scheduler: str = setting("", "Address or scheduler file of a running Dask cluster; empty: start one here.")
    device: str = setting("auto", "Where the network runs.", choices=DEVICES)
    precision: str = setting("auto", "auto: bfloat16 where the hardware has it.", choices=PRECISIONS)


@lru_cache(maxsize=2)
def _localizer(job: Job, device_index: int) -> Localizer:
    return Localizer(job, device_index)


def localize_block(job: Job, start: int, stop: int, path: str) -> int:
    """A task of the cluster: leave the rows of the frames [start, stop) in `path`, whole or not at all; give
    their number.
    """
    table = pd.DataFrame(localize_frames(_localizer(job, cluster.worker_index()), start, stop))
    localizations.write(path, table, {})
    return len(table)


def resolve_device(device: str, precision: str) -> tuple[str, str, str]:
    """What ``auto`` means on this machine: device, precision, and the device in words."""
    chosen = choose_device(device)
    return chosen.type, str(choose_precision(precision, chosen)).removeprefix("torch."), describe_device(chosen)


def localize(
    movie: Path, registration: Path, psf: Path, weights: Path, output: Path, settings: LocalizeSettings
) -> dict[str, Any]:
    """Find the molecules in every frame of a movie and write the table.

    Blocks that are finished stay in a folder beside `output` until the table is whole, so an interrupted run goes on
    where it stopped. Returns what was used: device, precision, rows.
    """
    opened, measured = Movie.open(movie), read_psf(psf)
    _, record = load_network(weights)
    maps = Registration.read(registration)
    _check_agreement(opened, movie, maps, registration, measured, psf, record, weights)
    worst = worst_mistaken_depth(record, measured.seen_through(maps.matrices))
    if worst > record.scene.voxel_depth_nm:
        print(
            f"planeloc: warning: {weights} was made for another PSF; depths will be wrong by up to {worst:.0f} nm; see"
            " `planeloc train`",
            file=sys.stderr,
        )
    if not settings.scheduler:
        choose_device(settings.device)  # an absent GPU is said before a cluster is started
    with cluster.connect(settings.scheduler, settings.workers, settings.device) as client:
        device, precision, words = client.submit(resolve_device, settings.device, settings.precision).result()
        paths = (str(path.resolve()) for path in (movie, registration, psf, weights))
        job = Job(*paths, settings.mode, settings.threshold, settings.candidate_threshold, device, precision)
        job = replace(job, fingerprint=_fingerprint(job, opened, settings.block_frames))
        parts = _localize_blocks(client, job, opened, output, settings.block_frames)
    rows = 0
    with localizations.LocalizationsWriter(output, _metadata(opened, maps, measured, record, settings)) as writer:
        for path in parts:
            table, _ = localizations.read(path)
            rows += len(table)
            writer.append(table)
    for folder in output.parent.glob(f".{output.name}.parts-*"):
        shutil.rmtree(folder)
    return {"device": words, "precision": precision, "localizations": rows, "frames": opened.frames}


def _localize_blocks(client: Client, job: Job, movie: Movie, output: Path, block_frames: int) -> list[Path]:
    """Compute the blocks whose parts are not there yet; gives the parts in the order of the movie."""
    folder = output.resolve().with_name(f".{output.name}.parts-{job.fingerprint}")
    folder.mkdir(parents=True, exist_ok=True)
    parts = {start: folder / f"{start:09d}.h5" for start in range(0, movie.frames, block_frames)}
    stops = {start: min(start + block_frames, movie.frames) for start in parts}
    missing = [start for start in parts if not parts[start].is_file()]
    found = 0
    done = movie.frames - sum(stops[start] - start for start in missing)
    with progress_bar(movie.frames, "localizing", "frame", done=done, log_every_s=10) as bar:
        tasks = ((start, (job, start, stops[start], str(parts[start]))) for start in missing)
        for start, rows in cluster.run(client, localize_block, tasks):
            found += rows
            bar.set_postfix(localizations=found, refresh=False)
            bar.update(stops[start] - start)
    return list(parts.values())


def _fingerprint(job: Job, movie: Movie, block_frames: int) -> str:
    """Names the parts of one computation: the same inputs, settings and code find them again, others do not."""
    content = {
        "code": [sha256(path) for path in sorted(Path(__file__).parent.rglob("*.py"))],
        "movie": movie.digest,
        "files": [sha256(path) for path in (job.registration, job.psf, job.weights)],
        "settings": [job.mode, job.threshold, job.candidate_threshold, job.device, job.precision, block_frames],
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
        "registration_sd_nm": known,
        "network": list(record.architecture.channels),
    }
