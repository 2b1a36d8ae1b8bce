"""The files of a localization, read and checked against each other, and what all its steps share."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from planeloc.cameras.noise import PixelNoise
from planeloc.core.devices import in_large_groups
from planeloc.core.errors import PlanelocError
from planeloc.core.progress import Stopwatch
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.store import Movie
from planeloc.networks.training_match import worst_mistaken_depth
from planeloc.networks.weight_files import NetworkRecord, load_network
from planeloc.psf import PSF, read_psf
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.on_device import TransformsOnDevice
from planeloc.transforms.resampling import Resampler

_LOG = logging.getLogger(__name__)

_LEAST_BACKGROUND = 0.1  # photons; a pixel without background still has noise


class InputPaths(NamedTuple):
    """The files that a localization needs."""

    movie: Path
    registration: Path
    psf: Path
    weights: Path
    synchronization: Path | None = None  # puts the cameras of the movie in step


@dataclass(frozen=True)
class Inputs:
    """Contents of the files."""

    paths: InputPaths
    movie: Movie
    registration: Registration
    psf: PSF
    network: nn.Module
    record: NetworkRecord  # of the network

    @classmethod
    def read(cls, paths: InputPaths) -> Inputs:
        """Read the files.

        Raises
        ------
        PlanelocError : one cannot be read.
        """
        network, record = load_network(paths.weights, test=True)
        movie, registration = Movie.open(paths.movie, paths.synchronization), Registration.read(paths.registration)
        return cls(paths, movie, registration, read_psf(paths.psf), network, record)

    @property
    def field_px(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.movie.height, self.movie.width

    @property
    def reference_psf(self) -> PSF:
        """The PSF in the reference camera's frame."""
        return self.psf.in_reference_frame(self.registration.matrices)

    def check(self) -> None:
        """Check that the files agree in planes, field and pixel size; warn of a network for another PSF.

        Raises
        ------
        PlanelocError : the files disagree.
        """
        paths, movie, psf = self.paths, self.movie, self.psf
        planes = (movie.planes, self.registration.planes, psf.planes, self.record.architecture.planes)
        if len(set(planes)) > 1:
            listed = ", ".join(f"{path} has {n}" for path, n in zip(paths[:4], planes, strict=True))
            raise PlanelocError(f"number of planes differs: {listed}; calibrate and train for the movie's microscope")
        registered = self.registration.field_px
        if registered and registered != self.field_px:
            found, has = ("×".join(str(n) for n in reversed(shape)) for shape in (registered, self.field_px))
            raise PlanelocError(
                f"{paths.registration}: found from images of {found} pixels and the movie has {has}; register with"
                " beads recorded on the same part of the sensor"
            )
        if not math.isclose(psf.pixel_size_nm, movie.microscope.pixel_size_nm, rel_tol=1e-3):
            raise PlanelocError(
                f"{paths.psf}: pixels of {psf.pixel_size_nm:g} nm, but {movie.microscope.pixel_size_nm:g} nm in the"
                " movie; use one microscope file for both"
            )
        worst = worst_mistaken_depth(self.record, self.reference_psf)
        if worst > self.record.scene.voxel_depth_nm:
            _LOG.warning(
                f"{paths.weights} was trained for another PSF: depths will be wrong by up to {worst:.0f} nm;"
                " see `planeloc train`"
            )


@dataclass(frozen=True)
class LocalizationContext(Inputs):
    """The contents of the files, and how and where to compute."""

    settings: LocalizeSettings  # with a threshold
    resampler: Resampler
    device: torch.device
    precision: torch.dtype
    drift_sd_nm: tuple[float, ...]  # inter-camera drift of planes 1… along one axis, from frame to frame; 0: none
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def variance(self, background: Tensor) -> Tensor:
        """Variance of background (planes, y, x) on the reference camera's pixels; 0 where a plane has no sensor."""
        noise = PixelNoise.of(self.movie.microscope.cameras).to(background)
        variance = noise.variance(background.clamp(min=_LEAST_BACKGROUND))
        variance, covered = self.resampler(torch.stack((variance, torch.ones_like(variance))))
        return torch.where(covered > 0.5, variance / covered, 0.0)

    def on_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2) px: positions on every camera of molecules at (n, 2 or 3) nm of the reference camera."""
        lateral = position[:, :2] / self.psf.pixel_size_nm
        if in_large_groups(self.device):
            return self._transforms.positions(lateral)
        lateral = lateral.cpu().numpy()
        mapped = [torch.as_tensor(transform(lateral)) for transform in self.registration.transforms]
        return torch.stack(mapped, dim=1).to(self.device)

    def axes_of_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2, 2): derivatives of these positions by (x, y) of the reference camera."""
        lateral = position[:, :2] / self.psf.pixel_size_nm
        if in_large_groups(self.device):
            return self._transforms.jacobians(lateral)
        lateral = lateral.cpu().numpy()
        axes = [torch.from_numpy(transform.jacobian(lateral).copy()) for transform in self.registration.transforms]
        return torch.stack(axes, dim=1).to(self.device)

    def best_focused_plane(self, z_nm: Tensor) -> Tensor:
        """(n,) plane whose focus is nearest to depths (n,)."""
        return (self._depths_nm - z_nm[:, None]).abs().argmin(dim=1)

    @cached_property
    def _depths_nm(self) -> Tensor:
        return torch.tensor(self.psf.plane_depths_nm, dtype=torch.float64, device=self.device)

    @cached_property
    def _transforms(self) -> TransformsOnDevice:
        return TransformsOnDevice.of(self.registration, self.device)
