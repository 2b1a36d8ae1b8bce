"""Tiles of a field: small images or volumes of a table, one after the other, so that no field is too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

_TAPER = 0.125  # part of a tile's side over which its window rises from zero, at either end
GROUPS = 10  # of tiles, of which each is left out in turn for the standard deviation


@dataclass(frozen=True)
class Tile:
    """Rows of a table in one tile.

    Attributes
    ----------
    rows : numbers of the rows.
    pixel : (rows,) flat index into the tile.
    weight : how often the tile counts: more than once if it stands for tiles that were not drawn.
    group : number of its group of tiles.
    """

    rows: NDArray[np.int64]
    pixel: NDArray[np.int64]
    weight: float
    group: int


@dataclass(frozen=True)
class Tiling:
    """How a field is divided.

    Attributes
    ----------
    shape : pixels of a tile along (y, x) or (z, y, x).
    corner_nm : where the first tile begins, in the same order.
    """

    shape: tuple[int, ...]
    corner_nm: tuple[float, ...]
    pixel_nm: float

    @classmethod
    def of(cls, position: NDArray[np.float64], pixel_nm: float, largest: tuple[int, ...]) -> Tiling:
        """Divide the field of `position` (rows, axes) into equal tiles of at most `largest` pixels.

        Tiles are square along y and x. A field that would be one tile is divided in two along either axis, if it is
        not small: without several tiles there is no standard deviation.
        """
        low = np.min(position, axis=0)
        extent = np.maximum(np.max(position, axis=0) - low, pixel_nm) / pixel_nm
        lateral = max(extent[-2:])
        tiles = max(np.ceil(lateral / largest[-1]), 2 if lateral >= largest[-1] / 2 else 1)
        side = next_fast_len(max(16, int(np.ceil(lateral / tiles)) + 1), real=True)
        depth = [
            next_fast_len(min(most, max(16, int(np.ceil(e)) + 1)))
            for e, most in zip(extent, largest[:-2], strict=False)
        ]
        return cls((*depth, side, side), tuple(float(v) for v in low), pixel_nm)

    def window(self) -> NDArray[np.float32]:
        """What an image is multiplied by (Tukey), so that the edges of a tile do not correlate."""
        window = np.ones(self.shape, dtype=np.float32)
        for axis, size in enumerate(self.shape):
            edge = np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (_TAPER * size)
            profile = 0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1))
            window *= profile.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(self.shape))])
        return window

    def tiles(self, position: NDArray[np.float64], most: int, seed: int) -> Iterator[Tile]:
        """Tiles with rows; where there are more than `most`, as many are drawn, by their number of rows.

        Parameters
        ----------
        position : (rows, axes) nm, in the order of `shape`.
        seed : random seed of the draw.
        """
        index = np.floor((position - np.array(self.corner_nm)) / self.pixel_nm).astype(np.int64)
        key = np.zeros(len(index), dtype=np.int64)
        for axis, size in enumerate(self.shape):
            place = index[:, axis] // size
            key = key * (int(place.max(initial=0)) + 1) + place
        flat = np.ravel_multi_index(tuple(index[:, a] % size for a, size in enumerate(self.shape)), self.shape)
        order = np.argsort(key, kind="stable")
        _, start, counts = np.unique(key[order], return_index=True, return_counts=True)
        for number, (tile, weight) in enumerate(_drawn(counts, most, seed)):
            rows = order[start[tile] : start[tile] + counts[tile]]
            yield Tile(rows, flat[rows], weight, number % GROUPS)


def _drawn(counts: NDArray[np.int64], most: int, seed: int) -> list[tuple[int, float]]:
    """Tiles and their weights; drawn with probabilities in proportion to their rows, so that sums are unbiased."""
    if len(counts) <= most:
        return [(tile, 1.0) for tile in range(len(counts))]
    share = counts / counts.sum()
    tiles = np.sort(np.random.default_rng(seed).choice(len(counts), most, p=share))
    return [(int(tile), float(1 / (most * share[tile]))) for tile in tiles]


def image(pixel: NDArray[np.int64], window: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Windowed counts of rows per pixel, less their mean, and the sum of the rows' squared weights.

    The mean of a tile, smeared by the window, would otherwise look like structure in the first rings.
    """
    counts = np.bincount(pixel, minlength=window.size).astype(np.float32).reshape(window.shape)
    counts *= window
    counts -= window * np.float32(counts.sum(dtype=np.float64) / window.sum(dtype=np.float64))
    return counts, float((window.ravel()[pixel].astype(np.float64) ** 2).sum())
