"""How well a position can be known: Fisher information of an image and the Cramér–Rao bound.

Pixels are taken as normal variables of the variance that the camera gives them, which is what a maximum-likelihood
fit with read noise assumes (Huang et al. 2013, Nat. Methods 10, 653; Smith et al. 2010, Nat. Methods 7, 373 for the
bound). Each plane's background is unknown, too, and eliminated.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.psf.base import PSF

_WINDOW_NM = 3000.0  # of the images that a bound is worked out for
_AT_ONCE = 200  # emitters: bounds the memory of the derivatives


def without_backgrounds(
    weights: Tensor, derivatives: Tensor, background_known: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Information about the parameters when every plane's background is unknown, or known for sure.

    Parameters
    ----------
    weights : (..., planes, rows, columns), inverse variances; 0 where a pixel is not used.
    derivatives : (..., planes, rows, columns, p).
    background_known : of a known background there is information without end, and it takes none of the others'.

    Returns
    -------
    information (..., p, p); its parts that elimination needs: cross (..., p, planes) and own (..., planes).
    """
    weighted = weights[..., None] * derivatives
    flat, plain = weighted.flatten(-4, -2), derivatives.flatten(-4, -2)
    cross = weighted.sum(dim=(-3, -2)).transpose(-1, -2)
    own = weights.sum(dim=(-2, -1)).clamp(min=1e-30)
    if background_known:
        own = torch.full_like(own, torch.inf)
    full = flat.transpose(-1, -2) @ plain
    return full - (cross / own[..., None, :]) @ cross.transpose(-1, -2), cross, own


def plane_information(
    psf: PSF,
    x_nm: Tensor,
    y_nm: Tensor,
    z_nm: Tensor,
    photons: Tensor,
    background: Tensor,
    noise: PixelNoise,
    shape: tuple[int, int],
    plane_shifts_nm: Tensor | None = None,
    background_known: bool = False,
) -> Tensor:
    """Information (..., planes, 4, 4) of every plane's image alone about x, y, z (nm) and photons.

    `background` (..., planes) photons per pixel; the other parameters as in `PSF.expected_photons`.
    """
    expected, derivatives = psf.expected_photons_and_derivatives(
        x_nm, y_nm, z_nm, photons, shape, plane_shifts_nm, background
    )
    weights = 1 / noise.to(expected).variance(expected)
    return without_backgrounds(weights.unsqueeze(-3), derivatives.unsqueeze(-4), background_known)[0]


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
    """Information (..., 4, 4) of all planes about x, y, z (nm) and photons, every plane's background unknown.

    The parameters are those of `plane_information`.
    """
    of_planes = plane_information(psf, x_nm, y_nm, z_nm, photons, background, noise, shape, plane_shifts_nm)
    return of_planes.sum(dim=-3)


def bound(information: Tensor) -> Tensor:
    """Cramér–Rao bound (..., p): the smallest standard deviations of an unbiased estimate."""
    scale = torch.diagonal(information, dim1=-2, dim2=-1).clamp(min=1e-300).rsqrt()
    scaled = information * scale[..., :, None] * scale[..., None, :]
    inverse = torch.linalg.inv(scaled)
    return torch.diagonal(inverse, dim1=-2, dim2=-1).sqrt() * scale


def position_bound(
    psf: PSF,
    noise: PixelNoise,
    position_nm: NDArray[np.float64],
    photons: NDArray[np.float64],
    background: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n, 3) Cramér–Rao bound of x, y and z of single, isolated emitters, nm, with the cameras' maps known.

    `position_nm` (n, 3), `photons` (n,) of all planes, `background` (n,) photons per pixel, alike on all planes.
    """
    x, y, z = torch.from_numpy(np.ascontiguousarray(position_nm.T)).double()
    pixel = psf.pixel_size_nm
    side = 2 * round(_WINDOW_NM / pixel / 2) + 1
    middle = (side // 2) * pixel
    x, y = (middle + torch.remainder(axis, pixel) for axis in (x, y))
    light = torch.from_numpy(np.maximum(photons, 1e-3)).double()
    level = torch.from_numpy(np.asarray(background)).double()[:, None].expand(-1, psf.planes)
    shape = (side, side)
    bounds = [np.empty((0, 3))]
    for start in range(0, len(z), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        information = fisher_information(psf, x[part], y[part], z[part], light[part], level[part], noise, shape)
        bounds.append(bound(information)[:, :3].numpy())
    return np.concatenate(bounds)
