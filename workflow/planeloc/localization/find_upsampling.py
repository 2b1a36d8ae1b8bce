"""Molecules by the paper's network: only where there is light, and only on pages of its voxels.

A cheap filter says where molecules may be; the network computes the pages of voxels there (all pages in mode
``dense``); maxima of the probability become localizations; least squares gives their light.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from planeloc.core.memory import AdaptiveBatch
from planeloc.diagnostics.light import fit_photons
from planeloc.localization.candidates import CandidateSearch, candidate_pixels
from planeloc.localization.context import Findings, Instrument, under
from planeloc.networks.tiled_upsampling import RegionNetwork
from planeloc.networks.tiles import PagedVolume, PageGrid
from planeloc.networks.upsampling import UpsamplingNetwork
from planeloc.networks.voxel_peaks import NOWHERE, REACH_ROWS, find_peaks

_PAGE_PX = {"sparse": 4, "dense": 8}
_REACH_PX = 1  # around a candidate, beside what the pages have anyway
_BATCH_PX = {"cpu": 512, "cuda": 1 << 16}  # camera pixels that the network computes at once
# Camera pixels of the pages that are kept at once, unless a single frame has more.
_PIXELS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 18}
_PIXELS_AT_MOST = 1 << 17  # of one frame: 0.5 GB of voxels in bfloat16, and as much again to search them
_FRAMES_SEARCHED = {"cpu": 1, "cuda": 20}  # for candidates at once: what a CPU's cache holds


class VoxelFinder:
    """The network of the paper on regions of the field.

    Attributes:
        regions: how many regions the network has computed.
        batch: how many it computes at once (`AdaptiveBatch`).
    """

    def __init__(
        self,
        instrument: Instrument,
        network: UpsamplingNetwork,
        mode: str,
        threshold: float,
        candidate_threshold: float,
    ) -> None:
        """`mode`: one of `MODES`; `threshold`: of a voxel's probability; `candidate_threshold`: standard deviations."""
        self._instrument, self._device = instrument, instrument.device
        self._mode, self._threshold, self._candidate_threshold = mode, threshold, candidate_threshold
        scene, device = instrument.record.scene, instrument.device
        self.grid = PageGrid(_PAGE_PX[mode], instrument.field_px)
        self.network = RegionNetwork(network, self.grid.side_px, instrument.field_px, device, instrument.precision)
        self.regions = 0
        at_once = _BATCH_PX[device.type] // self.grid.side_px**2
        self.batch = AdaptiveBatch(at_once, device, "localizing", "localize in mode sparse", "region")
        self.search = CandidateSearch(instrument.seen_psf, scene.depth_range_nm, instrument.drift_sd_nm, device)

    def __call__(self, images: Tensor, registered: Tensor, level: Tensor) -> list[Findings]:
        """Molecules in photons above background (frames, planes, y, x), raw and registered, and the background."""
        with self._instrument.stopwatch("candidates"):
            marks = self._marks(registered, level).cpu()
            windows = self._windows(registered)
        parts = []
        for frames, rows in self._portions(marks):
            if marks[frames, rows].any():
                found = self._find(windows[frames], marks[frames], rows, images[frames], level)
                parts.append(replace(found, frame=found.frame + frames.start))
        return parts

    def _marks(self, registered: Tensor, level: Tensor) -> Tensor:
        """Pages (frames, rows, columns) that the network has to look at."""
        if self._mode == "dense":
            return self.grid.everywhere(len(registered))
        variance = self._instrument.variance(level)
        noise = self.search.noise(variance)
        found = []
        step = _FRAMES_SEARCHED[self._device.type]
        for number, frames in enumerate(registered.split(step)):
            points = candidate_pixels(self.search.test_values(frames, variance, noise), self._candidate_threshold)
            points[:, 0] += number * step
            found.append(points)
        return self.grid.around(torch.cat(found), _REACH_PX, len(registered))

    def _windows(self, registered: Tensor) -> Tensor:
        """What the network sees of every page: (frames, rows, columns, planes, window, window), without copying."""
        side, margin = self.grid.side_px, self.network.margin_px
        beyond = [n * side - size for n, size in zip(self.grid.shape, self.grid.field_px, strict=True)]
        padded = nn.functional.pad(registered, (margin, margin + beyond[1], margin, margin + beyond[0]))
        window = side + 2 * margin
        return padded.unfold(2, window, side).unfold(3, window, side).permute(0, 2, 3, 1, 4, 5)

    def _portions(self, marks: Tensor) -> Iterator[tuple[slice, slice]]:
        """Frames, and rows of pages, whose pages fit into memory together: some frames, or a band of a large one."""
        most = _PIXELS_AT_ONCE[self._device.type] // self.grid.side_px**2
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

    def _find(self, windows: Tensor, marks: Tensor, rows: slice, images: Tensor, level: Tensor) -> Findings:
        """Molecules whose maxima lie on given rows of the marked pages of some frames."""
        instrument = self._instrument
        voxels = self.grid.side_px * self.network.architecture.upsampling
        beside = math.ceil(REACH_ROWS / voxels)
        pages = marks[:, max(0, rows.start - beside) : rows.stop + beside].nonzero()
        pages[:, 1] += max(0, rows.start - beside)
        with instrument.stopwatch("network"):
            volume = self._volume(windows, pages, len(images))
        with instrument.stopwatch("maxima"):
            peaks = find_peaks(volume, self._threshold, (rows.start * voxels, rows.stop * voxels))
        scene = instrument.record.scene
        voxel_nm = scene.voxel_nm(instrument.psf.pixel_size_nm)
        voxel = torch.tensor(voxel_nm, dtype=torch.float64, device=instrument.device)
        position = peaks.position.flip(1).double() * voxel
        position[:, 2] += scene.depth_range_nm[0]
        with instrument.stopwatch("light"):
            mapped = instrument.on_planes(position)
            photons, plane, excess = fit_photons(images, instrument.psf, mapped, position[:, 2], peaks.image)
            background = excess + under(level, plane, mapped)
        deviation = peaks.deviation.flip(1) * voxel
        return Findings(peaks.image, position, deviation, peaks.probability, photons, background)

    def _volume(self, windows: Tensor, pages: Tensor, images: int) -> PagedVolume:
        """Logits on pages (n, 3) of the frames, on the CPU's list of them."""
        scale = self.network.architecture.upsampling
        side = self.grid.side_px * scale
        shape = (len(pages) + 1, side, side, self.network.architecture.depth_slices)
        values = torch.empty(shape, dtype=self.network.precision, device=self._device)
        values[-1] = NOWHERE
        start = 0
        while start < len(pages):
            logits = self.batch.retry(partial(self._logits, windows, pages, start))
            values[start : start + len(logits)] = logits
            start += len(logits)
        self.regions += len(pages)
        rows, columns = self.grid.field_px
        return PagedVolume.of_pages(
            values, pages.to(self._device), images, self.grid.shape, (rows * scale, columns * scale)
        )

    def _logits(self, windows: Tensor, pages: Tensor, start: int) -> Tensor:
        """Of as many pages as are computed at once, from `start` on."""
        some = pages[start : start + self.batch.size]
        return self.network(windows[some.to(self._device).unbind(-1)], some[:, 1:] * self.grid.side_px)
