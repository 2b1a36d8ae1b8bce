"""OME-Zarr: a z-stack in several resolutions, written slice by slice (NGFF 0.5, Zarr 3).

Coordinates are those of a table of localizations, in µm: the transformations of every resolution give the middle of
its first voxel. Equal slices give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.files import atomic_path
from planeloc.core.image_blocks import mean_of_blocks
from planeloc.core.marks import PYRAMID

if TYPE_CHECKING:
    import zarr

_CHUNK_PX, _CHUNKS_PER_SHARD = 512, 4  # along rows and columns; a shard is one file
_COARSEST_PX = 512  # longer side of the last resolution, at most
_ZSTD_LEVEL = 1


@contextmanager
def write_pyramid(
    path: Path,
    shape: tuple[int, int, int],
    voxel_nm: tuple[float, float, float],
    corner_nm: tuple[float, float, float],
    name: str,
) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Write a z-stack as a multiscale image, atomically: yields a function that takes one slice after the other.

    Every resolution has half the rows and columns of the one before, as means of 2 × 2 pixels, and all slices.

    Parameters
    ----------
    path : folder; an earlier image there is replaced.
    shape : (slices, rows, columns); slices are float32 images (rows, columns).
    voxel_nm : size of a voxel in x, y, z.
    corner_nm : place of the outer corner of the first pixel in x and y, and of the middle of the first slice in z.
    name : of the image, shown by viewers.

    Raises
    ------
    ValueError : slices are missing at the end.
    """
    sizes = _levels(*shape[1:])
    with atomic_path(path, PYRAMID) as partial:
        partial.mkdir()
        arrays = [_create(partial / str(level), (shape[0], *size)) for level, size in enumerate(sizes)]
        brightest: list[float] = []

        def add(image: NDArray[np.float32]) -> None:
            index = len(brightest)
            brightest.append(float(image.max(initial=0.0)))
            for array in arrays:
                band = array.shards[1]  # zarr holds copies of what it is given at once
                for row in range(0, len(image), band):
                    array[index, row : row + band] = image[row : row + band]
                image = _halved(image)

        yield add
        if len(brightest) != shape[0]:
            raise ValueError(f"{path}: {len(brightest)} slices of {shape[0]} were written")
        attributes = _attributes(len(sizes), voxel_nm, corner_nm, name, max(brightest, default=0.0))
        attributes["made_by"] = "planeloc render"
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (partial / "zarr.json").write_text(json.dumps(group, indent=2) + "\n", encoding="utf-8")


def _levels(rows: int, columns: int) -> list[tuple[int, int]]:
    """Rows and columns of every resolution."""
    levels = [(rows, columns)]
    while max(levels[-1]) > _COARSEST_PX:
        levels.append((-(-levels[-1][0] // 2), -(-levels[-1][1] // 2)))
    return levels


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 × 2 pixels; the last row and column count twice where they have no partner."""
    return mean_of_blocks(np.pad(image, [(0, size % 2) for size in image.shape], mode="edge"), 2)


def _create(path: Path, shape: tuple[int, int, int]) -> zarr.Array:
    import zarr

    shard = [min(_CHUNKS_PER_SHARD, -(-size // _CHUNK_PX)) * _CHUNK_PX for size in shape[1:]]
    return zarr.create_array(
        path,
        shape=shape,
        dtype="float32",
        chunks=(1, _CHUNK_PX, _CHUNK_PX),
        shards=(1, *shard),
        compressors=zarr.codecs.ZstdCodec(level=_ZSTD_LEVEL),
        fill_value=0,
        dimension_names=("z", "y", "x"),
        zarr_format=3,
    )


def _attributes(
    levels: int,
    voxel_nm: tuple[float, float, float],
    corner_nm: tuple[float, float, float],
    name: str,
    brightest: float,
) -> dict[str, Any]:
    """NGFF's description of the image; all lists are in the order z, y, x."""
    datasets = []
    for level in range(levels):
        x, y = (2**level * size / 1000 for size in voxel_nm[:2])
        middle = (corner_nm[2] / 1000, corner_nm[1] / 1000 + y / 2, corner_nm[0] / 1000 + x / 2)
        scale = {"type": "scale", "scale": [voxel_nm[2] / 1000, y, x]}
        place = {"type": "translation", "translation": [round(value, 9) for value in middle]}
        datasets.append({"path": str(level), "coordinateTransformations": [scale, place]})
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    window = {"min": 0.0, "max": brightest, "start": 0.0, "end": brightest}
    channel = {"label": name, "color": "FFFFFF", "active": True, "window": window}
    multiscale = {"name": name, "type": "mean", "axes": axes, "datasets": datasets}
    return {"ome": {"version": "0.5", "multiscales": [multiscale], "omero": {"channels": [channel]}}}
