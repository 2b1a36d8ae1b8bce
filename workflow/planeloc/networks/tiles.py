"""Volumes of square tiles: voxels are computed only where there may be molecules.

Tiles lie on a fixed grid, so each is computed once, and values beyond its border are in the next tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_TILES_AT_ONCE = 256
_DENSE_SIDE = 16


@dataclass(frozen=True)
class TileGrid:
    """Square tiles of `side_px` camera pixels that cover a field; the last may extend beyond it."""

    side_px: int
    field_px: tuple[int, int]  # rows, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        rows, columns = (math.ceil(size / self.side_px) for size in self.field_px)
        return rows, columns

    def everywhere(self, images: int) -> Tensor:
        """Return marks (images, rows, columns) on all tiles."""
        return torch.ones(images, *self.shape, dtype=torch.bool)

    def around(self, points: Tensor, reach_px: int, images: int) -> Tensor:
        """Return marks (images, rows, columns) on all tiles within `reach_px` of points (n, 3) image, row, column."""
        marks = torch.zeros(images, *self.shape, dtype=torch.bool, device=points.device)
        steps = [*range(-reach_px, reach_px, self.side_px), reach_px]
        last = torch.tensor(self.field_px, device=points.device) - 1
        for row_step in steps:
            for column_step in steps:
                shift = torch.tensor((row_step, column_step), device=points.device)
                tile = (points[:, 1:] + shift).clamp(min=torch.zeros_like(last), max=last) // self.side_px
                marks[points[:, 0], tile[:, 0], tile[:, 1]] = True
        return marks


def inside_field(rows: Tensor, columns: Tensor, field: tuple[int, int]) -> Tensor:
    """Return whether pixels (n, rows, columns) lie in a field, given their rows (n, rows) and columns (n, columns)."""
    in_height, in_width = (rows >= 0) & (rows < field[0]), (columns >= 0) & (columns < field[1])
    return in_height[:, :, None] & in_width[:, None]


@dataclass(frozen=True)
class TiledVolume:
    """Values of voxels on tiles.

    Attributes
    ----------
    values : (tiles + 1, side, side, depth); the last tile has the values where no tile is.
    tiles : (tiles, 3) image, row and column of every tile, in units of tiles.
    table : (images, rows, columns) index of the tile there; of the last one where there is none.
    field : rows and columns of voxels in the field; tiles may extend beyond.
    """

    values: Tensor
    tiles: Tensor
    table: Tensor
    field: tuple[int, int]

    @property
    def depth(self) -> int:
        """Number of depth slices."""
        return self.values.shape[-1]

    @property
    def side(self) -> int:
        """Voxels along a side of a tile."""
        return self.values.shape[1]

    @classmethod
    def from_tiles(
        cls, values: Tensor, tiles: Tensor, images: int, shape: tuple[int, int], field: tuple[int, int]
    ) -> TiledVolume:
        """Build with the table of tiles.

        Parameters
        ----------
        values, tiles, field : as in the class.
        images : number of images.
        shape : rows and columns of the table of tiles.
        """
        table = torch.full((images, *shape), len(tiles), device=values.device)
        table[tiles.unbind(-1)] = torch.arange(len(tiles), device=values.device)
        return cls(values, tiles, table, field)

    @classmethod
    def dense(cls, volume: Tensor, elsewhere: float) -> TiledVolume:
        """Build from a volume (images, depth, rows, columns), with tiles everywhere."""
        images, depth, rows, columns = volume.shape
        grid = TileGrid(_DENSE_SIDE, (rows, columns))
        tiles = grid.everywhere(images).nonzero().to(volume.device)
        beyond = [n * _DENSE_SIDE - size for n, size in zip(grid.shape, grid.field_px, strict=True)]
        whole = nn.functional.pad(volume, (0, beyond[1], 0, beyond[0]), value=elsewhere)
        whole = whole.unfold(2, _DENSE_SIDE, _DENSE_SIDE).unfold(3, _DENSE_SIDE, _DENSE_SIDE)
        values = volume.new_empty(len(tiles) + 1, _DENSE_SIDE, _DENSE_SIDE, depth)
        values[:-1].view(images, *grid.shape, _DENSE_SIDE, _DENSE_SIDE, depth).copy_(whole.permute(0, 2, 3, 4, 5, 1))
        values[-1] = elsewhere
        return cls.from_tiles(values, tiles, images, grid.shape, (rows, columns))

    def above(self, limit: float) -> Tensor:
        """Return (n, 4) image, depth, row, column of the voxels in the field whose value exceeds `limit`."""
        step = _TILES_AT_ONCE * self.values[0].numel()
        parts = self.values[:-1].flatten().split(step)
        place = torch.cat([_few_nonzero(part > limit) + number * step for number, part in enumerate(parts)])
        number, row, column, depth = torch.unravel_index(place, self.values.shape)
        tile = self.tiles[number]
        row, column = tile[:, 1] * self.side + row, tile[:, 2] * self.side + column
        voxels = torch.stack((tile[:, 0], depth, row, column), dim=-1)
        return voxels[(row < self.field[0]) & (column < self.field[1])]

    def zeros_at(self, voxels: Tensor) -> TiledVolume:
        """Return a volume of zeros that has only the tiles of given voxels (n, 4)."""
        tile = self.table[voxels[:, 0], voxels[:, 2] // self.side, voxels[:, 3] // self.side].unique()
        values = torch.zeros(len(tile) + 1, *self.values.shape[1:], device=self.values.device)
        return TiledVolume.from_tiles(values, self.tiles[tile], len(self.table), self.table.shape[1:], self.field)

    def places(self, voxels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the flat index (n, rows, columns) of the voxels at depth 0 around given ones.

        Parameters
        ----------
        voxels : (n, 4) as from `above`.
        rows, columns : steps; outside the field, the last tile is indexed.
        """
        row, column = voxels[:, 2, None] + rows, voxels[:, 3, None] + columns
        known = inside_field(row, column, self.field)
        row, column = row.clamp(0, self.field[0] - 1), column.clamp(0, self.field[1] - 1)
        row, column = row[:, :, None], column[:, None]
        tile = self.table[voxels[:, 0, None, None], row // self.side, column // self.side]
        tile = torch.where(known, tile, len(self.tiles))
        return ((tile * self.side + row % self.side) * self.side + column % self.side) * self.depth


def _few_nonzero(marks: Tensor) -> Tensor:
    """(m,) indices of the few marks that are set among (n,), searched eight at a time."""
    whole = len(marks) // 8 * 8
    eights = marks[:whole].view(torch.int64).nonzero()[:, 0]
    within = marks[:whole].view(-1, 8)[eights].nonzero()
    rest = marks[whole:].nonzero()[:, 0] + whole
    return torch.cat((eights[within[:, 0]] * 8 + within[:, 1], rest))
