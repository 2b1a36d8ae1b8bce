"""Nikon NIS-Elements: .nd2 files."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from planeloc.io.camera_files.image_stack import Images, ImageStack, begins_with, read_by

name = "Nikon ND2"
suffixes = (".nd2",)
_FIRST_BYTES = (b"\xda\xce\xbe\n", b"\x00\x00\x00\x0cjP  ")


def opens(path: Path) -> bool:
    """Whether the file begins as an ND2, new or of the JPEG 2000 kind."""
    return begins_with(path, *_FIRST_BYTES)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open an .nd2 file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    with read_by(path, "nd2"):
        import nd2

        file = nd2.ND2File(path)
        try:
            return ImageStack(path, _images(path, file), channels)
        except BaseException:
            file.close()
            raise


def _images(path: Path, file) -> Images:
    sizes = {axis: n for axis, n in file.sizes.items() if axis not in "YX"}
    together = sizes.get("C", 1) if list(sizes)[-1:] == ["C"] else 1  # images that the library reads at once
    shape = (*sizes.values(), file.sizes["Y"], file.sizes["X"])
    lock, pixel_um = Lock(), float(file.voxel_size().x)

    def read(numbers: NDArray[np.int64]) -> NDArray:
        images = np.empty((len(numbers), *shape[-2:]), dtype=file.dtype)
        with read_by(path, "nd2"), lock:
            for sequence in np.unique(numbers // together):
                here = numbers // together == sequence
                frame = np.asarray(file.read_frame(int(sequence))).reshape(together, *shape[-2:])
                images[here] = frame[numbers[here] % together]
        return images

    axes = "".join(axis for axis in (*sizes, "Y", "X"))
    if math.prod(sizes.values()) > together * len(file.loop_indices):
        raise ValueError(f"{len(file.loop_indices)} frames for sizes {dict(file.sizes)}")
    known = pixel_um * 1000 if math.isfinite(pixel_um) and pixel_um > 0 and pixel_um != 1 else None
    return Images(axes, shape, file.dtype, read, (path,), file.close, (), known)
