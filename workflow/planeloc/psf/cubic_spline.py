"""Cubic B-splines of an emitter's image: the basis, the knots, and fast sums of the few terms that are not zero.

At any point four of an axis's basis functions are not zero (de Boor 1978, A Practical Guide to Splines). An image is
the sum over 4 × 4 × 4 coefficients for every pixel, done along one axis after the other: weighted sums of four rows of
a table, which is what `torch.embedding_bag` computes on any device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.core.devices import in_large_groups, share_of_memory
from planeloc.psf.cubic_spline_batch import images_and_slopes, padded_table

_BYTES = 32 << 20  # of slices and rows at once
_SHARE_OF_GPU, _MOST_ON_GPU = 1 / 16, 4 << 30
_TAPS = 4  # basis functions that are not zero at a point


def cubic_basis(distance: Tensor) -> Tensor:
    """The cubic B-spline at distances from its knot, in knot spacings."""
    away = distance.abs()
    return ((2 - away).clamp(min=0) ** 3 - 4 * (1 - away).clamp(min=0) ** 3) / 6


def cubic_basis_slope(distance: Tensor) -> Tensor:
    """Its derivative."""
    away = distance.abs()
    return distance.sign() * (4 * (1 - away).clamp(min=0) ** 2 - (2 - away).clamp(min=0) ** 2) / 2


@dataclass(frozen=True)
class Knots:
    """Where the coefficients lie: laterally symmetric about the emitter, axially from `first_nm` of defocus upwards."""

    lateral: int  # per axis, odd
    lateral_nm: float  # spacing: a pixel over a whole number
    axial: int
    axial_nm: float
    first_nm: float

    def along_axis(self, position_nm: Tensor, size: int, pixel_size_nm: float) -> Tensor:
        """(..., size, lateral) distances of `size` pixel centres from the knots about an emitter, in spacings."""
        like = {"dtype": position_nm.dtype, "device": position_nm.device}
        centre = (torch.arange(size, **like) + 0.5) * pixel_size_nm
        knots = torch.arange(self.lateral, **like) - (self.lateral - 1) / 2
        return ((centre - position_nm[..., None]) / self.lateral_nm)[..., None] - knots

    def along_defocus(self, defocus_nm: Tensor) -> Tensor:
        """(..., axial) distances from the knots, in spacings."""
        knots = torch.arange(self.axial, dtype=defocus_nm.dtype, device=defocus_nm.device)
        return ((defocus_nm - self.first_nm) / self.axial_nm)[..., None] - knots

    @property
    def reach_nm(self) -> float:
        """Distance from the emitter along an axis beyond which the spline is zero."""
        return ((self.lateral - 1) / 2 + 2) * self.lateral_nm

    @property
    def defocus_range_nm(self) -> tuple[float, float]:
        """First and last knot."""
        return self.first_nm, self.first_nm + (self.axial - 1) * self.axial_nm


class _Terms(NamedTuple):
    """The terms at n points along one axis: rows of a table, with what each weighs."""

    row: Tensor  # (n, …, 4)
    value: Tensor  # (n, …, 4)
    slope: Tensor  # (n, …, 4), per knot spacing

    @classmethod
    def at(cls, place: Tensor, size: int, every: int, knots: int) -> _Terms:
        """The terms at places (n,) counted in knots from the first, and in steps of `every` knots from there.

        Terms beyond the first and the last knot are zero.
        """
        first = place.floor()
        t = (place - first)[:, None]
        s = 1 - t
        value = torch.cat((s**3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - s**2 + s**3 / 2, t**3 / 6), dim=1)
        slope = torch.cat((-(s**2) / 2, 1.5 * t**2 - 2 * t, 2 * s - 1.5 * s**2, t**2 / 2), dim=1)
        # A place may be anywhere, also where a whole number does not reach.
        steps = every * torch.arange(size, device=place.device)
        first = first.clamp(-knots - every * (size - 1) - _TAPS, 2 * knots).long() - 1
        row = first[:, None, None] + (steps[:, None] + torch.arange(_TAPS, device=place.device))
        inside = (row >= 0) & (row < knots)
        value, slope = value[:, None] * inside, slope[:, None] * inside
        return cls(row.clamp(0, knots - 1), value, slope)


def spline_images(
    knots: Knots,
    table: Tensor,
    sets: Tensor,
    position_nm: Tensor,
    defocus_nm: Tensor,
    shape: tuple[int, int],
    pixel_size_nm: float,
    slopes: bool = True,
) -> Tensor:
    """Images of emitters by a spline, and their slopes.

    Parameters
    ----------
    table : (sets · axial, lateral · lateral) coefficients, transposed: columns of an image before its rows.
    sets : (planes,) which set every plane uses.
    position_nm : (..., planes, 2), (x, y) from the outer corner of the window's pixel (0, 0).
    defocus_nm : (..., planes).
    shape : rows and columns of the window.
    slopes : whether slopes are wanted.

    Returns
    -------
    (4, ..., planes, rows, columns): images, and derivatives by x, y and defocus, per nm; (1, ...) without slopes.
    """
    flat, defocus = position_nm.reshape(-1, 2), defocus_nm.reshape(-1)
    first_rows = (sets * knots.axial).expand(defocus_nm.shape).reshape(-1)
    images = flat.new_empty(4 if slopes else 1, len(defocus), *shape)
    if slopes and in_large_groups(flat.device) and shape[0] == shape[1]:
        padded = padded_table(knots, table)
        emitter_sets = sets.expand(defocus_nm.shape).reshape(-1)
        for part in _parts(len(defocus), knots, shape, flat):
            images[:, part] = images_and_slopes(
                knots, padded, emitter_sets[part], flat[part], defocus[part], shape[0], pixel_size_nm
            )
        return images.view(len(images), *defocus_nm.shape, *shape)
    for part in _parts(len(defocus), knots, shape, flat):
        slices = _slices(knots, table, first_rows[part], defocus[part], slopes)
        images[:, part] = _resampled(knots, slices, flat[part], shape, pixel_size_nm)
    return images.view(len(images), *defocus_nm.shape, *shape)


def _parts(count: int, knots: Knots, shape: tuple[int, int], like: Tensor) -> Iterator[slice]:
    """Emitters that are computed together."""
    one = 2 * knots.lateral**2 + 6 * knots.lateral * shape[1] + 8 * _TAPS * sum(shape)
    most = share_of_memory(like.device, _SHARE_OF_GPU, _MOST_ON_GPU) if in_large_groups(like.device) else _BYTES
    at_once = max(1, most // (one * like.element_size()))
    return (slice(start, start + at_once) for start in range(0, count, at_once))


def _slices(knots: Knots, table: Tensor, first_row: Tensor, defocus_nm: Tensor, slopes: bool) -> Tensor:
    """(1 or 2, n, lateral, lateral) the spline at every emitter's defocus, and its slope by defocus."""
    place = (defocus_nm - knots.first_nm) / knots.axial_nm
    terms = _Terms.at(place, 1, 0, knots.axial)
    sums = [(0, terms.value), (0, terms.slope / knots.axial_nm)][: 1 + slopes]
    return _sums(table, terms.row + first_row[:, None, None], sums).view(-1, len(place), knots.lateral, knots.lateral)


