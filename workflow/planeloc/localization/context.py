"""What is known of a movie's microscope while it is localized, and what is found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.core.stopwatch import Stopwatch
from planeloc.movie.store import Movie
from planeloc.networks.record import NetworkRecord
from planeloc.psf import PSF
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.resampling import Resampler

_LEAST_BACKGROUND = 0.1  # photons; a pixel of which none are known still has noise


@dataclass(frozen=True)
class Instrument:
    """The microscope of a movie, and where to compute."""

    movie: Movie
    registration: Registration
    psf: PSF
    record: NetworkRecord  # of the network
    resampler: Resampler
    device: torch.device
    precision: torch.dtype
    stopwatch: Stopwatch
    drift_sd_nm: tuple[float, ...]  # of planes 1… along one axis, from frame to frame; 0: they do not drift

    @property
    def field_px(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.movie.height, self.movie.width

    @property
    def seen_psf(self) -> PSF:
        """The PSF in the reference camera's frame."""
        return self.psf.seen_through(self.registration.matrices)

    def variance(self, level: Tensor) -> Tensor:
        """Of the background (planes, y, x), on the reference's pixels; 0 where a plane's sensor does not reach."""
        cameras = self.movie.microscope.cameras
        variance = PixelNoise.of(cameras).to(level).variance(level.clamp(min=_LEAST_BACKGROUND))
        variance, covered = self.resampler(torch.stack((variance, torch.ones_like(variance))))
        return torch.where(covered > 0.5, variance / covered, 0.0)

    def on_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2) px: where molecules at (n, 2 or 3) nm of the reference lie on every camera."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        mapped = [torch.as_tensor(camera_map(lateral)) for camera_map in self.registration.maps]
        return torch.stack(mapped, dim=1).to(self.device)

    def axes_of_planes(self, position: Tensor) -> Tensor:
        """(n, planes, 2, 2): derivatives of those places by (x, y) on the reference."""
        lateral = (position[:, :2] / self.psf.pixel_size_nm).cpu().numpy()
        axes = [torch.from_numpy(camera_map.jacobian(lateral).copy()) for camera_map in self.registration.maps]
        return torch.stack(axes, dim=1).to(self.device)


def under(level: Tensor, plane: Tensor, mapped: Tensor) -> Tensor:
    """(n,) of the background `level` (planes, y, x), under molecules at `mapped` (n, planes, 2) px, on a plane each."""
    x, y = mapped[torch.arange(len(plane), device=plane.device), plane].floor().long().unbind(-1)
    rows, columns = level.shape[1:]
    return level[plane, y.clamp(0, rows - 1), x.clamp(0, columns - 1)]


@dataclass(frozen=True)
class Findings:
    """Molecules of some frames, of which the first is 0; nm of the reference field, photons."""

    frame: Tensor  # (n,)
    position: Tensor  # (n, 3): x, y, z
    deviation: Tensor  # (n, 3)
    probability: Tensor  # (n,)
    photons: Tensor  # (n,)
    background: Tensor  # (n,), per pixel, on the plane in best focus

    def at(self, rows: Tensor) -> Findings:
        """Those of the rows that are named, or for which `rows` is true."""
        return Findings(*(values[rows] for values in self._values))

    def double(self) -> Findings:
        return Findings(self.frame, *(values.double() for values in self._values[1:]))

    def replaced(self, rows: Tensor, others: Findings) -> Findings:
        """With other values in the rows that are named."""
        return Findings(*(a.index_copy(0, rows, b) for a, b in zip(self._values, others._values, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence[Findings]) -> Findings:
        return cls(*(torch.cat(values) for values in zip(*(part._values for part in parts), strict=True)))

    @property
    def _values(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


class Finder(Protocol):
    """A network of some kind and how its molecules are found."""

    def __call__(self, images: Tensor, registered: Tensor, level: Tensor) -> list[Findings]:
        """Molecules in photons above background (frames, planes, y, x), raw and registered, and the background."""
