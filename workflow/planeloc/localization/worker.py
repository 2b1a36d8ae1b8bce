"""One network on one device, and what it makes of frames.

Counts become photons above the background and are registered; a finder for the network's kind (`voxel_finder`,
`molecule_finder`) says where the molecules are; a fit to the images (`refinement`) may follow; here they become columns
of the table.

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and frames are computed in fixed groups. So the localizations are the same whatever the chunks on disk, the
number of workers, the blocks they are given or the order in which they finish.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.core.devices import choose_device, choose_precision
from planeloc.core.stopwatch import Stopwatch
from planeloc.io import localization_table
from planeloc.localization.context import Finder, Findings, Instrument
from planeloc.localization.find_regression import MoleculeFinder
from planeloc.localization.find_upsampling import VoxelFinder
from planeloc.localization.refine import Refinement
from planeloc.localization.transform_uncertainty import PlaneShares
from planeloc.movie.background import BACKGROUND_FRAMES, background_photons
from planeloc.movie.store import Movie
from planeloc.networks.record import load_network
from planeloc.networks.regression import RegressionNetwork
from planeloc.psf import read_psf
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.resampling import Resampler

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
    refine: str
    drift_nm: float  # below 0: as the network was trained
    device: str
    precision: str
    fingerprint: str = ""  # of the contents: a worker that lives on must not take a remade file for the old one


class Localizer:
    """A network on its device with everything that is computed once per movie. Built once per worker process.

    Attributes:
        stopwatch: where the time goes.
        finder: how molecules are found.
        refinement: how they are fitted to the images, if they are.
        group: how many frames are computed together.
    """

    def __init__(self, job: Job, device_index: int = 0) -> None:
        self.device = _device(job.device, device_index)
        self.stopwatch = Stopwatch()
        self.movie = Movie.open(Path(job.movie))
        self.group = group_frames(self.movie)
        registration, psf = Registration.read(job.registration), read_psf(job.psf)
        network, record = load_network(job.weights)
        resampler = Resampler(registration, self.movie.height, self.movie.width, self.device)
        precision = choose_precision(job.precision, self.device)
        drift_sd_nm = record.scene.drift_sds_nm(psf.pixel_size_nm, psf.planes)
        if job.drift_nm >= 0:
            drift_sd_nm = (job.drift_nm,) * len(drift_sd_nm)
        self.instrument = Instrument(
            self.movie, registration, psf, record, resampler, self.device, precision, self.stopwatch, drift_sd_nm
        )
        self.finder: Finder
        how = job.mode, job.threshold, job.candidate_threshold
        if isinstance(network, RegressionNetwork):
            self.finder = MoleculeFinder(self.instrument, network, *how)
        else:
            self.finder = VoxelFinder(self.instrument, network, *how)
        self.refinement = Refinement(self.instrument) if job.refine == "likelihood" else None
        light = float(np.mean(record.scene.photons)), float(np.mean(record.scene.background))
        self._shares = PlaneShares.of(self.instrument.seen_psf, record.scene.depth_range_nm, *light)
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
        with self.stopwatch("registration"):
            level = level.to(self.device, non_blocking=True)
            images = self._photons(counts.to(self.device, non_blocking=True)) - level
            registered = self.instrument.resampler(images)
        parts = self.finder(images, registered, level)
        if self.refinement and parts:
            parts = [self.refinement(images, level, Findings.joined(parts))]
        return _in_order(_joined([self._columns(found) for found in parts]))

    def _photons(self, counts: Tensor) -> Tensor:
        """Counts in photons, each plane by its own camera."""
        cameras = self.movie.microscope.cameras
        offset, factor = (
            torch.tensor(values, dtype=torch.float32, device=self.device)[:, None, None]
            for values in ([c.offset_counts for c in cameras], [c.photons_per_count for c in cameras])
        )
        return (counts.to(torch.float32) - offset) * factor

    def _columns(self, found: Findings) -> dict[str, NDArray]:
        """Columns of the table; deviations with what the maps add to them."""
        columns = {
            "frame": found.frame,
            "x": found.position[:, 0],
            "y": found.position[:, 1],
            "z": found.position[:, 2],
            "photons": found.photons,
            "background": found.background,
            "probability": found.probability,
            "x_sd": found.deviation[:, 0],
            "y_sd": found.deviation[:, 1],
            "z_sd": found.deviation[:, 2],
        }
        values = {name: tensor.cpu().numpy() for name, tensor in columns.items()}
        of_maps = self._shares.map_sd_nm(self.instrument.registration, found.position.cpu().numpy())
        for axis, name in enumerate(("x_sd", "y_sd")):
            values[name] = np.hypot(values[name], of_maps[:, axis]).astype(values[name].dtype)
        return values


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
        return {name: column.to_numpy(copy=True) for name, column in localization_table.empty().items()}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
