"""What one worker computes: frames → columns of the localization table, by one network on one device.

Counts become photons above background and are registered; the finder of the network's kind detects molecules; a fit to
the images may refine them (`planeloc.localization.refine`).

`localize_frames` is a pure function of a movie and a range of frames: the background comes from a fixed stretch around
each frame, and frames are computed in fixed groups. The localizations are therefore the same whatever the chunks on
disk, the number of workers, their blocks or the order in which they finish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.core.devices import choose_device, choose_precision, in_large_groups, share_of_memory
from planeloc.core.memory import keep_freed_memory, out_of_memory
from planeloc.io import localization_table
from planeloc.localization.context import InputPaths, Inputs, LocalizationContext
from planeloc.localization.detections import Detections, Finder
from planeloc.localization.refine import KnownOfDrift, Refinement
from planeloc.localization.results import ADDED
from planeloc.localization.settings import LocalizeSettings
from planeloc.localization.transform_uncertainty import PlaneShares, common_sd_nm
from planeloc.movie.background import (
    BACKGROUND_FRAMES,
    background_of_photons,
    background_photons,
    sampled_frames,
)
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.transforms.coverage import Coverage
from planeloc.transforms.resampling import Resampler

_FEW_FRAMES = (20, 10, 5, 2, 1)  # divisors of BACKGROUND_FRAMES, so that one background serves the whole group
# Frames that are computed together, and bytes of their images; multiples of BACKGROUND_FRAMES have several backgrounds.
_GROUP_FRAMES = {"cpu": _FEW_FRAMES, "cuda": (1600, 800, 400, 200, 100, 50, *_FEW_FRAMES)}
_GROUP_BYTES = {"cpu": 32 << 20, "cuda": 1 << 30}
_SHARE_OF_GPU = 1 / 40  # of a group's images, so that a GPU of little memory takes smaller groups
FOLLOWING = ("response", "at_rest", "variance")  # columns of a block that its table lacks; see `Detections`
_READERS = 8  # threads, of a large group
_READ_AHEAD = ThreadPoolExecutor(1)  # starts its thread when it is first used


@dataclass(frozen=True)
class Job:
    """All that a worker needs to localize a block; it can be sent to any process."""

    paths: InputPaths
    settings: LocalizeSettings  # with a threshold
    fingerprint: str = ""  # of the files' contents: a worker that stays alive must notice a file that was replaced


class Found(NamedTuple):
    """What is in some frames, of which the first is 0."""

    detections: list[Detections]
    known: KnownOfDrift | None  # of their inter-camera drift; None: nothing was fitted

    @classmethod
    def joined(cls, earlier: Found, later: Found, frames: int) -> Found:
        """Put `later` behind the `frames` of `earlier`."""
        detections = [*earlier.detections, *(found._replace(frame=found.frame + frames) for found in later.detections)]
        if earlier.known is None or later.known is None:
            return cls(detections, None)
        return cls(detections, KnownOfDrift(*map(torch.cat, zip(earlier.known, later.known, strict=True))))


class Block(NamedTuple):
    """Localizations of some frames, each fitted on its own, and what is needed to fit the drift of all frames."""

    columns: dict[str, NDArray]  # of the table, and those of `FOLLOWING`
    precision: NDArray[np.float64] | None = None  # (frames, q, q) of the drift; None: nothing was fitted
    moment: NDArray[np.float64] | None = None  # (frames, q)

    def parts(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """The columns of the table, and the arrays beside it."""
        columns = {name: values for name, values in self.columns.items() if name not in FOLLOWING}
        if self.moment is None:
            return columns, {}
        following = {name: self.columns[name].astype(np.float32) for name in FOLLOWING}
        if not len(following["response"]):  # without a detection, its last axis may be anything
            following["response"] = following["response"].reshape(0, 3, self.moment.shape[1])
        return columns, {**following, "precision": self.precision, "moment": self.moment}

    @classmethod
    def joined(cls, blocks: list[Block]) -> Block:
        """Put blocks behind each other."""
        columns = _joined([block.columns for block in blocks])
        if any(block.moment is None for block in blocks):
            return cls(columns)
        return cls(columns, *(np.concatenate(values) for values in list(zip(*blocks, strict=True))[1:]))


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
        self.stopwatch, self.group = context.stopwatch, _group_that_fits(context.movie, context.device)
        self.finder: Finder = network_kind(context.record.kind).finder(context)
        self.refinement = Refinement(context) if job.settings.refine == "likelihood" else None
        scene = context.record.scene
        typical = float(np.mean(scene.photons)), float(np.mean(scene.background))
        self._shares = PlaneShares.of(context.reference_psf, scene.depth_range_nm, *typical)
        self._common_sd_nm = common_sd_nm(context.registration, context.field_px)
        self._coverage = Coverage(context.registration, context.field_px)
        self._readers = ThreadPoolExecutor(_READERS) if in_large_groups(context.device) else None
        self._ahead: tuple[int, Future] | None = None  # first frame of the group that is being read
        self._background = lru_cache(maxsize=1)(partial(background_photons, context.movie))  # frames come in order

    def read(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Counts (frames, planes, y, x) of some frames, and the background of the first.

        For a large group, in pinned memory of a GPU, and instead of the background (stretches, samples, planes, y, x)
        the counts that it is taken from.
        """
        movie = self.context.movie
        if not in_large_groups(self.context.device):
            level = torch.from_numpy(self._background(first - first % BACKGROUND_FRAMES))
            return torch.from_numpy(movie.read(first, last)), level
        sampled = np.stack([sampled_frames(movie.frames, frame) for frame in range(first, last, BACKGROUND_FRAMES)])
        counts, samples = self._room(last - first), self._room(*sampled.shape)
        ends = range(first - first % movie.chunk_frames + movie.chunk_frames, last, movie.chunk_frames)

        def fill(start: int, stop: int) -> None:
            counts.numpy()[start - first : stop - first] = movie.read(start, stop)

        list(self._readers.map(fill, [first, *ends], [*ends, last]))
        for place, frame in np.ndenumerate(sampled):
            known = first <= frame < last
            samples.numpy()[place] = counts.numpy()[frame - first] if known else movie.read(frame, frame + 1)[0]
        return counts, samples

    def groups(self, firsts: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `read` returns of the groups that begin at some frames; the next one is read in the meantime.

        Beside a GPU, this is also the group after the last one: the next block usually begins with it.
        """
        frames = self.context.movie.frames

        def read(first: int) -> tuple[Tensor, Tensor]:
            return self.read(first, min(first + self.group, frames))

        if not in_large_groups(self.context.device):
            yield from _one_ahead(read, [(first,) for first in firsts])
            return
        for first, following in pairwise((*firsts, firsts[-1] + self.group)):
            known, self._ahead = self._ahead, None
            now = known[1].result() if known and known[0] == first else read(first)
            if following < frames:
                self._ahead = following, _READ_AHEAD.submit(read, following)
            yield now

    def _room(self, *frames: int) -> Tensor:
        """Memory for counts that a GPU reads on its own."""
        pinned = self.context.device.type == "cuda"
        return torch.empty(*frames, *self.context.movie.shape[1:], dtype=torch.uint16, pin_memory=pinned)

    def __call__(self, counts: Tensor, background: Tensor) -> dict[str, NDArray]:
        """Localize frames as `read` returns them; here the first is frame 0."""
        return self.table(self.detect(counts, background).detections)

    def detect(self, counts: Tensor, background: Tensor) -> Found:
        """Molecules of frames as `read` returns them, on the CPU; what needs too much memory of a GPU, in halves."""
        try:
            return self._detect(counts, background)
        except RuntimeError as error:
            if len(background) == 1 or not in_large_groups(self.context.device) or not out_of_memory(error):
                raise
        half = len(background) // 2  # not in the handler: the error keeps references to what was computed
        frames = half * BACKGROUND_FRAMES
        if self.context.device.type == "cuda":
            torch.cuda.empty_cache()
        earlier, later = (
            self.detect(counts[:frames], background[:half]),
            self.detect(counts[frames:], background[half:]),
        )
        return Found.joined(earlier, later, frames)

    @torch.inference_mode()
    def _detect(self, counts: Tensor, background: Tensor) -> Found:
        context = self.context
        large = in_large_groups(context.device)
        with self.stopwatch("registration"):
            counts, background = (each.to(context.device, non_blocking=True) for each in (counts, background))
            photons = self._photons(counts)
            if large:
                background = background_of_photons(self._photons(background.flatten(0, 1)).view(background.shape))
                stretch = torch.arange(len(photons), device=context.device) // BACKGROUND_FRAMES
                level = background[stretch]
            else:
                level = background
            images = photons - level
            registered = context.resampler(images)
        if large:
            detections = self._find_in_stretches(images, registered, background)
        else:
            detections = self.finder(images, registered, background)
        known = self.nothing(len(images)).known
        if self.refinement and detections:
            refined, known = self.refinement(images, level, Detections.joined(detections))
            detections, known = [refined], KnownOfDrift(*(values.cpu() for values in known))
        return Found([Detections(*(values.cpu() for values in found)) for found in detections], known)

    def nothing(self, frames: int) -> Found:
        """What is in frames without molecules."""
        drifts = 2 * (self.context.movie.planes - 1)
        return Found([], KnownOfDrift.nothing(frames, drifts, "cpu") if self.refinement else None)

    def _find_in_stretches(self, images: Tensor, registered: Tensor, background: Tensor) -> list[Detections]:
        """Detections of a large group, each stretch with its own background."""
        detections = []
        for number, level in enumerate(background):
            own = slice(number * BACKGROUND_FRAMES, (number + 1) * BACKGROUND_FRAMES)
            for found in self.finder(images[own], registered[own], level):
                detections.append(found._replace(frame=found.frame + own.start))
        return detections

    def table(self, detections: list[Detections]) -> dict[str, NDArray]:
        """Columns of the table, in its order."""
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
            "goodness_of_fit": found.goodness_of_fit,
        }
        columns |= {name: getattr(found, name) for name in FOLLOWING}
        values = {name: tensor.numpy() for name, tensor in columns.items()}
        registration, position = self.context.registration, found.position.numpy()
        seen = self._coverage.seen(position[:, :2] / self.context.psf.pixel_size_nm)
        values["planes_seen"] = seen.sum(axis=1)
        of_transforms = self._shares.transform_sd_nm(registration, position, seen)
        for axis, name in enumerate(("x_sd", "y_sd")):
            values[name] = np.hypot(values[name], of_transforms[:, axis]).astype(values[name].dtype)
        # Of the transforms' errors, a shift of a whole plane is known with the drift.
        left = self._shares.transform_sd_nm(registration, position, seen, self._common_sd_nm)
        values["variance"] = values["variance"] + np.pad(left**2, ((0, 0), (0, 1)))
        return values


def group_frames(movie: Movie, device: torch.device) -> int:
    """Number of frames that are computed together on a kind of device: fewer of large ones."""
    kind = "cuda" if in_large_groups(device) else "cpu"
    frame_bytes = 4 * math.prod(movie.shape[1:])
    return next((n for n in _GROUP_FRAMES[kind] if n * frame_bytes <= _GROUP_BYTES[kind]), 1)


def _group_that_fits(movie: Movie, device: torch.device) -> int:
    """A divisor of `group_frames` whose images fit into the memory of this device."""
    group, most = group_frames(movie, device), share_of_memory(device, _SHARE_OF_GPU, _GROUP_BYTES["cuda"])
    while group > 1 and in_large_groups(device) and 4 * group * math.prod(movie.shape[1:]) > most:
        group = next(n for n in _GROUP_FRAMES["cuda"] if n < group)
    return group


def localize_frames(localizer: Localizer, start: int, stop: int) -> dict[str, NDArray]:
    """Localize the frames [start, stop), each on its own; returns the columns of the table."""
    return compute_frames(localizer, start, stop).parts()[0]


def compute_frames(localizer: Localizer, start: int, stop: int) -> Block:
    """Localize the frames [start, stop), and say what they know of the inter-camera drift.

    Frames are always computed in the same groups, from multiples of `group`, even if only some of a group are asked
    for: other groups might be rounded differently. Groups of which no frame shows the same moment in all cameras are
    not computed.
    """
    movie = localizer.context.movie
    whole = movie.camera_frames.whole
    parts = [
        range(first, min(first + localizer.group, movie.frames))
        for first in range(start - start % localizer.group, stop, localizer.group)
    ]
    asked_for = [part for part in parts if whole(np.array(part)).any()]
    groups = localizer.groups([part.start for part in asked_for])

    def finished(first: int, found: Found) -> Block:
        columns = localizer.table(found.detections)
        columns["frame"] += first
        asked = (columns["frame"] >= start) & (columns["frame"] < stop)
        asked &= whole(columns["frame"])
        columns = {name: values[asked] for name, values in columns.items()}
        if found.known is None:
            return Block(columns)
        frames = np.arange(first, first + len(found.known.moment))
        frames = frames[(frames >= start) & (frames < stop)]
        return Block(columns, *(_where(whole(frames), known.numpy()[frames - first]) for known in found.known))

    with ThreadPoolExecutor(1) as writer:
        # Beside a GPU the tables of the last group are made while the next one is computed.
        finish = writer.submit if in_large_groups(localizer.context.device) else _at_once
        computed = []
        for part in parts:
            if part not in asked_for:
                computed.append(finish(finished, part.start, localizer.nothing(len(part))))
                continue
            with localizer.stopwatch("reading"):
                counts, background = next(groups)
            computed.append(finish(finished, part.start, localizer.detect(counts, background)))
        return Block.joined([block.result() for block in computed])


def _at_once(function: Callable[..., Any], *arguments: Any) -> Future:
    """Call a function in this thread."""
    future: Future = Future()
    future.set_result(function(*arguments))
    return future


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
    if settings.inter_camera_drift_nm >= 0:
        drift_sd_nm = (settings.inter_camera_drift_nm,) * len(drift_sd_nm)
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
    # float32 is what it says, in products of matrices, too, whatever the environment or earlier work has set
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cuda":
        return torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(1)
    keep_freed_memory()
    return device


def _in_order(columns: dict[str, NDArray]) -> dict[str, NDArray]:
    """Sort as the table is: by frame, y, x, z."""
    order = localization_table.order(columns)
    return {name: column[order] for name, column in columns.items()}


def _where(chosen: NDArray[np.bool_], values: NDArray) -> NDArray:
    """Values (frames, …) of chosen frames, 0 elsewhere."""
    return np.where(chosen.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def _joined(tables: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    if not tables:
        following = {"response": np.empty((0, 3, 0)), "at_rest": np.empty((0, 3)), "variance": np.empty((0, 3))}
        return localization_table.empty_columns(added=ADDED) | following
    tables = [table for table in tables if len(table["frame"])] or tables[:1]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
