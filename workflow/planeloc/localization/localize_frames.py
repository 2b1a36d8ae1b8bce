"""What one worker computes: frames → columns of the localization table, by one network on one device.

Counts become photons above background and are registered; the finder of the network's kind detects molecules; a fit to
the images may refine them (`planeloc.localization.refine`).

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and frames are computed in fixed groups. The localizations are therefore the same whatever the chunks on
disk, the number of workers, their blocks or the order in which they finish.
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
from planeloc.core.progress import Stopwatch
from planeloc.io import localization_table
from planeloc.localization.context import LocalizationContext
from planeloc.localization.detections import Detections, Finder
from planeloc.localization.refine import Refinement
from planeloc.localization.transform_uncertainty import PlaneShares
from planeloc.movie.background import BACKGROUND_FRAMES, background_photons
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.networks.weight_files import NetworkRecord, load_network
from planeloc.psf import read_psf
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.resampling import Resampler

_GROUP_FRAMES = (20, 10, 5, 2, 1)  # divisors of BACKGROUND_FRAMES, so that one background serves the whole group
_GROUP_BYTES = 32 << 20


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a block: plain values that can be sent to any process."""

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
    fingerprint: str = ""  # of the files' contents: a worker that stays alive must notice a file that was replaced


class Localizer:
    """A network on its device with everything that is computed once per movie; built once per worker process.

    Attributes
    ----------
    context : microscope, record of the network, and device.
    stopwatch : seconds by kind of work.
    finder : detects molecules.
    refinement : fits them to the images; None: they stay as detected.
    group : frames that are computed together.
    """

    def __init__(self, job: Job, device_index: int = 0) -> None:
        self.device = _device(job.device, device_index)
        self.stopwatch = Stopwatch()
        self.movie = Movie.open(Path(job.movie))
        self.group = group_frames(self.movie)
        network, record = load_network(job.weights)
        self.context = context = self._context(job, record)
        self.finder: Finder = network_kind(record.kind).finder(
            context, network, job.mode, job.threshold, job.candidate_threshold
        )
        self.refinement = Refinement(context) if job.refine == "likelihood" else None
        typical = float(np.mean(record.scene.photons)), float(np.mean(record.scene.background))
        self._shares = PlaneShares.of(context.reference_psf, record.scene.depth_range_nm, *typical)
        self._stretch: tuple[int, NDArray[np.float32]] | None = None

    def _context(self, job: Job, record: NetworkRecord) -> LocalizationContext:
        registration, psf = Registration.read(job.registration), read_psf(job.psf)
        resampler = Resampler(registration, self.movie.height, self.movie.width, self.device)
        precision = choose_precision(job.precision, self.device)
        drift_sd_nm = record.scene.drift_sds_nm(psf.pixel_size_nm, psf.planes)
        if job.drift_nm >= 0:
            drift_sd_nm = (job.drift_nm,) * len(drift_sd_nm)
        return LocalizationContext(
            self.movie, registration, psf, record, resampler, self.device, precision, self.stopwatch, drift_sd_nm
        )

    def background(self, frame: int) -> NDArray[np.float32]:
        """Background (planes, y, x) of a frame, photons; the latest is kept, as frames come in order."""
        stretch = frame // BACKGROUND_FRAMES
        if self._stretch is None or self._stretch[0] != stretch:
            self._stretch = stretch, background_photons(self.movie, frame)
        return self._stretch[1]

    def read(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Counts (frames, planes, y, x) of some frames, and the background of the first, in pinned memory for a GPU."""
        counts, level = torch.from_numpy(self.movie.read(first, last)), torch.from_numpy(self.background(first))
        return (counts.pin_memory(), level.pin_memory()) if self.device.type == "cuda" else (counts, level)

    @torch.inference_mode()
    def __call__(self, counts: Tensor, background: Tensor) -> dict[str, NDArray]:
        """Localize frames as `read` returns them; here the first is frame 0."""
        with self.stopwatch("registration"):
            background = background.to(self.device, non_blocking=True)
            images = self._photons(counts.to(self.device, non_blocking=True)) - background
            registered = self.context.resampler(images)
        detections = self.finder(images, registered, background)
        if self.refinement and detections:
            detections = [self.refinement(images, background, Detections.joined(detections))]
        return _in_order(_joined([self._columns(found) for found in detections]))

    def _photons(self, counts: Tensor) -> Tensor:
        """Counts in photons, each plane by its own camera."""
        cameras = self.movie.microscope.cameras
        planes = [camera.photons(plane) for camera, plane in zip(cameras, counts.unbind(1), strict=True)]
        return torch.stack(planes, dim=1)

    def _columns(self, found: Detections) -> dict[str, NDArray]:
        """Columns of the table; standard deviations include the transforms'."""
        columns = {
            "frame": found.frame,
            **dict(zip(("x", "y", "z"), found.position.unbind(1), strict=True)),
            "photons": found.photons,
            "background": found.background,
            "probability": found.probability,
            **dict(zip(("x_sd", "y_sd", "z_sd"), found.deviation.unbind(1), strict=True)),
        }
        values = {name: tensor.cpu().numpy() for name, tensor in columns.items()}
        of_transforms = self._shares.transform_sd_nm(self.context.registration, found.position.cpu().numpy())
        for axis, name in enumerate(("x_sd", "y_sd")):
            values[name] = np.hypot(values[name], of_transforms[:, axis]).astype(values[name].dtype)
        return values


def group_frames(movie: Movie) -> int:
    """Number of frames that are computed together: fewer of large ones."""
    frame_bytes = 4 * math.prod(movie.shape[1:])
    return next((n for n in _GROUP_FRAMES if n * frame_bytes <= _GROUP_BYTES), 1)


def localize_frames(localizer: Localizer, start: int, stop: int) -> dict[str, NDArray]:
    """Localize the frames [start, stop); returns the columns of the table.

    Frames are always computed in the same groups, from multiples of `group`, even if only some of a group are asked
    for: other groups might be rounded differently.
    """
    firsts = range(start - start % localizer.group, stop, localizer.group)
    tasks = [(first, min(first + localizer.group, localizer.movie.frames)) for first in firsts]
    groups = _one_ahead(localizer.read, tasks)
    computed = []
    for first in firsts:
        with localizer.stopwatch("reading"):
            counts, background = next(groups)
        columns = localizer(counts, background)
        columns["frame"] += first
        asked = (columns["frame"] >= start) & (columns["frame"] < stop)
        computed.append({name: values[asked] for name, values in columns.items()})
    return _joined(computed)


def _one_ahead(function: Callable[..., Any], tasks: Iterable[tuple]) -> Iterator[Any]:
    """Yield `function(*task)` in order; each starts in a thread while the caller still works on the one before."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, *task))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _device(name: str, index: int) -> torch.device:
    """The worker's own GPU, or the CPU; set up to be deterministic."""
    device = choose_device(name)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        return torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(1)
    return device


def _in_order(columns: dict[str, NDArray]) -> dict[str, NDArray]:
    """Sort as the table is: by frame, y, x, z."""
    order = np.lexsort((columns["z"], columns["x"], columns["y"], columns["frame"]))
    return {name: column[order] for name, column in columns.items()}


def _joined(tables: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    if not tables:
        return {name: column.to_numpy(copy=True) for name, column in localization_table.empty().items()}
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
