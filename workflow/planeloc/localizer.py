"""One network on one device, and what it makes of frames.

A frame is registered; a cheap filter says where molecules may be; the network computes the pages of voxels there (all
pages in mode ``dense``); maxima of the probability become localizations; least squares gives their light.

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and frames are computed in fixed groups. So the localizations are the same whatever the chunks on disk, the
number of workers, the blocks they are given or the order in which they finish.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from planeloc import localizations
from planeloc.candidates import CandidateSearch, candidate_pixels
from planeloc.devices import choose_device, choose_precision
from planeloc.errors import PlanelocError
from planeloc.geometry import Registration
from planeloc.light import BACKGROUND_FRAMES, background_photons, fit_photons
from planeloc.movie import Movie
from planeloc.networks import load_network
from planeloc.networks.regions import RegionNetwork
from planeloc.optics import PSF, read_psf
from planeloc.pages import PagedVolume, PageGrid
from planeloc.peaks import NOWHERE, REACH_ROWS, find_peaks
from planeloc.plane_shares import PlaneShares
from planeloc.sampling import Resampler
from planeloc.stopwatch import Stopwatch

MODES = ("sparse", "dense")
_PAGE_PX = {"sparse": 4, "dense": 8}
_REACH_PX = 1  # around a candidate, beside what the pages have anyway
_BATCH_PX = {"cpu": 512, "cuda": 1 << 16}  # camera pixels that the network computes at once
_PIXELS_AT_ONCE = {
    "cpu": 1 << 12,
    "cuda": 1 << 18,
}  # camera pixels of the pages that are kept at once, unless a single frame has more
_PIXELS_AT_MOST = 1 << 17  # of one frame: 0.5 GB of voxels in bfloat16, and as much again to search them
_LEAST_BACKGROUND = 0.1  # photons; a pixel of which none are known still has noise
_FRAMES_SEARCHED = {"cpu": 1, "cuda": 20}  # for candidates at once: what a CPU's cache holds
_FRAMES_READ = (20, 10, 5, 2, 1)  # a group; parts of BACKGROUND_FRAMES, so that one background serves all of them
_BYTES_READ = 32 << 20


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a block; plain values, so that it travels to any process."""

    movie: str
    registration: str
    psf: str
    weights: str
    mode: str
    threshold: float
    candidate_threshold: float
    device: str
    precision: str
    fingerprint: str = ""  # of the contents: a worker that lives on must not take a remade file for the old one


