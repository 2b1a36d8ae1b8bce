"""Looking up registered pixels in raw camera images, on whatever device the images are.

The network wants the planes on one grid; the cameras deliver four. Instead of resampling movies on disk, every plane is
sampled at the mapped position of each reference pixel when it is needed. Cubic interpolation keeps more of an
undersampled PSF than linear does (at half a pixel, linear adds 0.25 px² to the squared width); what blur is left,
training shows to the network.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from planeloc.geometry import Registration


def reference_grid(x0: int, y0: int, width: int, height: int) -> Tensor:
    """Pixel centres (height, width, 2) as (x, y) of a window of the reference field, px from the outer corner."""
    y, x = torch.meshgrid(
        torch.arange(y0, y0 + height, dtype=torch.float64) + 0.5,
        torch.arange(x0, x0 + width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y), dim=-1)


def map_grid(grid: Tensor, registration: Registration) -> Tensor:
    """Positions (planes, height, width, 2) on every camera of the points of a reference grid (height, width, 2)."""
    return torch.stack([torch.as_tensor(m(grid.numpy())) for m in registration.maps])


def sample_planes(images: Tensor, positions_px: Tensor) -> Tensor:
    """Interpolate every plane at given positions.

    Parameters
    ----------
    images : (batch, planes, rows, columns)
    positions_px : (planes, height, width, 2) or (batch, planes, height, width, 2)
        (x, y) from the outer corner of pixel (0, 0). Outside the sensor the result is 0, so subtract the background
        first.

    Returns
    -------
    (batch, planes, height, width)
    """
    batch, planes, rows, columns = images.shape
    if positions_px.dim() == 4:
        positions_px = positions_px.expand(batch, *positions_px.shape)
    height, width = positions_px.shape[2:4]
    size = torch.tensor([columns, rows], dtype=positions_px.dtype, device=positions_px.device)
    grid = (2 * positions_px / size - 1).to(images.dtype).reshape(batch * planes, height, width, 2)
    sampled = functional.grid_sample(
        images.reshape(batch * planes, 1, rows, columns), grid, "bicubic", padding_mode="zeros", align_corners=False
    )
    return sampled.reshape(batch, planes, height, width)
