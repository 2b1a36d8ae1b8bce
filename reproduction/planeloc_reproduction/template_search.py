"""A coarse guess of one emitter per image, found without any start: the template that explains the image best.

Templates are the point spread function's images on a grid of half pixels and depths. Each is scaled to the image by
least squares with every plane's noise; the one that takes most from the sum of squares wins (a matched filter, or
normalised correlation). Templates reach beyond the image where an emitter is at its edge: their photons outside neither
helps nor counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from planeloc.cameras.noise import PixelNoise
from planeloc.psf import PSF, Emitters

_PHASES = (0.25, 0.75)  # of a pixel: where templates stand along each axis
_DEPTH_STEP_NM = 100.0
_BEYOND_NM = 300.0  # the first and last plane
_REACH_NM = 1200.0  # of a template on either side
_AT_ONCE_BYTES = 64 << 20  # of correlations


def first_guess(psf: PSF, images: Tensor, noise: PixelNoise, background: Tensor | None = None) -> Tensor:
    """Place, depth and photons of the template that explains each image best.

    Parameters
    ----------
    images : (n, planes, rows, columns) photons with their background.
    background : (n, planes) photons per pixel; the planes' medians by default.

    Returns
    -------
    (n, 4) x, y, z (nm) and photons, float64; photons are 0 where no template explains anything.
    """
    if background is None:
        background = images.flatten(2).median(dim=2).values
    above = (images - background[..., None, None]).float()
    level = background[..., None, None]
    weights = (1 / noise.to(level).variance(level)).float()  # (n, planes, 1, 1)
    depths, kernels = _templates(psf, images.shape[2:])
    kernels = kernels.to(above)
    padding = (kernels.shape[2] // 2, kernels.shape[3] // 2)
    everywhere = torch.ones(1, 1, *images.shape[2:]).to(above)
    seen = torch.cat([conv2d(everywhere, plane**2, padding=padding) for plane in kernels.split(1, dim=1)])
    size = max(1, _AT_ONCE_BYTES // (4 * seen[0].numel()))
    guesses = [above.new_zeros(0, 4).double()]
    for part, weight in zip(above.split(size), weights.split(size), strict=True):
        match = conv2d(weight * part, kernels, padding=padding).clamp(min=0)
        energy = torch.einsum("np,pkrc->nkrc", weight[..., 0, 0], seen).clamp(min=1e-12)
        best = (match**2 / energy).flatten(1).argmax(dim=1)
        photons = (match / energy).flatten(1).gather(1, best[:, None])[:, 0]
        guesses.append(torch.stack((*_place(psf, best, seen.shape, depths), photons.double()), dim=1))
    return torch.cat(guesses)


def _templates(psf: PSF, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Depths (k,) and images of one photon (k · phases², planes, rows, columns), odd numbers of pixels."""
    sides = [2 * min(round(_REACH_NM / psf.pixel_size_nm), length - 1) + 1 for length in shape]
    low, high = min(psf.plane_depths_nm) - _BEYOND_NM, max(psf.plane_depths_nm) + _BEYOND_NM
    depths = torch.arange(low, high + 1, _DEPTH_STEP_NM, dtype=torch.float64)
    phases = torch.tensor(_PHASES, dtype=torch.float64)
    z, y, x = (axis.flatten() for axis in torch.meshgrid(depths, phases, phases, indexing="ij"))
    x, y = ((phase + side // 2) * psf.pixel_size_nm for phase, side in ((x, sides[1]), (y, sides[0])))
    return depths, psf.expected_photons(Emitters(x, y, z, torch.ones_like(z)), (sides[0], sides[1])).float()


def _place(psf: PSF, best: Tensor, shape: torch.Size, depths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z (n,) of the best of (planes, depths · phases², rows, columns) templates."""
    phases = torch.tensor(_PHASES, dtype=torch.float64, device=best.device)
    along = len(_PHASES)
    template, pixel = best // (shape[2] * shape[3]), best % (shape[2] * shape[3])
    x = (pixel % shape[3] + phases[template % along]) * psf.pixel_size_nm
    y = (pixel // shape[3] + phases[template // along % along]) * psf.pixel_size_nm
    return x, y, depths.to(best.device)[template // along**2]
