"""Andor Solis: .sif files, and the folder that a spooled acquisition leaves (.sifx, .ini and …spool.dat)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, RawImages, begins_with, contiguous, read_by

name = "Andor SIF"
suffixes = (".sif", ".sifx")
_FIRST_BYTES = b"Andor Technology Multi-Channel File\n"
_LIBRARY = "sif-parser"


def opens(path: Path) -> bool:
    """Whether the file begins as a SIF, or the folder holds a spooled acquisition."""
    return any(path.glob("*.sifx")) if path.is_dir() else begins_with(path, _FIRST_BYTES)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a .sif file or a spool folder; see `planeloc.io.camera_formats.CameraFormat.open`."""
    with read_by(path, _LIBRARY):
        import sif_parser

        if path.is_dir():
            return ImageStack(path, _spooled(path, sif_parser), channels)
        mapped, info = sif_parser.np_open(str(path), lazy="memmap")  # finds where the images begin
        shape, start = mapped.shape, info["tile"][0][2]
        del mapped
        announced = int(info["NumberOfFrames"]) * max(int(info.get("NumberOfSubImages", 1)), 1)
        if shape[0] != announced:
            raise PlanelocError(f"{path}: holds {shape[0]} of {announced} frames; export it as TIFF")
    read = RawImages([path], contiguous(shape[0], 4 * shape[1] * shape[2], start), shape[1:], "<f4")
    return ImageStack(path, Images("IYX", shape, np.float32, read, (path,), read.close), channels)


def _spooled(path: Path, library) -> Images:
    counts, _ = library.np_spool_open(str(path))
    if counts.dtype != np.uint16:
        raise PlanelocError(f"{path}: pixels of {counts.dtype}; export the acquisition as 16-bit TIFF")
    files = tuple(sorted(file for file in path.iterdir() if file.is_file()))
    return Images("IYX", counts.shape, counts.dtype, lambda numbers: counts[numbers], files)
