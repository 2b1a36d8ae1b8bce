"""One network on one device, and what it makes of frames.

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and the network always sees tiles of one size in batches of one size. So the localizations are the same
whatever the chunks on disk, the number of workers, the blocks they are given or the order in which they finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.devices import autocast, choose_device, choose_precision
from planeloc.geometry import Registration
from planeloc.light import BACKGROUND_FRAMES, background_photons, fit_photons, read_photons
from planeloc.movie import Movie
from planeloc.networks import load_network
from planeloc.optics import PSF, read_psf
from planeloc.peaks import find_peaks
from planeloc.plane_shares import PlaneShares
from planeloc.sampling import map_grid, reference_grid, sample_planes
from planeloc.stopwatch import Stopwatch

_BATCH = {"cpu": 1, "cuda": 8}
_FRAMES_READ = 20  # at once; a part of BACKGROUND_FRAMES, so that one background serves all of them


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a block; plain values, so that it travels to any process."""

    movie: str
    registration: str
    psf: str
    weights: str
    threshold: float
    tile_px: int
    device: str
    precision: str
    fingerprint: str = ""  # of the contents: a worker that lives on must not take a remade file for the old one


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
        self._stretch: tuple[int, NDArray[np.float32]] | None = None
        self.stopwatch = Stopwatch()
        self.threshold = job.threshold
        self.movie = Movie.open(Path(job.movie))
        self.registration = Registration.read(job.registration)
        self.psf: PSF = read_psf(job.psf)
        network, self.record = load_network(job.weights)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        scene = self.record.scene
        self.shares = PlaneShares.of(
            self.psf.seen_through(self.registration.matrices),
            scene.depth_range_nm,
            float(np.mean(scene.photons)),
            float(np.mean(scene.background)),
        )
        self.tiles = tiles(self.movie.height, self.movie.width, job.tile_px, self.record.architecture.halo_px)

    @cached_property
    def grids(self) -> list[Tensor]:
        """Where the pixels of every tile lie on every camera: (planes, height, width, 2)."""
        grids = (reference_grid(t.x, t.y, t.width, t.height) for t in self.tiles)
        return [map_grid(grid, self.registration).to(self.device, torch.float32) for grid in grids]

    def background(self, frame: int) -> NDArray[np.float32]:
        """Background (planes, y, x) under a frame; the latest is kept, as frames come in order."""
        stretch = frame // BACKGROUND_FRAMES
        if self._stretch is None or self._stretch[0] != stretch:
            self._stretch = stretch, background_photons(self.movie, frame)
        return self._stretch[1]

    @torch.inference_mode()
    def __call__(self, photons: NDArray[np.float32], background: NDArray[np.float32]) -> dict[str, NDArray]:
        """Localize some frames (frames, planes, y, x) above their background (planes, y, x); here the first
        is frame 0.
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
        with self.stopwatch("light"):
            photons, background = self._light(images, level, image, position)
        columns = {
            "frame": image,
            "x": position[:, 0],
            "y": position[:, 1],
            "z": position[:, 2],
            "photons": photons,
            "background": background,
            "probability": probability,
            "x_sd": deviation[:, 0],
            "y_sd": deviation[:, 1],
            "z_sd": deviation[:, 2],
        }
        values = {name: tensor.cpu().numpy() for name, tensor in columns.items()}
        of_maps = self.shares.map_sd_nm(self.registration, np.stack([values[n] for n in "xyz"], axis=-1))
        for axis, name in enumerate(("x_sd", "y_sd")):
            values[name] = np.hypot(values[name], of_maps[:, axis]).astype(values[name].dtype)
        order = np.lexsort((values["z"], values["x"], values["y"], values["frame"]))
        return {name: column[order] for name, column in values.items()}

    def _peaks_of_tile(self, images: Tensor, tile: Tile, grid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Peaks in the core of a tile; positions (x, y, z) and deviations in nm of the reference field."""
        sampled = sample_planes(images, grid).contiguous(memory_format=torch.channels_last)
        with self.stopwatch("network"), autocast(self.device, self.precision):
            logits = self.network(sampled)
        with self.stopwatch("maxima"):
            peaks = find_peaks(logits, self.threshold)
        scene, pixel_nm = self.record.scene, self.psf.pixel_size_nm
        voxel = torch.tensor(scene.voxel_nm(pixel_nm), dtype=torch.float64, device=self.device)
        origin = torch.tensor(
            (tile.x * pixel_nm, tile.y * pixel_nm, scene.depth_range_nm[0]), dtype=torch.float64, device=self.device
        )
        position = peaks.position.flip(1).double() * voxel + origin
        low = torch.tensor((tile.core_x[0], tile.core_y[0]), device=self.device) * pixel_nm
        high = torch.tensor((tile.core_x[1], tile.core_y[1]), device=self.device) * pixel_nm
        mine = ((position[:, :2] >= low) & (position[:, :2] < high)).all(dim=1)
        return peaks.image[mine], position[mine], (peaks.deviation.flip(1) * voxel)[mine], peaks.probability[mine]

    def _light(self, images: Tensor, level: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Photons of molecules, and photons per pixel under them on the plane where they are brightest."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        mapped = torch.stack([torch.as_tensor(m(lateral)) for m in self.registration.maps], dim=1).to(self.device)
        photons, plane, excess = fit_photons(images, self.psf, mapped, position[:, 2], image)
        x, y = mapped[torch.arange(len(plane), device=plane.device), plane].floor().long().unbind(-1)
        rows, columns = level.shape[1:]
        return photons, excess + level[plane, y.clamp(0, rows - 1), x.clamp(0, columns - 1)]


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


def localize_frames(localizer: Localizer, start: int, stop: int) -> dict[str, NDArray]:
    """Localizations of the frames [start, stop), column by column."""
    parts = []
    while start < stop:
        end = min(stop, start - start % _FRAMES_READ + _FRAMES_READ)
        with localizer.stopwatch("reading"):
            photons, background = read_photons(localizer.movie, start, end), localizer.background(start)
        columns = localizer(photons, background)
        parts.append({**columns, "frame": columns["frame"] + start})
        start = end
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
