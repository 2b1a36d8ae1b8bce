"""Frames → localizations.

`localize_chunk` is a pure function of one chunk of the movie: everything that depends on neighbouring frames (the
background) stays inside the chunk, and the network always sees tiles of one size in batches of one size. So the table
is the same whatever the number of workers, the blocks they are given or the order in which they finish.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from planeloc import cluster, localizations
from planeloc.agreement import worst_mistaken_depth
from planeloc.devices import DEVICES, PRECISIONS, autocast, choose_device, choose_precision, describe_device
from planeloc.errors import PlanelocError
from planeloc.files import sha256
from planeloc.geometry import Registration
from planeloc.light import background_photons, fit_photons, read_photons
from planeloc.movie import Movie
from planeloc.networks import NetworkRecord, load_network
from planeloc.optics import GaussianPSF, read_psf
from planeloc.peaks import find_peaks
from planeloc.sampling import map_grid, reference_grid, sample_planes
from planeloc.settings import setting

_BATCH = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class LocalizeSettings:
    """How to find molecules, and on what."""

    threshold: float = setting(
        0.005, "Probability of a voxel from which its surroundings are looked at.", minimum=1e-4, maximum=0.999
    )
    tile_px: int = setting(128, "Side of the squares that large fields are cut into, px.", minimum=16)
    block_chunks: int = setting(1, "Chunks of the movie in one task.", minimum=1)
    workers: int = setting(0, "Processes on this machine; 0: one per GPU, or per CPU core.", minimum=0)
    scheduler: str = setting("", "Address or scheduler file of a running Dask cluster; empty: start one here.")
    device: str = setting("auto", "Where the network runs.", choices=DEVICES)
    precision: str = setting("auto", "auto: bfloat16 where the hardware has it.", choices=PRECISIONS)


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a chunk; plain values, so that it travels to any process."""

    movie: str
    registration: str
    psf: str
    weights: str
    threshold: float
    tile_px: int
    device: str
    precision: str


