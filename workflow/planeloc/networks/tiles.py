"""Volumes of which only some square pages exist: voxels are computed where there may be molecules, and nowhere else.

The field is cut into pages by a fixed grid, so a page is computed once, however many molecules lie in it, and a look
beyond its border is a look into the next page. A dense volume has pages everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PAGES_AT_ONCE = 256
_DENSE_SIDE = 16


@dataclass(frozen=True)
class PageGrid:
    """Square pages of `side_px` camera pixels that cover a field; those at its far edges reach beyond it."""

    side_px: int
    field_px: tuple[int, int]  # rows, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pages."""
        rows, columns = (math.ceil(size / self.side_px) for size in self.field_px)
        return rows, columns

    def everywhere(self, images: int) -> Tensor:
        """Marks (images, rows, columns) on all pages."""
        return torch.ones(images, *self.shape, dtype=torch.bool)

    def around(self, points: Tensor, reach_px: int, images: int) -> Tensor:
        """Marks (images, rows, columns) on the pages near points (n, 3) image, row, column: of all pixels within
        `reach_px`.
        """
        marks = torch.zeros(images, *self.shape, dtype=torch.bool, device=points.device)
        steps = [*range(-reach_px, reach_px, self.side_px), reach_px]
        last = torch.tensor(self.field_px, device=points.device) - 1
        for row_step in steps:
            for column_step in steps:
                shift = torch.tensor((row_step, column_step), device=points.device)
                page = (points[:, 1:] + shift).clamp(min=torch.zeros_like(last), max=last) // self.side_px
                marks[points[:, 0], page[:, 0], page[:, 1]] = True
        return marks


@dataclass(frozen=True)
class PagedVolume:
    """Values of voxels on pages.

    Attributes:
        values: (pages + 1, side, side, depth); the last page is what stands where no page is.
        pages: (pages, 3) image, row and column of every page, in units of pages.
        table: (images, rows, columns) index of the page there; of the last one where none is.
        field: rows and columns of voxels in the field; pages may reach beyond.
    """

    values: Tensor
    pages: Tensor
    table: Tensor
    field: tuple[int, int]

    @property
    def depth(self) -> int:
        return self.values.shape[-1]

    @property
    def side(self) -> int:
        return self.values.shape[1]

    @classmethod
    def of_pages(
        cls, values: Tensor, pages: Tensor, images: int, shape: tuple[int, int], field: tuple[int, int]
    ) -> PagedVolume:
        """From values (pages + 1, …), of which the last page is what stands elsewhere."""
        table = torch.full((images, *shape), len(pages), device=values.device)
        table[pages.unbind(-1)] = torch.arange(len(pages), device=values.device)
        return cls(values, pages, table, field)

    @classmethod
    def dense(cls, volume: Tensor, elsewhere: float) -> PagedVolume:
        """From a volume (images, depth, rows, columns); pages reach beyond it where they must."""
        images, depth, rows, columns = volume.shape
        grid = PageGrid(_DENSE_SIDE, (rows, columns))
        pages = grid.everywhere(images).nonzero().to(volume.device)
        beyond = [n * _DENSE_SIDE - size for n, size in zip(grid.shape, grid.field_px, strict=True)]
        whole = nn.functional.pad(volume, (0, beyond[1], 0, beyond[0]), value=elsewhere)
        whole = whole.unfold(2, _DENSE_SIDE, _DENSE_SIDE).unfold(3, _DENSE_SIDE, _DENSE_SIDE)
        values = volume.new_empty(len(pages) + 1, _DENSE_SIDE, _DENSE_SIDE, depth)
        values[:-1].view(images, *grid.shape, _DENSE_SIDE, _DENSE_SIDE, depth).copy_(whole.permute(0, 2, 3, 4, 5, 1))
        values[-1] = elsewhere
        return cls.of_pages(values, pages, images, grid.shape, (rows, columns))

    def above(self, limit: float) -> Tensor:
        """(n, 4) image, depth, row, column of the voxels in the field whose value exceeds `limit`."""
        step = _PAGES_AT_ONCE * self.values[0].numel()
        parts = self.values[:-1].flatten().split(step)
        place = torch.cat([_few_nonzero(part > limit) + number * step for number, part in enumerate(parts)])
        place, depth = place // self.depth, place % self.depth
        place, column = place // self.side, place % self.side
        number, row = place // self.side, place % self.side
        page = self.pages[number]
        row, column = page[:, 1] * self.side + row, page[:, 2] * self.side + column
        voxels = torch.stack((page[:, 0], depth, row, column), dim=-1)
        return voxels[(row < self.field[0]) & (column < self.field[1])]

    def zeros_at(self, voxels: Tensor) -> PagedVolume:
        """A volume of zeros that has only the pages of given voxels (n, 4)."""
        page = self.table[voxels[:, 0], voxels[:, 2] // self.side, voxels[:, 3] // self.side].unique()
        values = torch.zeros(len(page) + 1, *self.values.shape[1:], device=self.values.device)
        images, *shape = self.table.shape
        return PagedVolume.of_pages(values, self.pages[page], images, (shape[0], shape[1]), self.field)

    def places(self, voxels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Where in the flat values the voxels at depth 0 beside given ones are; (n, rows, columns).

        `voxels` (n, 4) as from `above`; `rows` and `columns` are steps. Outside the field it is the last page.
        """
        row, column = voxels[:, 2, None] + rows, voxels[:, 3, None] + columns
        known = ((row >= 0) & (row < self.field[0]))[:, :, None] & ((column >= 0) & (column < self.field[1]))[:, None]
        row, column = row.clamp(0, self.field[0] - 1), column.clamp(0, self.field[1] - 1)
        page = self.table[
            voxels[:, 0, None, None],
            (row // self.side)[:, :, None],
            torch.div(column, self.side, rounding_mode="floor")[:, None],
        ]
        page = torch.where(known, page, len(self.pages))
        return (
            (page * self.side + (row % self.side)[:, :, None]) * self.side + (column % self.side)[:, None]
        ) * self.depth


def _few_nonzero(marks: Tensor) -> Tensor:
    """(m,) places of the few marks that are set among (n,): looked for eight at a time."""
    whole = len(marks) // 8 * 8
    eights = marks[:whole].view(torch.int64).nonzero()[:, 0]
    within = marks[:whole].view(-1, 8)[eights].nonzero()
    rest = marks[whole:].nonzero()[:, 0] + whole
    return torch.cat((eights[within[:, 0]] * 8 + within[:, 1], rest))
