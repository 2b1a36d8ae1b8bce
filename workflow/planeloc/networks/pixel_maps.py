"""Output of the regression network on a batch of images, computed everywhere or only on tiles."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from planeloc.networks.lit_tiles import LitTiles

_NOWHERE = -20.0  # logit where nothing was computed


class PixelMaps(NamedTuple):
    """Output of some pixels of a batch of images.

    Attributes
    ----------
    logit : (images, rows, columns); far below 0 where nothing was computed.
    values : (n, side, side, channels), of tiles; whole images: (images, rows, columns, channels).
    table : (images, tile rows, tile columns) index of the tile there; None: of whole images.
    """

    logit: Tensor
    values: Tensor
    table: Tensor | None = None

    @classmethod
    def whole(cls, maps: Tensor) -> PixelMaps:
        """Build from the network's output (images, channels, rows, columns)."""
        return cls(maps[:, 0], maps.permute(0, 2, 3, 1))

    @classmethod
    def nowhere(cls, images: Tensor, channels: int) -> PixelMaps:
        """Build for images (number, planes, rows, columns) of which nothing is computed."""
        number, _, *field_px = images.shape
        none = images.new_zeros(1, 1, 1, channels).expand(number, *field_px, -1)
        return cls(images.new_full((number, *field_px), _NOWHERE), none)

    @classmethod
    def on_tiles(cls, values: Tensor, tiles: LitTiles, field_px: tuple[int, int]) -> PixelMaps:
        """Build from the output (n, channels, side, side) on tiles of a field."""
        values, (rows, columns), lit = values.permute(0, 2, 3, 1), tiles.grid, slice(tiles.lit)
        side = values.shape[1]
        logit = values.new_full((len(tiles.table), rows, side, columns, side), _NOWHERE)
        logit[tiles.image[lit], tiles.row[lit], :, tiles.column[lit]] = values[lit, ..., 0]
        logit = logit.view(-1, rows * side, columns * side)[:, : field_px[0], : field_px[1]]
        return cls(logit, values, tiles.table)

    def only(self, marks: Tensor, side: int) -> PixelMaps:
        """Return these maps as if only marked tiles (images, rows, columns), with a side in pixels, were computed."""
        rows, columns = self.logit.shape[1:]
        marked = marks.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :rows, :columns]
        return self._replace(logit=self.logit.masked_fill(~marked, _NOWHERE))

    def at(self, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the output (n, channels) of pixels, of which every one was computed."""
        if self.table is None:
            return self.values[image, row, column]
        side = self.values.shape[1]
        tile = self.table[image, row // side, column // side]
        return self.values[tile, row % side, column % side]
