"""From densities to colours: brightness, depth colours, and the size of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from planeloc.core.image_blocks import mean_of_blocks

# Hues from blue over green to orange, all of the lightness J' = 70 in CAM02-UCS: brightness shows the density alone.
# Blue against yellow remains with red-green colour deficiencies: depths a quarter of the range apart keep 20 units of
# CIELAB chroma between them (tests/rendering/test_colours.py).
_DEPTH = (
    *("#8da0f8", "#83a6e9", "#78abdb", "#6cafd0", "#5fb3c5", "#54b6bb", "#4eb8b2", "#4db9aa", "#52b9a1"),
    *("#5fb895", "#71b588", "#84b17a", "#96ad6b", "#a8a85a", "#baa147", "#cb9931", "#df8e05"),
)
# More hues, for readers who see all of them: yellow is twice as light as blue, and greens look like reds to the others.
_RAINBOW = ("#3f6bff", "#14c3ff", "#9df28b", "#ffd92e", "#ff8a1f", "#ff3b5c")
_OWN = {
    name: LinearSegmentedColormap.from_list(name, colours)
    for name, colours in {"depth": _DEPTH, "rainbow": _RAINBOW, "grey": ("#000000", "#ffffff")}.items()
}

SHORTEST_SIDE_PX = 900  # at least; small fields are enlarged by a whole factor,
_LONGEST_SIDE_PX = 4096  # large ones reduced by a whole factor
_ROWS_AT_ONCE = 256  # of a picture, so that its colours are not held twice
_LEAST_SHARE = 0.02  # pixels below this share of the brightest are halo, not structure


def colour_map(name: str) -> Colormap:
    """Return the colour map with one of the names that the settings `colour_map` of this package allow."""
    return _OWN[name] if name in _OWN else matplotlib.colormaps[name]


def depth_colours(name: str, slices: int) -> NDArray[np.float32]:
    """Red, green, blue of every slice, (slices, 3)."""
    return colour_map(name)((np.arange(slices) + 0.5) / slices)[:, :3].astype(np.float32)


class ColourMixture:
    """Density and mean colour per pixel, summed slice by slice."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.amount = np.zeros(shape, dtype=np.float32)
        self._colour = np.zeros((*shape, 3), dtype=np.float32)

    def pass_through(
        self, slices: Iterable[NDArray[np.float32]], colours: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield `slices` unchanged, and add each to the mixture in its colour."""
        for image, colour in zip(slices, colours, strict=True):
            self.add(image, colour)
            yield image

    def add(self, image: NDArray[np.float32], colour: NDArray[np.float32]) -> None:
        """Add an image (rows, columns) in one colour."""
        for start in range(0, len(image), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            pixels = np.flatnonzero(image[rows])  # most of an image is empty
            values = image[rows].reshape(-1)[pixels]
            self.amount[rows].reshape(-1)[pixels] += values
            self._colour[rows].reshape(-1, 3)[pixels] += values[:, None] * colour

    def add_voxels(self, voxels: NDArray[np.int64], shape: tuple[int, int, int], colours: NDArray[np.float32]) -> None:
        """Add 1 for each voxel in its colour; `voxels` are flat indices into `shape` (slices, rows, columns)."""
        index, pixel = np.divmod(voxels, shape[1] * shape[2])
        self.amount += np.bincount(pixel, minlength=self.amount.size).reshape(self.amount.shape)
        for channel in range(3):
            coloured = np.bincount(pixel, weights=colours[index, channel], minlength=self.amount.size)
            self._colour[..., channel] += coloured.reshape(self.amount.shape)

    def blur(self, across_px: float, down_px: float) -> None:
        """Blur densities and colours by a Gaussian of two standard deviations; what leaves the picture is lost."""
        if not across_px > 0 and not down_px > 0:
            return
        for image in (self.amount, *np.moveaxis(self._colour, 2, 0)):
            image[:] = gaussian_filter(image, (down_px, across_px), mode="constant", truncate=3.0)

    def picture(self, brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The mean colour of each pixel at the given brightness (0 … 1), as (rows, columns, 3) bytes."""
        picture = np.empty(self._colour.shape, dtype=np.uint8)
        for start in range(0, len(picture), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            scale = brightness[rows] / np.maximum(self.amount[rows], np.finfo(np.float32).tiny)
            picture[rows] = np.clip(np.rint(self._colour[rows] * scale[..., None] * 255), 0, 255)
        return picture


def brightness(amount: NDArray[np.float32], saturation_percent: float, gamma: float) -> NDArray[np.float32]:
    """Density → brightness (0 … 1): the densest pixels are cut off, the rest is raised to `gamma`."""
    white = white_of(amount, saturation_percent)
    if white <= 0:
        return np.zeros_like(amount)
    return np.clip(amount / np.float32(white), 0, 1) ** np.float32(gamma)


def white_of(amount: NDArray[np.float32], saturation_percent: float) -> float:
    """The density that is drawn in full brightness; 0 if there is none."""
    peak = float(amount.max(initial=0.0))
    if peak <= 0:
        return 0.0
    return float(np.percentile(amount[amount > _LEAST_SHARE * peak], 100 - saturation_percent))


def reduction(rows: int, columns: int) -> int:
    """Return the factor by which a picture of this size is reduced; 1: not at all."""
    return math.ceil(max(rows, columns) / _LONGEST_SIDE_PX)


def sensible_size(picture: NDArray[np.uint8], pixel_nm: float) -> tuple[NDArray[np.uint8], float]:
    """Enlarge or reduce by a whole factor, so that pixels stay square and equal."""
    factor = reduction(*picture.shape[:2])
    if factor > 1:
        rows, columns = (size - size % factor for size in picture.shape[:2])
        return np.rint(mean_of_blocks(picture[:rows, :columns], factor)).astype(np.uint8), pixel_nm * factor
    factor = math.ceil(SHORTEST_SIDE_PX / min(picture.shape[:2]))
    factor = max(1, min(factor, _LONGEST_SIDE_PX // max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1), pixel_nm / factor
