"""Zarr folders: an array of images, or the full resolution of an OME-Zarr."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, read_by

name = "Zarr"
suffixes = (".zarr",)
_MARKS = ("zarr.json", ".zarray", ".zgroup")
_LETTERS = {"t": "T", "time": "T", "frame": "T", "z": "Z", "c": "C", "channel": "C", "plane": "C", "y": "Y", "x": "X"}


def opens(path: Path) -> bool:
    """Whether a folder holds a Zarr array or group."""
    return any((path / mark).is_file() for mark in _MARKS)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a Zarr folder; see `planeloc.io.camera_formats.CameraFormat.open`."""
    with read_by(path, "zarr"):
        import zarr  # 0.4 s, which other formats need not spend

        array, axes = _array(path, zarr.open(path, mode="r"))
        files = tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        return ImageStack(path, Images(axes, array.shape, array.dtype, _reader(path, array), files), channels)


def _array(path: Path, node: Any) -> tuple[Any, str]:
    """The array of images of a folder, and its axes."""
    names = None
    if not hasattr(node, "shape"):
        attributes = dict(node.attrs)
        scales = attributes.get("ome", attributes).get("multiscales")
        arrays = [key for key, _ in node.arrays()]
        if scales:
            arrays = [scales[0]["datasets"][0]["path"]]
            names = [axis["name"] if isinstance(axis, dict) else axis for axis in scales[0].get("axes", ())]
        if len(arrays) != 1:
            raise PlanelocError(
                f"{path}: holds {len(arrays)} arrays ({', '.join(arrays[:4]) or 'none'}), not one movie; name the "
                "folder of the array"
            )
        node = node[arrays[0]]
    names = names or getattr(node.metadata, "dimension_names", None)
    if not names or len(names) != node.ndim or not all(str(each).lower() in _LETTERS for each in names):
        if node.ndim not in (3, 4):
            raise PlanelocError(
                f"{path}: an array of shape {node.shape} without named axes; save (frames, rows, columns) or (frames, "
                "cameras, rows, columns)"
            )
        return node, "IQ"[: node.ndim - 2] + "YX"
    return node, "".join(_LETTERS[str(each).lower()] for each in names)


def _reader(path: Path, array: Any):
    """Reads images by number: whole slices of the first axis at a time, which is how movies are cut into chunks."""
    inner = math.prod(array.shape[1:-2])

    def read(numbers: NDArray[np.int64]) -> NDArray:
        with read_by(path, "zarr"):
            first, last = int(numbers.min()) // inner, int(numbers.max()) // inner
            images = np.asarray(array[first : last + 1]).reshape(-1, *array.shape[-2:])
            return images[numbers - first * inner]

    return read
