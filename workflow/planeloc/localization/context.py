"""What all steps of a localization share: the movie with its transforms, PSF and network record, and the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.core.progress import Stopwatch
from planeloc.movie.store import Movie
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.resampling import Resampler

_LEAST_BACKGROUND = 0.1  # photons; a pixel without background still has noise


@dataclass(frozen=True)
class LocalizationContext:
    """A movie's microscope, the network's record, and where to compute."""

    movie: Movie
    registration: Registration
    psf: PSF
    record: NetworkRecord
    resampler: Resampler
    device: torch.device
    precision: torch.dtype
    stopwatch: Stopwatch
    drift_sd_nm: tuple[float, ...]  # inter-camera drift of planes 1… along one axis, from frame to frame; 0: none

    @property
    def field_px(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.movie.height, self.movie.width

    @property
    def reference_psf(self) -> PSF:
        """The PSF in the reference camera's frame."""
        return self.psf.in_reference_frame(self.registration.matrices)

    def variance(self, background: Tensor) -> Tensor:
        """Variance of background (planes, y, x) on the reference camera's pixels; 0 where a plane has no sensor."""
        noise = PixelNoise.of(self.movie.microscope.cameras).to(background)
        variance = noise.variance(background.clamp(min=_LEAST_BACKGROUND))
        variance, covered = self.resampler(torch.stack((variance, torch.ones_like(variance))))
        return torch.where(covered > 0.5, variance / covered, 0.0)

    def on_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2) px: positions on every camera of molecules at (n, 2 or 3) nm of the reference camera."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        mapped = [torch.as_tensor(transform(lateral)) for transform in self.registration.transforms]
        return torch.stack(mapped, dim=1).to(self.device)

    def axes_of_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2, 2): derivatives of these positions by (x, y) of the reference camera."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        axes = [torch.from_numpy(transform.jacobian(lateral).copy()) for transform in self.registration.transforms]
        return torch.stack(axes, dim=1).to(self.device)

    def best_focused_plane(self, z_nm: Tensor) -> Tensor:
        """(n,) plane whose focus is nearest to depths (n,)."""
        depths = torch.tensor(self.psf.plane_depths_nm, dtype=torch.float64, device=z_nm.device)
        return (depths - z_nm[:, None]).abs().argmin(dim=1)
