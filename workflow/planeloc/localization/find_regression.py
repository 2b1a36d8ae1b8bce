"""Molecules by the regression network: whole frames, and their last layers only where there is light."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from planeloc.core.devices import autocast
from planeloc.core.memory import AdaptiveBatch
from planeloc.localization.candidates import lit_pages, spot_side_px
from planeloc.localization.context import Findings, Instrument, under
from planeloc.networks.decoding import find_molecules
from planeloc.networks.regression import RegressionNetwork
from planeloc.networks.tiled_regression import maps_on_pages, page_grid

_FRAMES_AT_ONCE = {"cpu": 1, "cuda": 20}
_REACH_PX = 1  # around a pixel with light, where its molecule may be


class MoleculeFinder:
    """The regression network."""

    def __init__(
        self,
        instrument: Instrument,
        network: RegressionNetwork,
        mode: str,
        threshold: float,
        candidate_threshold: float,
    ) -> None:
        """`mode`: one of `MODES`; `threshold`: of a molecule's probability; `candidate_threshold`: standard deviations
        of the light. A GPU computes everywhere: to ask where there is light would cost it more.
        """
        self._instrument, self._threshold, self._candidate_threshold = instrument, threshold, candidate_threshold
        self._sparse = mode == "sparse" and instrument.device.type == "cpu"
        drift = torch.as_tensor(instrument.drift_sd_nm) / instrument.psf.pixel_size_nm
        self._units = replace(instrument.record.units, drift_sd_px=tuple(drift.tolist()))
        self._network = network.to(instrument.device, memory_format=torch.channels_last)
        self._grid, self._spot_px = page_grid(instrument.field_px), spot_side_px(instrument.psf)
        device = instrument.device
        self._batch = AdaptiveBatch(_FRAMES_AT_ONCE[device.type], device, "localizing", "record a smaller field")

    def __call__(self, images: Tensor, registered: Tensor, level: Tensor) -> list[Findings]:
        """Molecules in photons above background (frames, planes, y, x), raw and registered, and the background."""
        instrument, parts, first = self._instrument, [], 0
        marks = self._marks(registered, level) if self._sparse else None
        with autocast(instrument.device, instrument.precision):  # around all frames: weights are converted once
            while first < len(registered):
                parts.append(self._batch.retry(partial(self._find, registered, marks, level, first)))
                first += self._batch.size
        return parts

    def _find(self, registered: Tensor, marks: Tensor | None, level: Tensor, first: int) -> Findings:
        """Molecules of as many frames as are computed at once, from `first` on."""
        some = slice(first, first + self._batch.size)
        frames = registered[some].contiguous(memory_format=torch.channels_last)
        maps = self._maps(frames, None if marks is None else marks[some])
        with torch.autocast(self._instrument.device.type, enabled=False):
            return self._read(maps, level, first)

    def _marks(self, registered: Tensor, level: Tensor) -> Tensor:
        """Pages (frames, rows, columns) where there is light."""
        with self._instrument.stopwatch("candidates"):
            variance = self._instrument.variance(level)
            return lit_pages(registered, variance, self._candidate_threshold, self._grid, _REACH_PX, self._spot_px)

    def _maps(self, frames: Tensor, marks: Tensor | None) -> Tensor:
        """The network's numbers for every pixel; with marks on pages, only for theirs."""
        with self._instrument.stopwatch("network"):
            return self._network(frames) if marks is None else maps_on_pages(self._network, frames, marks)

    def _read(self, maps: Tensor, level: Tensor, first: int) -> Findings:
        with self._instrument.stopwatch("maxima"):
            found = find_molecules(maps, self._units, self._threshold)
        position = found.position_nm.double()
        depths = torch.tensor(self._instrument.psf.plane_depths_nm, dtype=torch.float64, device=position.device)
        plane = (depths - position[:, 2:]).abs().argmin(dim=1)
        background = found.background + under(level, plane, self._instrument.on_planes(position))
        return Findings(
            found.image + first, position, found.position_sd_nm, found.probability, found.photons, background
        )
