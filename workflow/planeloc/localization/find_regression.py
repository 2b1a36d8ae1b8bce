"""Detections by the regression network: whole frames, and its last layers only in tiles that are not dark."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from planeloc.core.devices import autocast, in_large_groups
from planeloc.core.memory import AdaptiveBatch
from planeloc.localization.candidates import bright_tiles, spot_side_px
from planeloc.localization.context import LocalizationContext
from planeloc.localization.detections import Detections, background_at
from planeloc.networks.pixel_maps import PixelMaps
from planeloc.networks.regression import with_coverage
from planeloc.networks.regression_molecules import find_molecules
from planeloc.networks.tiled_regression import TILE_PX, maps_on_tiles
from planeloc.networks.tiles import TileGrid
from planeloc.transforms.coverage import Coverage

_FRAMES_AT_ONCE_GPU = 100
_PIXELS_AT_ONCE_CPU = 1 << 18
_REACH_PX = 1  # from a bright pixel to its molecule


class RegressionFinder:
    """A `Finder` with the regression network."""

    def __init__(self, context: LocalizationContext) -> None:
        """A GPU ignores mode ``sparse``, which would be slower."""
        self._context = context
        self._sparse = context.settings.mode == "sparse" and not in_large_groups(context.device)
        drift = torch.as_tensor(context.drift_sd_nm) / context.psf.pixel_size_nm
        self._units = replace(context.record.units, drift_sd_px=tuple(drift.tolist()))
        self._network = context.network.to(context.device, memory_format=torch.channels_last)
        self._grid, self._spot_px = TileGrid(TILE_PX, context.field_px), spot_side_px(context.psf)
        few = max(1, _PIXELS_AT_ONCE_CPU // math.prod(context.field_px))
        size = _FRAMES_AT_ONCE_GPU if in_large_groups(context.device) else few
        architecture = context.record.architecture
        seen = (
            torch.from_numpy(Coverage(context.registration, context.field_px).masks())
            if architecture.coverage
            else None
        )
        self._architecture, self._seen = architecture, None if seen is None else seen.to(context.device)
        self._batch = AdaptiveBatch(size, context.device, "localizing", "record a smaller field")

    def __call__(self, images: Tensor, registered: Tensor, background: Tensor) -> list[Detections]:
        """Return the molecules in frames; see `Finder`."""
        context, detections, first = self._context, [], 0
        tiles = self._bright_tiles(registered, background) if self._sparse else None
        with autocast(context.device, context.precision):  # around all frames: weights are converted once
            while first < len(registered):
                detections.append(self._batch.retry(partial(self._find, registered, tiles, background, first)))
                first += self._batch.size
        return detections

    def _find(self, registered: Tensor, tiles: Tensor | None, background: Tensor, first: int) -> Detections:
        """Molecules of one batch of frames, from `first` on."""
        some = slice(first, first + self._batch.size)
        output = self._output(registered[some], None if tiles is None else tiles[some])
        with torch.autocast(self._context.device.type, enabled=False):
            return self._decoded(output, background, first)

    def _bright_tiles(self, registered: Tensor, background: Tensor) -> Tensor:
        with self._context.stopwatch("candidates"):
            variance, threshold = self._context.variance(background), self._context.settings.candidate_threshold
            return bright_tiles(registered, variance, threshold, self._grid, _REACH_PX, self._spot_px)

    def _output(self, frames: Tensor, tiles: Tensor | None) -> PixelMaps:
        """The network's output for every pixel, or for those of some tiles."""
        frames = with_coverage(self._architecture, frames, self._seen)
        with self._context.stopwatch("network"):
            if tiles is None:
                return PixelMaps.whole(self._network(frames.contiguous(memory_format=torch.channels_last)))
            return maps_on_tiles(self._network, frames, tiles)

    def _decoded(self, output: PixelMaps, background: Tensor, first: int) -> Detections:
        context = self._context
        with context.stopwatch("maxima"):
            found = find_molecules(output, self._units, context.settings.threshold)
        position = found.position_nm.double()
        plane = context.best_focused_plane(position[:, 2])
        level = found.background + background_at(background, plane, context.on_planes(position))
        return Detections(found.image + first, position, found.position_sd_nm, found.probability, found.photons, level)
