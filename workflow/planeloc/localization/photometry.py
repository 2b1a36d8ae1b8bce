"""Photons and background of molecules at known positions."""

from __future__ import annotations

import torch
from torch import Tensor

from planeloc.psf import PSF, Emitters

_WINDOW_PX = 7


def fit_photons(
    residual: Tensor, psf: PSF, positions_px: Tensor, z_nm: Tensor, image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Photons of molecules at known positions, by linear least squares over a window on every plane.

    Parameters
    ----------
    residual : Tensor
        (batch, planes, rows, columns): photons above background.
    positions_px : Tensor
        (n, planes, 2): (x, y) of every molecule on every camera, px.
    z_nm, image : Tensor
        (n,): depth, and index in the batch.

    Returns
    -------
    photons : Tensor
        (n,), summed over all planes.
    brightest : Tensor
        (n,): the plane on which the molecule's peak is highest.
    offset : Tensor
        (n,): photons per pixel on that plane that the background does not account for.
    """
    n, planes = positions_px.shape[:2]
    rows, columns = residual.shape[-2:]
    side = min(_WINDOW_PX, rows, columns)
    corner = (positions_px - side / 2).round().long()
    limit = torch.tensor([columns - side, rows - side], device=residual.device)
    corner = corner.clamp(min=torch.zeros_like(limit), max=limit)
    steps = torch.arange(side, device=residual.device)
    index_y = (corner[..., 1, None] + steps)[..., :, None]
    index_x = (corner[..., 0, None] + steps)[..., None, :]
    plane = torch.arange(planes, device=residual.device)[None, :, None, None]
    data = residual[image[:, None, None, None], plane, index_y, index_x]
    shift_nm = (positions_px - corner).to(z_nm.dtype) * psf.pixel_size_nm
    zero = torch.zeros_like(z_nm)
    emitters = Emitters(zero, zero, z_nm, torch.ones_like(z_nm), shift_nm)
    model = psf.expected_photons(emitters, (side, side)).to(data.dtype)
    mean_model, mean_data = model.mean(dim=(2, 3), keepdim=True), data.mean(dim=(2, 3), keepdim=True)
    centred = model - mean_model
    photons = (centred * (data - mean_data)).sum(dim=(1, 2, 3)) / (centred**2).sum(dim=(1, 2, 3)).clamp(min=1e-12)
    offset = (mean_data - photons[:, None, None, None] * mean_model)[..., 0, 0]
    brightest = model.amax(dim=(2, 3)).argmax(dim=1)
    return photons, brightest, offset[torch.arange(n, device=offset.device), brightest]
