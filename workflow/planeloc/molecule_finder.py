"""Molecules by the regression network: whole frames, since it costs little and its answers are few."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from planeloc.devices import autocast
from planeloc.instrument import Findings, Instrument, under
from planeloc.networks.decoding import find_molecules
from planeloc.networks.regression import RegressionNetwork

_FRAMES_AT_ONCE = {"cpu": 1, "cuda": 20}


class MoleculeFinder:
    """The regression network."""

    def __init__(self, instrument: Instrument, network: RegressionNetwork, threshold: float) -> None:
        """`threshold`: of a molecule's probability."""
        self._instrument, self._threshold = instrument, threshold
        drift_sd_px = instrument.drift_sd_nm / instrument.psf.pixel_size_nm
        self._units = replace(instrument.record.units, drift_sd_px=drift_sd_px)
        self._network = network.to(instrument.device, memory_format=torch.channels_last)

    def __call__(self, images: Tensor, registered: Tensor, level: Tensor) -> list[Findings]:
        """Molecules in photons above background (frames, planes, y, x), raw and registered, and the background."""
        instrument, step = self._instrument, _FRAMES_AT_ONCE[self._instrument.device.type]
        parts = []
        with autocast(instrument.device, instrument.precision):  # around all frames: weights are converted once
            for first in range(0, len(registered), step):
                frames = registered[first : first + step].contiguous(memory_format=torch.channels_last)
                with instrument.stopwatch("network"):
                    maps = self._network(frames)
                with torch.autocast(instrument.device.type, enabled=False):
                    parts.append(self._read(maps, level, first))
        return parts

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
