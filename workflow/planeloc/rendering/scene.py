"""Localizations in a box of the sample, and what is seen of them from a side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.localization_table import field_nm, metadata_value, portions, read_metadata
from planeloc.rendering.colouring import LEVELS, Colouring
from planeloc.rendering.colours import ColourMixture
from planeloc.rendering.gaussians import REACH, gaussian_slices, occupied_slices
from planeloc.rendering.grid import Grid
from planeloc.rendering.settings import GaussianWidths

Interval = tuple[float, float]
Box = Mapping[str, Interval]

COLUMNS = ("frame", "x", "y", "z", "photons", "x_sd", "y_sd", "z_sd", "frames")
"""What a picture needs of a table; only linked tables have `frames`."""

SIDES = {"xy": ("x", "y", "z"), "xz": ("x", "z", "y"), "yz": ("y", "z", "x"), "zy": ("z", "y", "x")}
"""Direction of view → axes to the right, downwards and into the picture. As a row, z points upwards."""


_LEAST_SIGMA_PX = 0.6


@dataclass(frozen=True)
class Scene:
    """Localizations, and the box of the sample that is looked at (nm along x, y, z).

    `rows` may also hold localizations beside the box, whose Gaussians reach into it. If `open_depths`, those above and
    below it are seen from the objective, too.
    """

    rows: Mapping[str, NDArray]
    box: Box
    widths: GaussianWidths
    open_depths: bool = False

    def within(self, axes: str = "xyz") -> NDArray[np.bool_]:
        """Which rows are in the box along these axes."""
        inside = np.ones(len(self.rows["x"]), dtype=bool)
        for axis in axes:
            if axis != "z" or not self.open_depths:
                low, high = self.box[axis]
                inside &= (self.rows[axis] >= low) & (self.rows[axis] < high)
        return inside

    def size_nm(self, axis: str) -> float:
        """Length of the box along an axis."""
        return self.box[axis][1] - self.box[axis][0]

    def sliced(self, depths: Interval) -> Scene:
        """The same between two depths."""
        return Scene(self.rows, {**self.box, "z": depths}, self.widths)

    def no_sharper_than(self, pixel_nm: float) -> Scene:
        """The same for a picture of large pixels, in which narrower Gaussians would be lost dots."""
        least = max(self.widths.minimum_sigma_nm, _LEAST_SIGMA_PX * pixel_nm)
        largest = max(self.widths.maximum_sigma_nm, least)
        return replace(self, widths=GaussianWidths(self.widths.sigma_nm, least, largest))

    def seen(self, side: str, values: NDArray | None = None) -> dict[str, NDArray]:
        """Rows in the box, in the coordinates of a picture from a side: x to the right, y downwards, nm.

        z are the coordinates into the picture, or the `values` of the rows.
        """
        across, down, through = SIDES[side]
        inside = self.within(through)
        margin = REACH * self.widths.maximum_sigma_nm
        for axis in (across, down):
            low, high = self.box[axis]
            inside &= (self.rows[axis] > low - margin) & (self.rows[axis] < high + margin)
        flipped = down == "z"
        rows = {name: self.rows[name][inside] for name in (across, down, f"{across}_sd", f"{down}_sd")}
        y = self.box[down][1] - rows[down] if flipped else rows[down] - self.box[down][0]
        z = (self.rows[through] if values is None else values)[inside]
        x_sd, y_sd = rows[f"{across}_sd"], rows[f"{down}_sd"]
        return {"x": rows[across] - self.box[across][0], "y": y, "z": z, "x_sd": x_sd, "y_sd": y_sd}

    def mixture(self, side: str, pixel_nm: tuple[float, float], colouring: Colouring) -> ColourMixture:
        """Density and mean colour from a side; `pixel_nm` to the right and downwards."""
        low, high = colouring.limits
        grid = self._grid(side, (*pixel_nm, (high - low) / LEVELS), colouring.limits)
        mixture = ColourMixture(grid.shape[1:])
        colours = colouring.colours()
        for level, image in occupied_slices(self.seen(side, colouring.values(self.rows)), grid, self.widths):
            mixture.add(image, colours[level])
        return mixture

    def stack(self, side: str, pixel_nm: float, slices: int) -> tuple[Grid, Iterator[NDArray[np.float32]]]:
        """Density in slices across the direction of view: its grid, and one image after the other."""
        through = SIDES[side][2]
        grid = self._grid(side, (pixel_nm, pixel_nm, self.size_nm(through) / slices), self.box[through])
        return grid, gaussian_slices(self.seen(side), grid, self.widths)

    def _grid(self, side: str, voxel_nm: tuple[float, float, float], limits: Interval) -> Grid:
        across, down, _ = SIDES[side]
        return Grid.cover((self.size_nm(across), self.size_nm(down)), limits, voxel_nm)


def whole_field(path: Path, metadata: Mapping[str, Any]) -> dict[str, Interval]:
    """The box of a table: its field and its range of depths.

    Raises
    ------
    PlanelocError : the metadata are incomplete or wrong.
    """
    width, height = field_nm(path, metadata)
    low, high = (float(depth) for depth in metadata_value(path, metadata, "depth_range_nm"))
    if not high > low or not min(width, height) > 0:
        raise PlanelocError(
            f"{path}: the table's metadata are wrong: depths {low} to {high} nm, field {width} × {height} nm; "
            "create the table again with `planeloc localize`"
        )
    return {"x": (0.0, width), "y": (0.0, height), "z": (low, high)}


def read_scene(path: Path, wanted: Mapping[str, Interval], widths: GaussianWidths) -> tuple[Scene, dict[str, Any]]:
    """Read the part of a table that is in a box, and the table's metadata.

    Parameters
    ----------
    wanted : limits by axis; the whole field along those that are missing. The box is cut at the edge of the field.

    Raises
    ------
    PlanelocError : the table cannot be read, its metadata are incomplete or wrong, or the box is outside its field.
    """
    metadata = read_metadata(path)[0]
    box, open_depths = _box(path, metadata, wanted), "z" not in wanted
    margin = REACH * widths.maximum_sigma_nm
    wider = {axis: (low - margin, high + margin) for axis, (low, high) in box.items()}
    rows = read_rows(path, lambda part: Scene(part, wider, widths, open_depths).within())
    return Scene(rows, box, widths, open_depths), metadata


def read_rows(
    path: Path, keep: Callable[[Mapping[str, NDArray]], NDArray[np.bool_]], names: Sequence[str] = COLUMNS
) -> dict[str, NDArray]:
    """The columns `names` that a table has, of the rows that `keep` wants; memory is that of these rows."""
    parts: dict[str, list[NDArray]] = {}
    for portion in portions(path, names):
        kept = keep(portion)
        for name, values in portion.items():
            parts.setdefault(name, []).append(values[kept])
    return {name: np.concatenate(parts.pop(name)) for name in list(parts)}


def _box(path: Path, metadata: Mapping[str, Any], wanted: Mapping[str, Interval]) -> dict[str, Interval]:
    whole = whole_field(path, metadata)
    box = {**whole, **wanted}
    for axis in "xy":
        low, high = max(box[axis][0], 0.0), min(box[axis][1], whole[axis][1])
        if low >= high:
            edges = " and ".join(f"0 to {whole[a][1]:g} nm in {a}" for a in "xy")
            raise PlanelocError(f"{path}: the region is outside the field, which is {edges}; correct it")
        box[axis] = (low, high)
    return box


def nice_stretch(size_nm: float, depth_nm: float) -> float:
    """The factor by which z is enlarged, so that a side view is at least a sixth as high as it is wide."""
    wanted = size_nm / 6 / depth_nm
    power = 10.0 ** math.floor(math.log10(max(wanted, 1.0)))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= min(wanted, 10 * power))