class Localizer:
    """A network on its device with everything that is computed once per movie. Built once per worker process."""

    def __init__(self, job: Job, device_index: int = 0) -> None:
        device = choose_device(job.device)
        self.device = (
            torch.device("cuda", device_index % torch.cuda.device_count()) if device.type == "cuda" else device
        )
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self.precision = choose_precision(job.precision, self.device)
        self.threshold = job.threshold
        self.movie = Movie.open(Path(job.movie))
        self.registration = Registration.read(job.registration)
        self.psf: GaussianPSF = read_psf(job.psf)
        network, self.record = load_network(job.weights)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.tiles = tiles(self.movie.height, self.movie.width, job.tile_px, self.record.architecture.halo_px)

    @cached_property
    def grids(self) -> list[Tensor]:
        """Where the pixels of every tile lie on every camera: (planes, height, width, 2)."""
        grids = (reference_grid(t.x, t.y, t.width, t.height) for t in self.tiles)
        return [map_grid(grid, self.registration).to(self.device, torch.float32) for grid in grids]

    @torch.inference_mode()
    def __call__(self, photons: NDArray[np.float32], background: NDArray[np.float32]) -> dict[str, NDArray]:
        """Localize a stretch of frames (frames, planes, y, x) above a background (planes, y, x); frames
        count from 0 here.
        """
        batch = _BATCH[self.device.type]
        level = torch.from_numpy(background).to(self.device)
        found = []
        for start in range(0, len(photons), batch):
            images = torch.from_numpy(photons[start : start + batch]).to(self.device) - level
            frames = len(images)
            if frames < batch:  # always one batch size: another might round differently
                images = torch.cat((images, images.new_zeros(batch - frames, *images.shape[1:])))
            columns = self._localize_batch(images, level)
            keep = columns["frame"] < frames
            found.append({name: values[keep] for name, values in columns.items()})
            found[-1]["frame"] += start
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _localize_batch(self, images: Tensor, level: Tensor) -> dict[str, NDArray]:
        parts = [self._peaks_of_tile(images, tile, grid) for tile, grid in zip(self.tiles, self.grids, strict=True)]
        image, position, deviation, probability = (torch.cat(column) for column in zip(*parts, strict=True))
        photons, excess, brightest = self._light(images, image, position)
        columns = {
            "frame": image,
            "x": position[:, 0],
            "y": position[:, 1],
            "z": position[:, 2],
            "photons": photons,
            "background": excess + level.mean(dim=(1, 2))[brightest],
            "probability": probability,
            "x_sd": deviation[:, 0],
            "y_sd": deviation[:, 1],
            "z_sd": deviation[:, 2],
        }
        values = {name: tensor.cpu().numpy() for name, tensor in columns.items()}
        order = np.lexsort((values["z"], values["x"], values["y"], values["frame"]))
        return {name: column[order] for name, column in values.items()}

    def _peaks_of_tile(self, images: Tensor, tile: Tile, grid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Peaks in the core of a tile; positions (x, y, z) and deviations in nm of the reference field."""
        sampled = sample_planes(images, grid).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            logits = self.network(sampled)
        peaks = find_peaks(logits, self.threshold)
        scene, pixel_nm = self.record.scene, self.psf.pixel_size_nm
        voxel = torch.tensor(self.voxel_nm, dtype=torch.float64, device=self.device)
        origin = torch.tensor(
            (tile.x * pixel_nm, tile.y * pixel_nm, scene.depth_range_nm[0]), dtype=torch.float64, device=self.device
        )
        position = peaks.position.flip(1).double() * voxel + origin
        low = torch.tensor((tile.core_x[0], tile.core_y[0]), device=self.device) * pixel_nm
        high = torch.tensor((tile.core_x[1], tile.core_y[1]), device=self.device) * pixel_nm
        mine = ((position[:, :2] >= low) & (position[:, :2] < high)).all(dim=1)
        return peaks.image[mine], position[mine], (peaks.deviation.flip(1) * voxel)[mine], peaks.probability[mine]

    def _light(self, images: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Photons, light above the background estimate on the brightest plane, and which plane that is."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        mapped = torch.stack([torch.as_tensor(m(lateral)) for m in self.registration.maps], dim=1).to(self.device)
        photons, excess = fit_photons(images, self.psf, mapped, position[:, 2], image)
        depths = torch.tensor(self.psf.plane_depths_nm, device=self.device)
        nearest = (depths - position[:, 2, None]).abs().argmin(dim=1)
        return photons, excess, nearest

    @property
    def voxel_nm(self) -> tuple[float, float, float]:
        """Voxels of the output on the microscope at hand, whose pixels may differ a little from the network's."""
        lateral = self.psf.pixel_size_nm / self.record.scene.upsampling
        return lateral, lateral, self.record.scene.voxel_depth_nm


@dataclass(frozen=True)
class Tile:
    """A window of the reference field that the network sees, and the core of it whose molecules count. All in
    pixels.
    """

    x: int
    y: int
    width: int
    height: int
    core_x: tuple[int, int]
    core_y: tuple[int, int]


def tiles(height: int, width: int, core_px: int, halo_px: int) -> list[Tile]:
    """Cover a field with windows of one size whose cores share no pixel and miss none."""
    rows, columns = _spans(height, core_px, halo_px), _spans(width, core_px, halo_px)
    return [Tile(x, y, x1 - x, y1 - y, core_x, core_y) for (y, y1, core_y) in rows for (x, x1, core_x) in columns]


def _spans(length: int, core: int, halo: int) -> list[tuple[int, int, tuple[int, int]]]:
    """(start, stop, core) along one axis; windows are moved inwards at the ends, so that all have the same length."""
    if length <= core + 2 * halo:
        return [(0, length, (0, length))]
    window = core + 2 * halo
    spans = []
    for low in range(0, length, core):
        start = min(max(low - halo, 0), length - window)
        spans.append((start, start + window, (low, min(low + core, length))))
    return spans


@lru_cache(maxsize=2)
def _localizer(job: Job, device_index: int) -> Localizer:
    return Localizer(job, device_index)


def localize_chunk(localizer: Localizer, start: int) -> dict[str, NDArray]:
    """Localizations of the chunk that begins with frame `start`, with the movie's frame numbers."""
    movie = localizer.movie
    stop = min(start + movie.chunk_frames, movie.frames)
    photons = read_photons(movie, start, stop)
    # A short last chunk has too few frames for a median over time: look back as far as a whole chunk
    earlier = max(0, stop - movie.chunk_frames)
    context = photons if earlier >= start else read_photons(movie, earlier, stop)
    columns = localizer(photons, background_photons(context))
    columns["frame"] = columns["frame"] + start
    return columns


def localize_block(job: Job, starts: tuple[int, ...], path: str, device_index: int | None = None) -> dict[str, Any]:
    """A task of the cluster: localize some chunks and leave the rows in `path`, whole or not at all."""
    localizer = _localizer(job, cluster.worker_index() if device_index is None else device_index)
    parts = [localize_chunk(localizer, start) for start in starts]
    table = pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    localizations.write(path, table, {})
    return {"rows": len(table), "device": describe_device(localizer.device), "precision": str(localizer.precision)}


def localize(
    movie: Path, registration: Path, psf: Path, weights: Path, output: Path, settings: LocalizeSettings
) -> dict[str, Any]:
    """Find the molecules in every frame of a movie and write the table.

    Blocks that are finished stay in a folder beside `output` until the table is whole, so an interrupted run goes on
    where it stopped. Returns what was used: device, precision, rows.
    """
    job = Job(*(str(p) for p in (movie, registration, psf, weights)), *_job_settings(settings))
    opened = Movie.open(movie)
    _, record = load_network(weights)
    _check_agreement(opened, movie, Registration.read(registration), registration, read_psf(psf), psf, record, weights)
    choose_device(settings.device)
    if (worst := worst_mistaken_depth(record, read_psf(psf))) > record.scene.voxel_depth_nm:
        print(
            f"planeloc: warning: {weights} was made for another PSF; depths will be wrong by up to {worst:.0f} nm; see"
            " `planeloc train`",
            file=sys.stderr,
        )
    step = opened.chunk_frames * settings.block_chunks
    blocks = {
        start: tuple(range(start, min(start + step, opened.frames), opened.chunk_frames))
        for start in range(0, opened.frames, step)
    }
    parts = output.with_name(f".{output.name}.parts-{_fingerprint(job, opened, settings.block_chunks)}")
    parts.mkdir(parents=True, exist_ok=True)
    paths = {start: parts / f"{start:09d}.h5" for start in blocks}
    used = _run_blocks(job, blocks, paths, opened, settings)
    metadata = _metadata(opened, read_psf(psf), record, settings.threshold)
    rows = 0
    with localizations.LocalizationsWriter(output, metadata) as writer:
        for start in sorted(paths):
            table, _ = localizations.read(paths[start])
            rows += len(table)
            writer.append(table)
    for path in paths.values():
        path.unlink()
    parts.rmdir()
    return {**used, "localizations": rows, "frames": opened.frames}


def _run_blocks(
    job: Job, blocks: dict[int, tuple[int, ...]], paths: dict[int, Path], movie: Movie, settings: LocalizeSettings
) -> dict[str, Any]:
    """Compute the blocks that are not there yet; what was used is remembered across interruptions in ``used.json``."""
    missing = [start for start in blocks if not paths[start].is_file()]
    used: dict[str, Any] = {"device": describe_device(choose_device(job.device)), "precision": ""}
    frames = {start: sum(min(movie.chunk_frames, movie.frames - s) for s in blocks[start]) for start in blocks}
    total = 0
    quiet = not sys.stderr.isatty()
    with tqdm(
        total=movie.frames,
        initial=movie.frames - sum(frames[s] for s in missing),
        desc="localizing",
        unit="frame",
        mininterval=10 if quiet else 0.5,
        file=sys.stderr,
    ) as bar:
        tasks = ((start, (job, blocks[start], str(paths[start]))) for start in missing)
        for start, result in cluster.run(localize_block, tasks, settings.scheduler, settings.workers, job.device):
            used = {"device": result["device"], "precision": result["precision"]}
            total += result["rows"]
            bar.update(frames[start])
            bar.set_postfix(localizations=total)
    return used


def _job_settings(settings: LocalizeSettings) -> tuple[float, int, str, str]:
    return settings.threshold, settings.tile_px, settings.device, settings.precision


def _fingerprint(job: Job, movie: Movie, block_chunks: int) -> str:
    """Names the parts of one computation: the same inputs and settings find them again, others do not."""
    content = {
        "movie": movie.digest,
        "files": [sha256(path) for path in (job.registration, job.psf, job.weights)],
        "settings": [job.threshold, job.tile_px, job.device, job.precision, block_chunks],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _check_agreement(
    movie: Movie,
    movie_path: Path,
    registration: Registration,
    registration_path: Path,
    psf: GaussianPSF,
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


def _metadata(movie: Movie, psf: GaussianPSF, record: NetworkRecord, threshold: float) -> dict[str, Any]:
    scene = record.scene
    lateral = psf.pixel_size_nm / scene.upsampling
    return {
        "frames": movie.frames,
        "height_px": movie.height,
        "width_px": movie.width,
        "pixel_size_nm": psf.pixel_size_nm,
        "plane_depths_nm": list(psf.plane_depths_nm),
        "voxel_nm": [lateral, lateral, scene.voxel_depth_nm],
        "depth_range_nm": list(scene.depth_range_nm),
        "threshold": threshold,
        "network": asdict(record.architecture)["channels"],
    }
