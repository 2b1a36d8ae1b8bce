"""HDF5 files: the array of images in them, (frames, rows, columns) or (frames, cameras, rows, columns)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, begins_with, one_line, runs

name = "HDF5"
suffixes = (".h5", ".hdf5")
_FIRST_BYTES = b"\x89HDF\r\n\x1a\n"


def opens(path: Path) -> bool:
    """Whether the file begins as HDF5."""
    return begins_with(path, _FIRST_BYTES)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open the only dataset of images in a file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise PlanelocError(f"{path}: not a readable HDF5 file ({one_line(error)}); copy it again") from None
    try:
        return ImageStack(path, _images(path, file), channels)
    except BaseException:
        file.close()
        raise


def _images(path: Path, file: h5py.File) -> Images:
    found: list[h5py.Dataset] = []

    def look(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "uif":
            found.append(item)

    file.visititems(look)
    if len(found) != 1:
        names = ", ".join(f"{each.name} {'×'.join(map(str, each.shape))}" for each in found[:4]) or "none"
        raise PlanelocError(
            f"{path}: holds {len(found)} arrays of images ({names}), not one movie; save the movie alone in a file"
        )
    dataset = found[0]

    def read(numbers: NDArray[np.int64]) -> NDArray:
        try:
            return np.concatenate([_block(dataset, first, last) for first, last in runs(numbers)])
        except OSError as error:
            raise PlanelocError(f"{path}: {dataset.name} cannot be read ({one_line(error)}); copy it again") from None

    return Images("IQ"[: dataset.ndim - 2] + "YX", dataset.shape, dataset.dtype, read, (path,), file.close)


def _block(dataset: h5py.Dataset, first: int, last: int) -> NDArray:
    """Images first … last−1 of an array of three or four axes."""
    if dataset.ndim == 3:
        return dataset[first:last]
    cameras = dataset.shape[1]
    frames = dataset[first // cameras : -(-last // cameras)].reshape(-1, *dataset.shape[2:])
    return frames[first % cameras :][: last - first]
