"""Features of a convolutional network on some tiles of a field; zero, as padding is, on all others.

Features are stored tile by tile, (tiles, channels, side, side) in the memory format channels-last, so that a patch (a
tile with a rim of its neighbours' pixels) is read as rows of channels, and no layer needs memory for the whole field.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planeloc.networks.tiles import inside_field

# Number of tiles is rounded up to this: oneDNN compiles and keeps a kernel for every shape (0.2 ms each).
_MULTIPLE = 64


class LitTiles:
    """Marked tiles of a batch of images, followed by some that are dark.

    Attributes
    ----------
    lit : number of marked tiles.
    image, row, column : (n,) of every tile; 0 of the dark ones.
    grid : rows and columns of tiles.
    """

    def __init__(self, marks: Tensor) -> None:
        """`marks` (images, rows, columns) of tiles."""
        places = marks.nonzero()
        self.lit, self.grid = len(places), (marks.shape[1], marks.shape[2])
        dark = _MULTIPLE - self.lit % _MULTIPLE  # at least one: it is every unmarked neighbour
        self.image, self.row, self.column = nn.functional.pad(places, (0, 0, 0, dark)).unbind(1)
        self._index = torch.full((len(marks), *(size + 2 for size in self.grid)), self.lit, device=marks.device)
        image, row, column = places.unbind(1)
        self._index[image, row + 1, column + 1] = torch.arange(self.lit, device=marks.device)
        rows, columns = self.grid
        at_border = (row == 0) | (row == rows - 1) | (column == 0) | (column == columns - 1)
        self._at_border = at_border.nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def table(self) -> Tensor:
        """(images, rows, columns) index of the tile there; of a dark one where none is marked."""
        return self._index[:, 1:-1, 1:-1]

    def patches(self, features: Tensor, rim: int, around: LitTiles) -> Tensor:
        """Return (len(around), channels, side + 2 rim, …) of the features of these tiles; `rim` is at most `side`.

        Features of dark tiles must be 0.
        """
        channels, side = features.shape[1:3]
        across = torch.arange(-rim, side + rim, device=features.device)
        tile, within = across.div(side, rounding_mode="floor") + 1, across % side
        tile = (3 * tile[:, None] + tile).flatten()
        within = (side * within[:, None] + within).flatten()
        pixel = (self._neighbours(around).index_select(1, tile) * side**2).add_(within)
        pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
        rows = pixels.index_select(0, pixel.flatten())
        return rows.view(-1, len(across), len(across), channels).permute(0, 3, 1, 2)

    def _neighbours(self, around: LitTiles) -> Tensor:
        """(len(around), 9) index of the 3×3 tiles around others."""
        _, rows, columns = self._index.shape
        steps = torch.arange(3, device=self._index.device)
        first = (around.image * rows + around.row) * columns + around.column
        return self._index.flatten()[first[:, None] + (steps[:, None] * columns + steps).flatten()]

    def zero_outside(self, patches: Tensor, rim: int, field: tuple[int, int]) -> Tensor:
        """Set what lies beyond a field of so many pixels, in patches with a rim, to zero in place; return them."""
        side = patches.shape[-1] - 2 * rim
        exact = all(count * side == size for count, size in zip(self.grid, field, strict=True))
        if len(self._at_border) and (rim or not exact):
            steps = torch.arange(-rim, side + rim, device=patches.device)
            rows, columns = (place[self._at_border, None] * side + steps for place in (self.row, self.column))
            patches[self._at_border] *= inside_field(rows, columns, field)[:, None].to(patches.dtype)
        return patches

    def stored(self, features: Tensor, field: tuple[int, int]) -> Tensor:
        """Set features of these tiles to zero in place, where tiles are dark and beyond the field; return them."""
        features[self.lit :] = 0
        return self.zero_outside(features, 0, field)

    def cut(self, images: Tensor, side: int, rim: int) -> Tensor:
        """Return patches (n, channels, side + 2 rim, …) of whole images (images, channels, y, x)."""
        number, channels, height, width = images.shape
        reach = side + 2 * rim
        tall, wide = (count * side + 2 * rim for count in self.grid)
        padded = images.new_zeros(number, tall, wide, channels)
        padded[:, rim : rim + height, rim : rim + width] = images.permute(0, 2, 3, 1)
        lines = padded.flatten().as_strided((number * tall * wide - reach + 1, reach * channels), (channels, 1))
        first = (self.image * tall + self.row * side) * wide + self.column * side
        steps = torch.arange(reach, device=images.device) * wide
        patches = lines.index_select(0, (first[:, None] + steps).flatten())
        return patches.view(-1, reach, reach, channels).permute(0, 3, 1, 2)


def grown(marks: Tensor, tiles: int) -> Tensor:
    """Return marks (images, rows, columns) on all tiles at most so many rows and columns from a marked one."""
    return nn.functional.max_pool2d(marks.float()[:, None], 2 * tiles + 1, stride=1, padding=tiles)[:, 0] > 0
