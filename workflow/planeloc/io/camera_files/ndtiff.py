"""Micro-Manager's NDTiff: a folder of TIFF files, of at most 4 GB each, with an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile.tifffile

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, RawImages, read_by

name = "NDTiff"
suffixes = ("NDTiff.index",)
_INDEX = "NDTiff.index"
_TYPES = {
    0: "<u1",
    1: "<u2",
    3: "<u2",
    4: "<u2",
    5: "<u2",
    6: "<u2",
}  # pixel types of the index; the others are colours
_LETTERS = {"time": "T", "z": "Z", "channel": "C", "position": "P"}


def opens(path: Path) -> bool:
    """Whether this is the folder of a dataset, or its index."""
    return (path / _INDEX).is_file() or path.name == _INDEX


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a dataset; see `planeloc.io.camera_formats.CameraFormat.open`."""
    folder = path.parent if path.name == _INDEX else path
    with read_by(path, "tifffile"):
        entries = list(tifffile.tifffile.read_ndtiff_index(folder / _INDEX))
    if not entries:
        raise PlanelocError(f"{path}: {_INDEX} names no image; copy the whole folder again")
    sizes = {(entry[4], entry[3], entry[5], entry[6]) for entry in entries}
    if len(sizes) > 1 or entries[0][6] or entries[0][5] not in _TYPES:
        raise PlanelocError(f"{path}: images of several sizes, compressed or in colour; export them as TIFF")
    names = sorted({entry[1] for entry in entries})
    missing = [each for each in names if Path(each).name != each or not (folder / each).is_file()]
    if missing:
        raise PlanelocError(f"{path}: {missing[0]} of the dataset is missing; copy the whole folder again")
    files = [folder / each for each in names]
    axes, shape, order = _axes(path, [entry[0] for entry in entries])
    places = np.array([(names.index(entry[1]), entry[2]) for entry in entries], dtype=np.int64)[order]
    image, dtype = (entries[0][4], entries[0][3]), _TYPES[entries[0][5]]
    read = RawImages(files, places, image, dtype)
    described = Images(axes + "YX", (*shape, *image), dtype, read, (folder / _INDEX, *files), read.close)
    return ImageStack(path, described, channels)


def _axes(path: Path, coordinates: list[dict[str, Any]]) -> tuple[str, tuple[int, ...], list[int]]:
    """Letters and lengths of the axes, and the number of the entry of every image in their order."""
    used = {axis: _in_order([place.get(axis, 0) for place in coordinates]) for axis in coordinates[0]}
    varying = [axis for axis, values in used.items() if len(values) > 1]
    varying.sort(key=lambda axis: (axis == "channel", axis != "time"))  # channels fastest
    shape = tuple(len(used[axis]) for axis in varying)
    numbers = {
        tuple(used[axis].index(place.get(axis, 0)) for axis in varying): number
        for number, place in enumerate(coordinates)
    }
    wanted = list(np.ndindex(*shape))
    if len(numbers) != len(wanted):
        raise PlanelocError(
            f"{path}: its index names {len(numbers)} of {len(wanted)} images "
            f"({' × '.join(f'{len(used[axis])} {axis}' for axis in varying)}): the recording was not finished"
        )
    return "".join(_LETTERS.get(axis, "I") for axis in varying), shape, [numbers[place] for place in wanted]


def _in_order(values: list[int | str]) -> list[int | str]:
    """Each value once: numbers ascending, names of channels as they were recorded."""
    once = list(dict.fromkeys(values))
    return sorted(once) if all(isinstance(value, int) for value in once) else once
