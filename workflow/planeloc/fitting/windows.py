"""Windows of pixels around the molecules of frames, on every plane, and which of them overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.core.devices import rounded_up
from planeloc.fitting.frame_table import FrameTable
from planeloc.psf import PSF

_REACH_WAISTS = 7.5  # half a window
_PAIRS_REACH = 0.75  # of a window: molecules farther apart are not coupled in the equations


class InitialMolecules(NamedTuple):
    """Molecules before the fit."""

    frame: Tensor  # (n,) ascending
    position: Tensor  # (n, 3) nm in the reference camera's frame
    photons: Tensor  # (n,) of all planes
    mapped_px: Tensor  # (n, planes, 2) position on every camera
    axes: Tensor  # (n, planes, 2, 2) derivative of that position by the one in the reference camera's frame


class OverlappingPairs(NamedTuple):
    """Molecules of a frame whose windows overlap, each pair once."""

    first: Tensor  # (m,)
    second: Tensor  # (m,)


@dataclass(frozen=True)
class MoleculeWindows:
    """Windows around n molecules on every plane; tensors are (n, planes, pixels) where nothing else is said."""

    pixel: Tensor  # which pixel of the images: one index into all pixels of all windows, shared where windows overlap
    corner: Tensor  # (n, planes, 2) column and row
    inside: Tensor  # 1 on the sensor, else 0
    use: Tensor  # 1 where the pixel is fitted, else 0
    share: Tensor  # one over the number of windows that contain the pixel
    photons: Tensor  # background included
    background: Tensor
    side: int

    @classmethod
    def cut(
        cls,
        images: Tensor,
        background: Tensor,
        frame: Tensor,
        mapped_px: Tensor,
        side: int,
        ceiling: Tensor | None = None,
    ) -> MoleculeWindows:
        """Cut windows around molecules; pixels that are saturated, not finite or beyond the sensor are not used.

        Parameters
        ----------
        images, background, ceiling : as in `planeloc.fitting.multi_emitter.MultiEmitterFit`.
        frame : (n,) of every molecule.
        mapped_px : (n, planes, 2) its x, y on every camera, from the outer corner.
        side : pixels along a window.
        """
        planes, rows, columns = images.shape[1:]
        corner = mapped_px.floor().long() - side // 2
        steps = torch.arange(side, device=images.device)
        x, y = (corner[..., axis, None] + steps for axis in (0, 1))
        inside = ((y >= 0) & (y < rows))[..., :, None] & ((x >= 0) & (x < columns))[..., None, :]
        y, x = y.clamp(0, rows - 1)[..., :, None], x.clamp(0, columns - 1)[..., None, :]
        plane = torch.arange(planes, device=images.device)[:, None, None]
        own = (frame[:, None, None, None],) * (background.dim() - 3)
        background = background[(*own, plane, y, x)].flatten(2)
        photons = images[frame[:, None, None, None], plane, y, x].flatten(2) + background
        pixel = (((frame * planes)[:, None, None, None] + plane) * rows + y) * columns + x
        inside = inside.flatten(2)
        pixel = _shared(pixel.flatten(2), inside, images.numel())
        inside = inside.to(photons)
        finite = photons.isfinite()
        photons = torch.where(finite, photons, background)
        use = inside * finite if ceiling is None else inside * (finite & (photons < ceiling.to(photons)[:, None]))
        share = inside / _sum_overlaps(inside, pixel).clamp(min=1)
        return cls(pixel, corner, inside, use, share, photons, background, side)

    def sum_overlaps(self, values: Tensor) -> Tensor:
        """Add windows (n, planes, pixels) where they overlap."""
        return _sum_overlaps(values, self.pixel)

    def pairs(self, table: FrameTable) -> OverlappingPairs:
        """Pairs of molecules of one frame whose windows overlap by a quarter or more on plane 0.

        Only of molecules that have a place in the table. In large groups the list is filled up with pairs of molecule 0
        and itself.
        """
        return _pairs_in_table(self.corner[:, 0], table, pairs_reach_px(self.side))

    def pixels_in_partner(self, pairs: OverlappingPairs) -> tuple[Tensor, Tensor]:
        """Index (m, planes, pixels) of the first window's pixels in the second one, and whether they are in it."""
        pixel, there = pixels_in_other(self.corner[pairs.first], self.corner[pairs.second], self.side)
        there = there & (pairs.first != pairs.second)[:, None, None]
        return torch.where(there, pixel, 0), there


def pixels_in_other(corner: Tensor, other: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Index (n, planes, pixels) of the pixels of windows in other windows, and whether they are in them; else 0.

    `corner` and `other` (n, planes, 2) are the columns and rows of the first pixels.
    """
    steps = torch.arange(side, device=corner.device)
    between = corner - other
    x, y = (between[..., axis, None] + steps for axis in (0, 1))
    there = ((y >= 0) & (y < side))[..., :, None] & ((x >= 0) & (x < side))[..., None, :]
    pixel = y[..., :, None] * side + x[..., None, :]
    return torch.where(there, pixel, 0).flatten(2), there.flatten(2)


def _pairs_in_table(corner: Tensor, table: FrameTable, reach: float) -> OverlappingPairs:
    """Pairs of molecules whose corners (n, 2) are within reach along both axes, on the device."""
    frames, width = table.frames, table.width
    places = table.spread(corner.int()).view(frames, width, 2)
    near = ((places[:, :, None] - places[:, None]).abs() <= reach).all(dim=3)
    there = (table.row < len(corner)).view(frames, width)
    near &= (there[:, :, None] & there[:, None]).triu(1)
    frame, first, second = near.nonzero().unbind(1)
    row = table.row.view(frames, width)
    more = (0, rounded_up(len(frame), corner.device) - len(frame))
    return OverlappingPairs(*(torch.nn.functional.pad(row[frame, place], more) for place in (first, second)))


def _shared(pixel: Tensor, inside: Tensor, pixels: int) -> Tensor:
    """Give windows that show the same pixel one index into all pixels of all windows.

    Pixels beyond the sensor, of which molecules out of sight have many, keep an index of their own: adding to one
    place takes a GPU long.
    """
    flat = pixel.flatten()
    own = torch.arange(len(flat), dtype=torch.int32, device=flat.device)
    index = torch.empty(pixels + 1, dtype=torch.int32, device=flat.device)  # only what is written is read
    index[torch.where(inside.flatten(), flat, pixels)] = own
    return torch.where(inside, index[pixel], own.view(pixel.shape)).long()


def window_side(psf: PSF) -> int:
    """Pixels along a window, odd."""
    return 2 * round(_REACH_WAISTS * psf.gaussian.waist_nm / psf.pixel_size_nm) + 1


def pairs_reach_px(side: int) -> float:
    """Distance between corners, along both axes, up to which windows are coupled."""
    return math.ceil(_PAIRS_REACH * side) - 0.5  # corners are whole numbers


def _sum_overlaps(values: Tensor, pixel: Tensor) -> Tensor:
    flat = pixel.flatten()
    total = values.new_zeros(len(flat))  # the images have no more pixels than the windows
    return total.index_add_(0, flat, values.flatten())[flat].reshape(values.shape)
