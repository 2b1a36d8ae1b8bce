"""The windows of pixels around molecules, on every plane, and which of them overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from planeloc.fitting.normal_equations import Pairs
from planeloc.psf import PSF

_REACH_WAISTS = 7.5  # half a window
_PAIRS_REACH = 0.75  # of a window: molecules farther apart are not coupled in the equations


@dataclass(frozen=True)
class Views:
    """The windows of pixels around the molecules, on every plane."""

    pixel: Tensor  # (n, planes, pixels) name of the pixel: one of its numbers among all pixels of all windows
    corner: Tensor  # (n, planes, 2) column and row
    inside: Tensor  # (n, planes, pixels) 1 where there is a pixel, else 0
    use: Tensor  # (n, planes, pixels) 1 where it counts, else 0
    share: Tensor  # (n, planes, pixels) one over how many windows have this pixel
    photons: Tensor  # (n, planes, pixels), background included
    level: Tensor  # (n, planes, pixels), background
    side: int

    def sum_of_overlaps(self, values: Tensor) -> Tensor:
        """The windows (n, planes, pixels) added up where they overlap."""
        return _added(values, self.pixel)


def window_side(psf: PSF) -> int:
    """Pixels along a window, odd."""
    return 2 * round(_REACH_WAISTS * psf.gaussian.waist_nm / psf.pixel_size_nm) + 1


def look(
    images: Tensor, level: Tensor, frame: Tensor, mapped_px: Tensor, side: int, ceiling: Tensor | None = None
) -> Views:
    """Windows around molecules (n,) at (n, planes, 2).

    Pixels beyond the sensor, saturated ones and those that are no numbers do not count.
    """
    planes, rows, columns = images.shape[1:]
    corner = mapped_px.floor().long() - side // 2
    steps = torch.arange(side, device=images.device)
    x, y = (corner[..., axis, None] + steps for axis in (0, 1))
    inside = ((y >= 0) & (y < rows))[..., :, None] & ((x >= 0) & (x < columns))[..., None, :]
    on_plane = y.clamp(0, rows - 1)[..., :, None] * columns + x.clamp(0, columns - 1)[..., None, :]
    plane = torch.arange(planes, device=images.device)
    of_level = (on_plane + (plane * rows * columns)[:, None, None]).flatten(2)
    pixel = of_level + (frame * (planes * rows * columns))[:, None, None]
    background = level.reshape(-1)[of_level]
    photons = images.reshape(-1)[pixel] + background
    inside = inside.flatten(2).to(photons)
    number = photons.isfinite()
    photons = torch.where(number, photons, background)
    use = inside * number if ceiling is None else inside * (number & (photons < ceiling.to(photons)[:, None]))
    name = torch.empty(images.numel(), dtype=torch.int32, device=images.device)  # only what is written is read
    name[pixel.flatten()] = torch.arange(pixel.numel(), dtype=torch.int32, device=images.device)
    pixel = name[pixel].long()
    share = inside / _added(inside, pixel).clamp(min=1)
    return Views(pixel, corner, inside, use, share, photons, background, side)


def find_pairs(frame: Tensor, views: Views) -> Pairs:
    """Molecules of one frame whose windows overlap by a good part on plane 0."""
    reach = math.ceil(_PAIRS_REACH * views.side) - 0.5  # corners are whole numbers
    points = torch.cat((views.corner[:, 0], (frame * 2 * views.side)[:, None]), dim=1).cpu().numpy()
    pairs = cKDTree(points).query_pairs(reach, p=math.inf, output_type="ndarray") if len(points) else points[:, :2]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    first, second = torch.from_numpy(pairs).long().to(frame.device).unbind(1)
    return Pairs(first, second)


def pixel_of_partner(views: Views, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """For every pixel of the first's window (m, planes, pixels): which it is in the second's, and whether it is."""
    steps = torch.arange(views.side, device=views.pixel.device)
    between = views.corner[pairs.first] - views.corner[pairs.second]
    x, y = (between[..., axis, None] + steps for axis in (0, 1))
    there = ((y >= 0) & (y < views.side))[..., :, None] & ((x >= 0) & (x < views.side))[..., None, :]
    pixel = y[..., :, None] * views.side + x[..., None, :]
    return torch.where(there, pixel, 0).flatten(2), there.flatten(2)


def _added(values: Tensor, pixel: Tensor) -> Tensor:
    """Windows added up where they overlap."""
    flat = pixel.flatten()
    whole = values.new_zeros(len(flat))  # not more pixels than windows have
    return whole.index_add_(0, flat, values.flatten())[flat].reshape(values.shape)
