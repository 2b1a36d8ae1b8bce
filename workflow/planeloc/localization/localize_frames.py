"""What one worker computes: frames → columns of the localization table, by one network on one device.

Counts become photons above background and are registered; the finder of the network's kind detects molecules; a fit to
the images may refine them (`planeloc.localization.refine`).

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and frames are computed in fixed groups. The localizations are therefore the same whatever the chunks on
disk, the number of workers, their blocks or the order in which they finish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.core.devices import choose_device, choose_precision
from planeloc.io import localization_table
from planeloc.localization.context import InputPaths, Inputs, LocalizationContext
from planeloc.localization.detections import Detections, Finder
from planeloc.localization.refine import Refinement
from planeloc.localization.settings import LocalizeSettings
from planeloc.localization.transform_uncertainty import PlaneShares
from planeloc.movie.background import BACKGROUND_FRAMES, background_photons
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.transforms.resampling import Resampler

_GROUP_FRAMES = (20, 10, 5, 2, 1)  # divisors of BACKGROUND_FRAMES, so that one background serves the whole group
_GROUP_BYTES = 32 << 20


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a block; it can be sent to any process."""

    paths: InputPaths
    settings: LocalizeSettings  # with a threshold
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
        self.context = context = _context(job, device_index)
        self.stopwatch, self.group = context.stopwatch, group_frames(context.movie)
        self.finder: Finder = network_kind(context.record.kind).finder(context)
        self.refinement = Refinement(context) if job.settings.refine == "likelihood" else None
        scene = context.record.scene
        typical = float(np.mean(scene.photons)), float(np.mean(scene.background))
        self._shares = PlaneShares.of(context.reference_psf, scene.depth_range_nm, *typical)
        self._background = lru_cache(maxsize=1)(partial(background_photons, context.movie))  # frames come in order

    def read(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Counts (frames, planes, y, x) of some frames, and the background of the first, in pinned memory for a GPU."""
        level = torch.from_numpy(self._background(first - first % BACKGROUND_FRAMES))
        counts = torch.from_numpy(self.context.movie.read(first, last))
        return (counts.pin_memory(), level.pin_memory()) if self.context.device.type == "cuda" else (counts, level)

    @torch.inference_mode()
    def __call__(self, counts: Tensor, background: Tensor) -> dict[str, NDArray]:
        """Localize frames as `read` returns them; here the first is frame 0."""
        with self.stopwatch("registration"):
            counts, background = (each.to(self.context.device, non_blocking=True) for each in (counts, background))
            images = self._photons(counts) - background
            registered = self.context.resampler(images)
        detections = self.finder(images, registered, background)
        if self.refinement and detections:
            detections = [self.refinement(images, background, Detections.joined(detections))]
        return _in_order(_joined([self._columns(found) for found in detections]))

    def _photons(self, counts: Tensor) -> Tensor:
        """Counts in photons, each plane by its own camera."""
        cameras = self.context.movie.microscope.cameras
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
    tasks = [(first, min(first + localizer.group, localizer.context.movie.frames)) for first in firsts]
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
        started = (pool.submit(function, *task) for task in tasks)
        for now, _following in pairwise(chain(started, [None])):
            yield now.result()


def _context(job: Job, device_index: int) -> LocalizationContext:
    inputs, settings = Inputs.read(job.paths), job.settings
    device = _device(settings.device, device_index)
    drift_sd_nm = inputs.record.scene.drift_sds_nm(inputs.psf.pixel_size_nm, inputs.psf.planes)
    if settings.drift_nm >= 0:
        drift_sd_nm = (settings.drift_nm,) * len(drift_sd_nm)
    return LocalizationContext(
        **vars(inputs),
        settings=settings,
        resampler=Resampler(inputs.registration, *inputs.field_px, device),
        device=device,
        precision=choose_precision(settings.precision, device),
        drift_sd_nm=drift_sd_nm,
    )


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
        return localization_table.empty_columns()
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