def _resampled(
    knots: Knots, slices: Tensor, position_nm: Tensor, shape: tuple[int, int], pixel_size_nm: float
) -> Tensor:
    """(1 or 4, n, rows, columns) from slices: first along x, then along y."""
    slopes = len(slices) > 1
    lateral, n = knots.lateral, len(position_nm)
    every, lines = round(pixel_size_nm / knots.lateral_nm), n * lateral

    def along(axis: int) -> _Terms:
        place = (pixel_size_nm / 2 - position_nm[:, axis]) / knots.lateral_nm + (lateral - 1) / 2
        row, value, slope = _Terms.at(place, shape[1 - axis], every, lateral)
        # An emitter that moves right sees its pixels move left.
        return _Terms(
            row + torch.arange(0, lines, lateral, device=row.device)[:, None, None], value, -slope / knots.lateral_nm
        )

    x, y = along(0), along(1)
    sums = [(0, x.value), (0, x.slope), (lines, x.value)][: 3 if slopes else 1]
    columns = _sums(slices.reshape(-1, lateral), x.row, sums).view(-1, shape[1], lateral)
    sums = [(0, y.value), (lines, y.value), (0, y.slope), (2 * lines, y.value)][: 4 if slopes else 1]
    return _sums(columns.transpose(1, 2).reshape(-1, shape[1]), y.row, sums).view(-1, n, *shape)


def _sums(table: Tensor, row: Tensor, sums: list[tuple[int, Tensor]]) -> Tensor:
    """Weighted sums of four rows of a table, as many times as there are first rows and weights: (sums, columns)."""
    rows = torch.stack([row + first for first, _ in sums]).flatten()
    weights = torch.stack([weight for _, weight in sums]).flatten()
    starts = torch.arange(0, len(rows), _TAPS, device=rows.device)
    return torch.embedding_bag(table, rows, starts, False, 0, False, weights)[0]
