"""Fisher information of an image about an emitter, and the Cramér–Rao bound of its localization.

Pixels are normal variables with the camera's variance, as in maximum-likelihood fits with read noise (Huang et al.
2013, Nat. Methods 10, 653; Smith et al. 2010, Nat. Methods 7, 373 for the bound). Each plane's background is unknown
and eliminated.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.psf.base import PSF, Emitters

LEAST_PHOTONS = 1e-3  # of an emitter whose bound is computed
_WINDOW_NM = 3000.0  # of the images that a bound is computed for
_EMITTERS_AT_ONCE = 200  # limits the memory of the derivatives


def without_backgrounds(
    weights: Tensor, derivatives: Tensor, background_known: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Information about the parameters with every plane's background eliminated.

    Parameters
    ----------
    weights : (..., planes, rows, columns) inverse variances; 0 where a pixel is not used.
    derivatives : (..., planes, rows, columns, p).
    background_known : whether the backgrounds are known exactly.

    Returns
    -------
    information : (..., p, p), about the parameters.
    cross : (..., p, planes), between parameters and backgrounds.
    own : (..., planes), about the backgrounds.
    """
    weighted = weights[..., None] * derivatives
    flat, unweighted = weighted.flatten(-4, -2), derivatives.flatten(-4, -2)
    cross = weighted.sum(dim=(-3, -2)).transpose(-1, -2)
    own = weights.sum(dim=(-2, -1)).clamp(min=1e-30)
    if background_known:
        own = torch.full_like(own, torch.inf)
    full = flat.transpose(-1, -2) @ unweighted
    return full - (cross / own[..., None, :]) @ cross.transpose(-1, -2), cross, own


def plane_information(
    psf: PSF, emitters: Emitters, noise: PixelNoise, shape: tuple[int, int], background_known: bool = False
) -> Tensor:
    """Information (..., planes, 4, 4) of every single plane about x, y, z (nm) and photons of each emitter.

    Parameters
    ----------
    emitters : of shape (...).
    shape : rows and columns of the window.
    background_known : otherwise the background of every plane is estimated, too.
    """
    expected, derivatives = psf.expected_photons_and_derivatives(emitters, shape)
    weights = 1 / noise.to(expected).variance(expected)
    return without_backgrounds(weights.unsqueeze(-3), derivatives.unsqueeze(-4), background_known)[0]


def fisher_information(psf: PSF, emitters: Emitters, noise: PixelNoise, shape: tuple[int, int]) -> Tensor:
    """Information (..., 4, 4) of all planes about x, y, z (nm) and photons, every plane's background unknown."""
    return plane_information(psf, emitters, noise, shape).sum(dim=-3)


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
    """(n, 3) Cramér–Rao bound of x, y and z of single, isolated emitters, nm, with known camera transforms.

    `position_nm` (n, 3), `photons` (n,) of all planes, `background` (n,) photons per pixel, the same on all planes.
    """
    x, y, z = torch.from_numpy(np.ascontiguousarray(position_nm.T)).double()
    pixel = psf.pixel_size_nm
    side = 2 * round(_WINDOW_NM / pixel / 2) + 1
    middle = (side // 2) * pixel
    x, y = (middle + torch.remainder(axis, pixel) for axis in (x, y))
    total = torch.from_numpy(np.maximum(photons, LEAST_PHOTONS)).double()
    level = torch.from_numpy(np.asarray(background)).double()[:, None].expand(-1, psf.planes)
    emitters = Emitters(x, y, z, total, background=level)
    bounds = [np.empty((0, 3))]
    for part in torch.arange(len(z)).split(_EMITTERS_AT_ONCE):
        information = fisher_information(psf, emitters[part], noise, (side, side))
        bounds.append(bound(information)[:, :3].numpy())
    return np.concatenate(bounds)
