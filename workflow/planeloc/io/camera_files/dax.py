"""The .dax files of STORM-control and Insight3: bare 16-bit images, described by an .inf file of the same name."""

from __future__ import annotations

import re
from pathlib import Path

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable
from planeloc.io.camera_files.image_stack import Images, ImageStack, RawImages, contiguous

name = "DAX"
suffixes = (".dax",)


def opens(path: Path) -> bool:
    """Bare pixels have no first bytes of their own: the file is known by its name."""
    return False


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a .dax file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    described = path.with_suffix(".inf")
    try:
        text = described.read_text(encoding="latin-1")
    except OSError as error:
        raise unreadable(described, error) from None
    size = re.search(r"^frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", text, re.MULTILINE)
    kind = re.search(r"^data type\s*=\s*(.*)$", text, re.MULTILINE)
    announced = re.search(r"^number of frames\s*=\s*(\d+)", text, re.MULTILINE)
    if not size or not int(size[1]) or not int(size[2]):
        raise PlanelocError(f"{described}: has no line 'frame dimensions = … x …'; copy it again")
    if kind and "16 bit" not in kind[1]:
        raise PlanelocError(f"{described}: data type {kind[1]!r}, but 16 bit integers are expected; export as TIFF")
    order = ">" if not kind or "big endian" in kind[1] else "<"
    width, height = int(size[1]), int(size[2])
    return open_bare_pixels(path, described, (height, width), f"{order}u2", announced and int(announced[1]), channels)


def open_bare_pixels(
    path: Path, described: Path, shape: tuple[int, int], dtype: str, announced: int | None, channels: int | None
) -> ImageStack:
    """Open a file of nothing but pixels, whose shape stands in another file.

    All whole images that the file holds are used: a header that was written before the end of the recording announces
    fewer.

    Raises
    ------
    PlanelocError : the file ends within an image, or has fewer than announced.
    """
    image_bytes = shape[0] * shape[1] * int(dtype[-1])
    images, rest = divmod(path.stat().st_size, image_bytes)
    if rest or images < (announced or 0):
        raise PlanelocError(
            f"{path}: cut short, or {described.name} is of another file: it holds {images} images of {shape[1]}×"
            f"{shape[0]} pixels and {rest} bytes more, of {announced} announced; copy both again"
        )
    remarks = ()
    if announced is not None and images > announced:
        remarks = (f"{path}: {described.name} announces {announced} frames, the file holds {images}: all are used",)
    read = RawImages([path], contiguous(images, image_bytes), shape, dtype)
    return ImageStack(
        path, Images("IYX", (images, *shape), dtype, read, (path, described), read.close, remarks), channels
    )