class Localizer:
    """A network on its device with everything that is computed once per movie. Built once per worker process.

    Attributes:
        stopwatch: where the time goes.
        regions: how many regions the network has computed.
        batch: how many it computes at once.
    """

    def __init__(self, job: Job, device_index: int = 0) -> None:
        self.job = job
        self.device = _device(job.device, device_index)
        self.stopwatch = Stopwatch()
        self.movie = Movie.open(Path(job.movie))
        self.registration = Registration.read(job.registration)
        self.psf: PSF = read_psf(job.psf)
        network, self.record = load_network(job.weights)
        scene, seen = self.record.scene, self.psf.seen_through(self.registration.matrices)
        field = (self.movie.height, self.movie.width)
        self.grid = PageGrid(_PAGE_PX[job.mode], field)
        precision = choose_precision(job.precision, self.device)
        self.network = RegionNetwork(network, self.grid.side_px, field, self.device, precision)
        self.regions = 0
        self.batch = _BATCH_PX[self.device.type] // self.grid.side_px**2
        self.resampler = Resampler(self.registration, *field, self.device)
        self.search = CandidateSearch(
            seen, scene.depth_range_nm, scene.drift_sd_nm(self.psf.pixel_size_nm), self.device
        )
        light = float(np.mean(scene.photons)), float(np.mean(scene.background))
        self.shares = PlaneShares.of(seen, scene.depth_range_nm, *light)
        self.group = group_frames(self.movie)
        self._stretch: tuple[int, NDArray[np.float32]] | None = None

    def background(self, frame: int) -> NDArray[np.float32]:
        """Background (planes, y, x) under a frame; the latest is kept, as frames come in order."""
        stretch = frame // BACKGROUND_FRAMES
        if self._stretch is None or self._stretch[0] != stretch:
            self._stretch = stretch, background_photons(self.movie, frame)
        return self._stretch[1]

    def read(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Counts (frames, planes, y, x) of some frames, and the background (planes, y, x) under the first, photons;
        in memory from which a GPU can fetch them while it computes.
        """
        counts, level = torch.from_numpy(self.movie.read(first, last)), torch.from_numpy(self.background(first))
        return (counts.pin_memory(), level.pin_memory()) if self.device.type == "cuda" else (counts, level)

    @torch.inference_mode()
    def __call__(self, counts: Tensor, level: Tensor) -> dict[str, NDArray]:
        """Localize frames as `read` gives them; here the first is frame 0."""
        with self.stopwatch("candidates"):
            level = level.to(self.device, non_blocking=True)
            images = self._photons(counts.to(self.device, non_blocking=True)) - level
            registered = self.resampler(images)
            marks = self._marks(registered, level).cpu()
            windows = self._windows(registered)
        parts = []
        for frames, rows in self._portions(marks):
            if marks[frames, rows].any():
                columns = self._localize_portion(windows[frames], marks[frames], rows, images[frames], level)
                columns["frame"] += frames.start
                parts.append(columns)
        return _in_order(_joined(parts))

    def _photons(self, counts: Tensor) -> Tensor:
        """Counts in photons, each plane by its own camera."""
        cameras = self.movie.microscope.cameras
        offset, factor = (
            torch.tensor(values, dtype=torch.float32, device=self.device)[:, None, None]
            for values in ([c.offset_counts for c in cameras], [c.photons_per_count for c in cameras])
        )
        return (counts.to(torch.float32) - offset) * factor

    def _marks(self, registered: Tensor, level: Tensor) -> Tensor:
        """Pages (frames, rows, columns) that the network has to look at."""
        if self.job.mode == "dense":
            return self.grid.everywhere(len(registered))
        variance = self.variance(level)
        noise = self.search.noise(variance)
        found = []
        step = _FRAMES_SEARCHED[self.device.type]
        for number, frames in enumerate(registered.split(step)):
            points = candidate_pixels(self.search.test_values(frames, variance, noise), self.job.candidate_threshold)
            points[:, 0] += number * step
            found.append(points)
        return self.grid.around(torch.cat(found), _REACH_PX, len(registered))

    def variance(self, level: Tensor) -> Tensor:
        """Of the background (planes, y, x), on the reference's pixels; 0 where a plane's sensor does not reach."""
        cameras = self.movie.microscope.cameras
        slope = level.new_tensor([camera.excess_noise / camera.quantum_efficiency for camera in cameras])
        floor = level.new_tensor([camera.read_noise_photons() ** 2 for camera in cameras])
        variance = level.clamp(min=_LEAST_BACKGROUND) * slope[:, None, None] + floor[:, None, None]
        variance, covered = self.resampler(torch.stack((variance, torch.ones_like(variance))))
        return torch.where(covered > 0.5, variance / covered, 0.0)

    def _windows(self, registered: Tensor) -> Tensor:
        """What the network sees of every page: (frames, rows, columns, planes, window, window), without copying."""
        side, margin = self.grid.side_px, self.network.margin_px
        beyond = [n * side - size for n, size in zip(self.grid.shape, self.grid.field_px, strict=True)]
        padded = nn.functional.pad(registered, (margin, margin + beyond[1], margin, margin + beyond[0]))
        window = side + 2 * margin
        return padded.unfold(2, window, side).unfold(3, window, side).permute(0, 2, 3, 1, 4, 5)

    def _portions(self, marks: Tensor) -> Iterator[tuple[slice, slice]]:
        """Frames, and rows of pages, whose pages fit into memory together: some frames, or a band of a large one."""
        most = _PIXELS_AT_ONCE[self.device.type] // self.grid.side_px**2
        too_many = _PIXELS_AT_MOST // self.grid.side_px**2
        start = total = 0
        for number, count in enumerate(marks.sum(dim=(1, 2)).tolist()):
            if total and total + count > most:
                yield slice(start, number), slice(0, self.grid.shape[0])
                start, total = number, 0
            if count > too_many:
                step = max(1, too_many // self.grid.shape[1])
                for first in range(0, self.grid.shape[0], step):
                    yield slice(number, number + 1), slice(first, first + step)
                start = number + 1
            else:
                total += count
        yield slice(start, len(marks)), slice(0, self.grid.shape[0])

    def _localize_portion(
        self, windows: Tensor, marks: Tensor, rows: slice, images: Tensor, level: Tensor
    ) -> dict[str, NDArray]:
        """Localizations whose maxima lie on given rows of the marked pages of some frames."""
        voxels = self.grid.side_px * self.network.architecture.upsampling
        beside = math.ceil(REACH_ROWS / voxels)
        pages = marks[:, max(0, rows.start - beside) : rows.stop + beside].nonzero()
        pages[:, 1] += max(0, rows.start - beside)
        with self.stopwatch("network"):
            volume = self._volume(windows, pages, len(images))
        with self.stopwatch("maxima"):
            peaks = find_peaks(volume, self.job.threshold, (rows.start * voxels, rows.stop * voxels))
        scene = self.record.scene
        voxel = torch.tensor(scene.voxel_nm(self.psf.pixel_size_nm), dtype=torch.float64, device=self.device)
        position = peaks.position.flip(1).double() * voxel
        position[:, 2] += scene.depth_range_nm[0]
        deviation = peaks.deviation.flip(1) * voxel
        with self.stopwatch("light"):
            photons, background = self._light(images, level, peaks.image, position)
            columns = {
                "frame": peaks.image,
                "x": position[:, 0],
                "y": position[:, 1],
                "z": position[:, 2],
                "photons": photons,
                "background": background,
                "probability": peaks.probability,
                "x_sd": deviation[:, 0],
                "y_sd": deviation[:, 1],
                "z_sd": deviation[:, 2],
            }
            return self._with_maps({name: tensor.cpu().numpy() for name, tensor in columns.items()})

    def _with_maps(self, columns: dict[str, NDArray]) -> dict[str, NDArray]:
        """With what the maps add to the uncertainty."""
        of_maps = self.shares.map_sd_nm(self.registration, np.stack([columns[n] for n in "xyz"], axis=-1))
        for axis, name in enumerate(("x_sd", "y_sd")):
            columns[name] = np.hypot(columns[name], of_maps[:, axis]).astype(columns[name].dtype)
        return columns

    def _volume(self, windows: Tensor, pages: Tensor, images: int) -> PagedVolume:
        """Logits on pages (n, 3) of the frames, on the CPU's list of them."""
        scale = self.network.architecture.upsampling
        side = self.grid.side_px * scale
        shape = (len(pages) + 1, side, side, self.network.architecture.depth_slices)
        values = torch.empty(shape, dtype=self.network.precision, device=self.device)
        values[-1] = NOWHERE
        start = 0
        while start < len(pages):
            part = pages[start : start + self.batch]
            try:
                logits = self.network(windows[part.to(self.device).unbind(-1)], part[:, 1:] * self.grid.side_px)
            except torch.cuda.OutOfMemoryError:
                self._halve_batch()
                continue
            values[start : start + len(part)] = logits
            start += len(part)
        self.regions += len(pages)
        rows, columns = self.grid.field_px
        return PagedVolume.of_pages(
            values, pages.to(self.device), images, self.grid.shape, (rows * scale, columns * scale)
        )

    def _halve_batch(self) -> None:
        """After the device ran out of memory: less at once from now on."""
        if self.batch == 1:
            raise PlanelocError(
                f"{self.device}: not enough memory for a single region of {self.grid.side_px} px; end other programs on"
                " this device, or set device: cpu"
            )
        self.batch //= 2
        torch.cuda.empty_cache()
        print(f"planeloc: {self.device} ran out of memory; going on with {self.batch} regions at once", file=sys.stderr)

    def _light(self, images: Tensor, level: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Photons of molecules, and photons per pixel under them on the plane where they are brightest."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        mapped = torch.stack([torch.as_tensor(m(lateral)) for m in self.registration.maps], dim=1).to(self.device)
        photons, plane, excess = fit_photons(images, self.psf, mapped, position[:, 2], image)
        x, y = mapped[torch.arange(len(plane), device=plane.device), plane].floor().long().unbind(-1)
        rows, columns = level.shape[1:]
        return photons, excess + level[plane, y.clamp(0, rows - 1), x.clamp(0, columns - 1)]


def group_frames(movie: Movie) -> int:
    """How many frames of a movie are computed together: fewer of large ones, always a part of BACKGROUND_FRAMES."""
    frame_bytes = 4 * math.prod(movie.shape[1:])
    return next((n for n in _FRAMES_READ if n * frame_bytes <= _BYTES_READ), 1)


def localize_frames(localizer: Localizer, start: int, stop: int) -> dict[str, NDArray]:
    """Localizations of the frames [start, stop), column by column.

    Frames are always computed in the same groups, from multiples of `group`, also where only a part of a group is
    asked for: arithmetic on other groups might be rounded otherwise.
    """
    firsts = range(start - start % localizer.group, stop, localizer.group)
    tasks = [(first, min(first + localizer.group, localizer.movie.frames)) for first in firsts]
    groups = _one_ahead(localizer.read, tasks)
    parts = []
    for first in firsts:
        with localizer.stopwatch("reading"):
            counts, level = next(groups)
        columns = localizer(counts, level)
        columns["frame"] += first
        asked = (columns["frame"] >= start) & (columns["frame"] < stop)
        parts.append({name: values[asked] for name, values in columns.items()})
    return _joined(parts)


def _one_ahead(function: Callable[..., Any], tasks: Iterable[tuple]) -> Iterator[Any]:
    """`function(*task)` in order, each begun in a thread while the caller still works on the one before."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, *task))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _device(name: str, index: int) -> torch.device:
    """The worker's own GPU, or the CPU; set up so that it always computes the same."""
    device = choose_device(name)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        return torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(1)
    return device


def _in_order(columns: dict[str, NDArray]) -> dict[str, NDArray]:
    """In the order of the table: by frame, y, x, z."""
    order = np.lexsort((columns["z"], columns["x"], columns["y"], columns["frame"]))
    return {name: column[order] for name, column in columns.items()}


def _joined(parts: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    """Columns one below the other."""
    if not parts:
        return {name: column.to_numpy(copy=True) for name, column in localizations.empty().items()}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
