"""NumPy files (.npy): an array (frames, rows, columns), or (frames, cameras, rows, columns)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, RawImages, begins_with, contiguous, one_line

name = "NumPy"
suffixes = (".npy",)
_FIRST_BYTES = b"\x93NUMPY"


def opens(path: Path) -> bool:
    """Whether the file begins as an array of NumPy."""
    return begins_with(path, _FIRST_BYTES)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open an array; see `planeloc.io.camera_formats.CameraFormat.open`."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = read_header[version[0]](file)
            start = file.tell()
    except (ValueError, LookupError, EOFError) as error:
        raise PlanelocError(f"{path}: not a readable NumPy file ({one_line(error)}); save it again") from None
    if fortran or len(shape) not in (3, 4):
        raise PlanelocError(
            f"{path}: an array of shape {shape}{' in Fortran order' if fortran else ''}; save (frames, rows, columns) "
            "or (frames, cameras, rows, columns) in C order"
        )
    read = RawImages([path], contiguous(int(np.prod(shape[:-2])), shape[-2] * shape[-1] * dtype.itemsize, start),
                     shape[-2:], dtype)  # fmt: skip
    axes = "IQ"[: len(shape) - 2] + "YX"
    return ImageStack(path, Images(axes, shape, dtype, read, (path,), read.close), channels)
