"""Hamamatsu: .dcimg files, as cameras have written them since about 2017 (version 0x1000000).

The format is not documented; the layout is the one that the package ``dcimg`` (MIT) found, which fails under NumPy 2.4.
After every image stand 32 bytes: its number, its time, and four pixels of one row of the sensor, which are not valid in
the image itself. Other cameras leave 16, or 512 and more, without those pixels or with them elsewhere: their files are
refused, since nothing here was tried on one.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, RawImages, begins_with, in_one_file

name = "Hamamatsu DCIMG"
suffixes = (".dcimg",)
_VERSION = 0x1000000
_FILE_BYTES, _SESSION_BYTES = 0x30, 720  # of the two headers, as far as they are read
_FOOTER_BYTES, _PIXELS_IN_FOOTER = 32, 12
_FOOTER_SIZE_AT = 124  # in the header of the session: how many bytes stand after every image
_ROW_IN_FOOTER = 1023  # of the sensor


def opens(path: Path) -> bool:
    """Whether the file begins as a DCIMG."""
    return begins_with(path, b"DCIMG")


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a .dcimg file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    with path.open("rb") as file:
        head = file.read(_FILE_BYTES)
        version, start = (struct.unpack_from("<I", head, at)[0] if len(head) == _FILE_BYTES else 0 for at in (8, 0x28))
        file.seek(start)
        session = file.read(_SESSION_BYTES)
    if version != _VERSION or len(session) < _SESSION_BYTES:
        raise PlanelocError(f"{path}: a DCIMG of another version, or cut short; export it as TIFF")
    frames, depth, _, columns, rows, row_bytes, image_bytes = struct.unpack_from("<7I", session, 60)
    (data,) = struct.unpack_from("<Q", session, 96)
    (footer_bytes,) = struct.unpack_from("<I", session, _FOOTER_SIZE_AT)
    first_row, sensor_rows = struct.unpack_from("<2H", session, 716)
    if depth not in (1, 2) or row_bytes != columns * depth or image_bytes != row_bytes * rows or not frames:
        raise PlanelocError(f"{path}: a DCIMG with {depth} bytes a pixel or rows of odd length; export it as TIFF")
    if footer_bytes != _FOOTER_BYTES or depth != 2:
        raise PlanelocError(
            f"{path}: a DCIMG of {8 * depth}-bit pixels with {footer_bytes} bytes after every image; planeloc reads "
            f"those of 16 bit with {_FOOTER_BYTES}: export it as TIFF"
        )
    binning = max(sensor_rows // rows, 1)
    row = (_ROW_IN_FOOTER - first_row) // binning
    starts = start + data + (image_bytes + _FOOTER_BYTES) * np.arange(frames, dtype=np.int64)
    places = in_one_file(starts)
    dtype = f"<u{depth}"
    whole = RawImages([path], places, (rows, columns), dtype)
    beside = RawImages([path], places + np.array([0, image_bytes + _PIXELS_IN_FOOTER]), (1, 4), dtype)

    def read(numbers: NDArray[np.int64]) -> NDArray:
        images = whole(numbers)
        if 0 <= row < rows:
            images[:, row, :4] = beside(numbers)[:, 0, : images.shape[2]]
        return images

    def close() -> None:
        whole.close()
        beside.close()

    return ImageStack(path, Images("IYX", (frames, rows, columns), dtype, read, (path,), close), channels)
