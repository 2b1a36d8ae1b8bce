"""Sums of the terms of cubic B-splines for very many emitters, in few operations: what a GPU needs.

The numbers are those of `planeloc.psf.cubic_spline`, rounded differently: all three axes are treated together, with the
basis as polynomials of the place between two knots.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from planeloc.psf.cubic_spline import Knots

_TAPS = 4  # basis functions that are not zero at a point
# The four basis functions and their slopes, columns, as polynomials 1, t, t², t³ of the place after the second knot.
_BASIS = (
    (1 / 6, 2 / 3, 1 / 6, 0, -1 / 2, 0, 1 / 2, 0),
    (-1 / 2, 0, 1 / 2, 0, 1, -2, 1, 0),
    (1 / 2, -1, 1 / 2, 0, -1 / 2, 3 / 2, -3 / 2, 1 / 2),
    (-1 / 6, 1 / 2, -1 / 2, 1 / 6, 0, 0, 0, 0),
)
_ALONG_X = (0, 1, 0), (0, 0, 1)  # of image, slope by x, slope by z: value or slope; of which slice
_ALONG_Y = (0, 0, 1, 0), (0, 1, 0, 2)  # of image, slopes by x, y, z: value or slope; of which column


class _Constants(NamedTuple):
    """Numbers that are copied to a device once, since a copy makes the host wait."""

    scale: Tensor  # (3,) of defocus, x, y: from nm to knots
    origin: Tensor  # (3,)
    lowest: Tensor  # (3,) first of the four knots, at least
    highest: Tensor  # (3,) at most
    powers: Tensor  # (4,)
    basis: Tensor  # (4, 8)
    per_nm: Tensor  # (3, 8) 1 for values, and for slopes from knots to nm
    window: Tensor  # (size, 4) knots from the first one of pixel 0
    choices: Tensor  # (4, 4) rows of `_ALONG_X` and `_ALONG_Y`, filled up


@lru_cache(maxsize=16)
def _constants(knots: Knots, size: int, pixel_nm: float, dtype: torch.dtype, device: torch.device) -> _Constants:
    every, middle = round(pixel_nm / knots.lateral_nm), (knots.lateral - 1) / 2
    lateral = 1 / knots.lateral_nm
    reach = every * (size - 1) + _TAPS
    like = {"dtype": dtype, "device": device}
    window = every * torch.arange(size, device=device)[:, None] + torch.arange(_TAPS, device=device)
    choices = torch.tensor([(*_ALONG_X[0], 0), (*_ALONG_X[1], 0), *_ALONG_Y], device=device)
    slope = [1 / knots.axial_nm, -lateral, -lateral]  # an emitter that moves right sees its pixels move left
    return _Constants(
        torch.tensor([1 / knots.axial_nm, -lateral, -lateral], **like),
        torch.tensor([-knots.first_nm / knots.axial_nm, *[pixel_nm / 2 * lateral + middle] * 2], **like),
        torch.tensor([-_TAPS, -reach, -reach], **like),
        torch.tensor([knots.axial, knots.lateral, knots.lateral], **like),
        torch.arange(4, **like),
        torch.tensor(_BASIS, **like),
        torch.tensor([[1.0] * 4 + [value] * 4 for value in slope], **like),
        window,
        choices,
    )


def padded_table(knots: Knots, table: Tensor) -> Tensor:
    """Add four rows of zeros before and after every set's rows (sets · axial, lateral · lateral)."""
    by_set = table.unflatten(0, (-1, knots.axial))
    return torch.nn.functional.pad(by_set, (0, 0, _TAPS, _TAPS)).flatten(0, 1)


def images_and_slopes(
    knots: Knots, table: Tensor, sets: Tensor, position_nm: Tensor, defocus_nm: Tensor, size: int, pixel_nm: float
) -> Tensor:
    """(4, n, size, size): images, and slopes by x, y and defocus.

    Parameters
    ----------
    table : from `padded_table`.
    sets, position_nm, defocus_nm : (n,), (n, 2), (n,) of every emitter.
    """
    known = _constants(knots, size, pixel_nm, position_nm.dtype, position_nm.device)
    n, lateral = len(position_nm), knots.lateral
    place = torch.addcmul(known.origin, torch.cat((defocus_nm[:, None], position_nm), dim=1), known.scale)
    before = place.floor()
    weights = ((place - before)[..., None] ** known.powers) @ known.basis * known.per_nm  # (n, 3, 8)
    first = torch.minimum(torch.maximum(before - 1, known.lowest), known.highest).long()
    emitter = torch.arange(n, device=place.device)
    slices = _depth_slices(knots, table, sets, first[:, 0], weights[:, 0], known)
    row = first[:, 1:, None, None] + known.window  # (n, 2, size, 4)
    inside = (row >= 0) & (row < lateral)
    row = row.clamp(0, lateral - 1)
    along = weights[:, 1:].view(n, 2, 1, 2, _TAPS) * inside[:, :, :, None]  # (n, 2, size, value and slope, 4)
    of, slice_ = known.choices[0, :3], known.choices[1, :3]
    rows = row[:, 0, :, None] + (emitter[:, None] * 2 + slice_)[:, None, :, None] * lateral
    columns = _bags(slices.view(-1, lateral), rows, along[:, 0].index_select(2, of))  # (n · size · 3, lateral)
    columns = columns.view(n, size, 3, lateral).permute(0, 2, 3, 1).reshape(-1, size)
    of, column = known.choices[2], known.choices[3]
    rows = row[:, 1, None] + (emitter[:, None] * 3 + column)[:, :, None, None] * lateral
    images = _bags(columns, rows, along[:, 1].index_select(2, of).transpose(1, 2).contiguous())
    return images.view(n, 4, size, size).transpose(0, 1)


def _depth_slices(
    knots: Knots, table: Tensor, sets: Tensor, first: Tensor, weights: Tensor, known: _Constants
) -> Tensor:
    """(n · 2, lateral · lateral): the spline at every emitter's defocus, and its slope by defocus."""
    start = first + sets * (knots.axial + 2 * _TAPS) + _TAPS
    rows = (start[:, None, None] + known.window[0]).expand(-1, 2, -1)
    return _bags(table, rows, weights.view(-1, 2, _TAPS))


def _bags(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of four rows of a table: (…, 4) twice → (number, columns)."""
    rows, weights = rows.reshape(-1, _TAPS), weights.reshape(-1, _TAPS)
    return torch.nn.functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
