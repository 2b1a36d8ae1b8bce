"""How well a position can be known: Fisher information of an image and the Cramér–Rao bound.

Pixels are taken as normal variables of the variance that the camera gives them, which is what a maximum-likelihood
fit with read noise assumes (Huang et al. 2013, Nat. Methods 10, 653; Smith et al. 2010, Nat. Methods 7, 373 for the
bound). Each plane's background is unknown, too, and eliminated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.camera import Camera
from planeloc.optics.base import PSF

_DARKEST_PHOTONS = 0.05  # taken for darker pixels, which without read noise would count without limit


@dataclass(frozen=True)
class PixelNoise:
    """Variance of a pixel, photons²: slope · expected + read variance, one of each per plane."""

    slope: Tensor  # (planes,)
    read_variance: Tensor  # (planes,)

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> PixelNoise:
        """Shot noise of the photoelectrons with its EM excess, and read noise."""
        slopes = [camera.excess_noise / camera.quantum_efficiency for camera in cameras]
        variances = [camera.read_noise_photons() ** 2 for camera in cameras]
        return cls(torch.tensor(slopes, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64))

    def repeated(self, plane: int, times: int) -> PixelNoise:
        """The noise of one plane's camera for every slice of its scan."""
        return PixelNoise(self.slope[plane].expand(times), self.read_variance[plane].expand(times))

    def to(self, like: Tensor) -> PixelNoise:
        return PixelNoise(self.slope.to(like), self.read_variance.to(like))

    def variance(self, expected: Tensor) -> Tensor:
        """Of expected photons (..., planes, rows, columns), never quite zero."""
        slope, read = self.slope[:, None, None], self.read_variance[:, None, None]
        return slope * expected.clamp(min=_DARKEST_PHOTONS) + read


def without_backgrounds(weights: Tensor, derivatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Information about the parameters when every plane's background is unknown.

    Parameters
    ----------
    weights : (..., planes, rows, columns), inverse variances; 0 where a pixel is not used.
    derivatives : (..., planes, rows, columns, p).

    Returns
    -------
    information (..., p, p); its parts that elimination needs: cross (..., p, planes) and own (..., planes).
    """
    weighted = weights[..., None] * derivatives
    flat, plain = weighted.flatten(-4, -2), derivatives.flatten(-4, -2)
    cross = weighted.sum(dim=(-3, -2)).transpose(-1, -2)
    own = weights.sum(dim=(-2, -1)).clamp(min=1e-30)
    full = flat.transpose(-1, -2) @ plain
    return full - (cross / own[..., None, :]) @ cross.transpose(-1, -2), cross, own


def fisher_information(
    psf: PSF,
    x_nm: Tensor,
    y_nm: Tensor,
    z_nm: Tensor,
    photons: Tensor,
    background: Tensor,
    noise: PixelNoise,
    shape: tuple[int, int],
    plane_shifts_nm: Tensor | None = None,
) -> Tensor:
    """Information (..., 4, 4) of an image about x, y, z (nm) and photons, every plane's background unknown.

    `background` (..., planes) photons per pixel; the other parameters as in `PSF.expected_photons`.
    """
    expected, derivatives = psf.expected_photons_and_derivatives(
        x_nm, y_nm, z_nm, photons, shape, plane_shifts_nm, background
    )
    return without_backgrounds(1 / noise.to(expected).variance(expected), derivatives)[0]


def bound(information: Tensor) -> Tensor:
    """Cramér–Rao bound (..., p): the smallest standard deviations of an unbiased estimate."""
    scale = torch.diagonal(information, dim1=-2, dim2=-1).clamp(min=1e-300).rsqrt()
    scaled = information * scale[..., :, None] * scale[..., None, :]
    inverse = torch.linalg.inv(scaled)
    return torch.diagonal(inverse, dim1=-2, dim2=-1).sqrt() * scale
