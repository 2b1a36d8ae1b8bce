"""What the regression network learns: how many molecules there are, where, and how surely it knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.networks.decoding import Found, Units, find_molecules, window_drift
from planeloc.networks.record import NetworkRecord
from planeloc.networks.regression import Architecture
from planeloc.psf import PSF
from planeloc.scenes.matching import Points, match
from planeloc.scenes.random_density import DenseScenes, draw_dense_scenes
from planeloc.scenes.scene import Scene
from planeloc.training.mixture_loss import Truth, regression_loss
from planeloc.training.settings import TrainSettings

Array = NDArray[np.float64]

_THRESHOLD = 0.3
_FORWARD_AT_ONCE = 64  # images
_LATERAL_NM, _AXIAL_NM = 250.0, 500.0  # how far a molecule may be found from where it is


class MoleculeTask:
    """Likelihood of the molecules of crowded and empty scenes."""

    gradient_limit = 100.0
    warmup = 200

    def __init__(self, psf: PSF, scene: Scene, settings: TrainSettings, generator: torch.Generator) -> None:
        self._psf, self._scene = psf, scene
        noise = scene.pixel_noise(1)
        dark = float(noise.slope[0]) * scene.background[1] + float(noise.read_variance[0])
        self.record = NetworkRecord(_architecture(psf, settings), psf, scene, float(f"{dark:.1e}"))
        self._units = self.record.units

    def draw(self, size: int, generator: torch.Generator) -> DenseScenes:
        return draw_dense_scenes(self._psf, self._scene, size, generator)

    def loss(self, forward: Callable[[Tensor], Tensor], batch: DenseScenes) -> Tensor:
        maps = forward(batch.images).float()
        return regression_loss(maps, truth_in_units(batch, self._units), self._units.drift_sd_px)

    def validate(self, forward: Callable[[Tensor], Tensor], batches: Iterable[DenseScenes]) -> dict[str, float]:
        """Loss; Jaccard index and rms errors of what is found; rms pulls, which are 1 where deviations are true."""
        images, loss, pairings, drift_error = 0, 0.0, [], []
        for batch in batches:
            maps = _maps(forward, batch)
            own = regression_loss(maps, truth_in_units(batch, self._units), self._units.drift_sd_px)
            drift = window_drift(maps, self._units.drift_sd_px)
            pairings.append(pair(find_molecules(maps, self._units, _THRESHOLD, drift), batch))
            drift_error.append(drift.mean * self._units.pixel_size_nm - batch.drift_nm[:, 1:])
            loss, images = loss + float(own) * len(batch), images + len(batch)
        return {
            "validation_loss": loss / images,
            **score(Pairing.joined(pairings)),
            "drift_nm": float(torch.cat(drift_error).square().mean().sqrt()),  # per plane and axis
        }

    def examine(self, network: Callable[[Tensor], Tensor], batch: DenseScenes, record: NetworkRecord) -> Pairing:
        """What a trained network finds of the molecules of a batch; its record knows its deviations."""
        return pair(find_molecules(_maps(network, batch), record.units, _THRESHOLD), batch)


def _maps(forward: Callable[[Tensor], Tensor], batch: DenseScenes) -> Tensor:
    """What the network says of all images of a batch."""
    return torch.cat([forward(some) for some in batch.images.split(_FORWARD_AT_ONCE)])


def truth_in_units(batch: DenseScenes, units: Units) -> Truth:
    """The molecules of a batch as the loss wants them."""
    lateral = batch.positions_nm[:, :2] / units.pixel_size_nm
    depth = (batch.positions_nm[:, 2:] - units.middle_nm) / units.half_depth_nm
    target = torch.cat((lateral, depth, batch.photons[:, None] / units.photons), dim=1)
    return Truth(batch.image, target, batch.background, batch.drift_nm[:, 1:] / units.pixel_size_nm)


@dataclass(frozen=True)
class Pairing:
    """Molecules that are there and those that were found of them."""

    position_nm: Array  # (n, 3) of the true ones as x, y, z
    photons: Array  # (n,)
    error_nm: Array  # (n, 3) found less true; NaN where it was missed
    sd_nm: Array  # (n, 3) that was stated; NaN where it was missed
    invented: int  # found where none is

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,)"""
        return ~np.isnan(self.error_nm[:, 0])

    @classmethod
    def joined(cls, parts: list[Pairing]) -> Pairing:
        names = ("position_nm", "photons", "error_nm", "sd_nm")
        arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        return cls(*arrays, sum(part.invented for part in parts))


def pair(found: Found, truth: DenseScenes) -> Pairing:
    """Match what was found with what is there."""
    found_points, true_points = (
        Points(image.cpu().numpy(), position.double().cpu().numpy())
        for image, position in ((found.image, found.position_nm), (truth.image, truth.positions_nm))
    )
    pairs = match(found_points, true_points, _LATERAL_NM, _AXIAL_NM)
    error, sd = (np.full((len(true_points), 3), np.nan) for _ in range(2))
    error[pairs.truth] = found_points.position_nm[pairs.found] - true_points.position_nm[pairs.truth]
    sd[pairs.truth] = found.position_sd_nm.double().cpu().numpy()[pairs.found]
    photons = truth.photons.double().cpu().numpy()
    return Pairing(true_points.position_nm, photons, error, sd, len(found_points) - len(pairs))


def score(pairing: Pairing) -> dict[str, float]:
    """Jaccard index, rms errors in nm, and rms of errors over their stated deviations along x, y and z."""
    found = pairing.found
    jaccard = int(found.sum()) / max(len(found) + pairing.invented, 1)
    if not found.any():  # as bad as can be
        return {"jaccard": jaccard, "lateral_nm": _LATERAL_NM, "axial_nm": _AXIAL_NM}
    error, pull = pairing.error_nm[found], (pairing.error_nm / pairing.sd_nm)[found]
    squares, pulls = (error**2).mean(axis=0), (pull**2).mean(axis=0)
    return {
        "jaccard": jaccard,
        "lateral_nm": math.sqrt(squares[0] + squares[1]),
        "axial_nm": math.sqrt(squares[2]),
        **{f"pull_{axis}": math.sqrt(value) for axis, value in zip("xyz", pulls, strict=True)},
    }


def _architecture(psf: PSF, settings: TrainSettings) -> Architecture:
    try:
        channels = tuple(int(c) for c in settings.channels.split(","))
    except ValueError:
        channels = ()
    if len(channels) != 3 or min(channels) < 1:
        raise PlanelocError(
            f"setting channels: {settings.channels!r} must be 3 whole numbers for the regression network"
        )
    return Architecture(psf.planes, channels)
