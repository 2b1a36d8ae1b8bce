"""TIFF as cameras and their programs write it: plain pages, OME-TIFF, ImageJ hyperstacks, classic and BigTIFF.

The header is trusted for the meaning of the axes only. A file that was cut short is refused, and frames that continue
in another file are looked for there: a part must not pass for a shorter movie, nor missing frames for zeros. Pages that
the header does not know are used and reported.
"""

from __future__ import annotations

import gc
import logging
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files import ome_parts
from planeloc.io.camera_files.image_stack import (
    Images,
    ImageStack,
    RawImages,
    begins_with,
    check_pixels,
    in_one_file,
    one_line,
)
from planeloc.io.ome_tiff import OmeHeader

# What tifffile logs about a damaged file is raised here as an error; without a handler it would reach the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# What tifffile raises on bytes that are not what they should be.
DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    ElementTree.ParseError,
)
_MANY_IMAGES = 1000
_Result = TypeVar("_Result")
_FIRST_BYTES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of classic and BigTIFF

name = "TIFF"
suffixes = (".tif", ".tiff", ".btf")


def opens(path: Path) -> bool:
    """Whether the file begins as a TIFF."""
    return begins_with(path, *_FIRST_BYTES)


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a TIFF file, with the files that continue it; see `planeloc.io.camera_formats.CameraFormat.open`."""
    return TiffStack(path, channels, with_parts=True)


class TiffStack(ImageStack):
    """The frames of a TIFF file; `with_parts`, also of the files that continue it by its header.

    Raises
    ------
    PlanelocError : a file is damaged, cut short, missing, of another pixel type or of other axes.
    """

    def __init__(self, path: Path, channels: int | None = None, with_parts: bool = False) -> None:
        super().__init__(path, _images(path, with_parts), channels)
        if self.frames * self.channels > _MANY_IMAGES:
            gc.collect()  # page objects refer to each other; free them before the next file


def page_images(path: Path) -> Images:
    """Every page of a file, whatever its header says.

    Raises
    ------
    PlanelocError : the file is damaged, cut short, or its pages are not alike.
    """
    tiff = _opened(path)
    tiff.pages.useframes = False  # every page is read, instead of being taken for one like the first
    return _guarded(path, partial(_pages_alike, path, tiff), tiff)


def _opened(path: Path) -> tifffile.TiffFile:
    try:
        # Only this file is read, even if its header names others: those may belong to other cameras.
        return tifffile.TiffFile(path, _multifile=False, is_mmstack=False)
    except (*DAMAGE, OSError) as error:
        raise PlanelocError(f"{path}: not a readable TIFF ({one_line(error)}); export it again") from None


def _guarded(path: Path, task: Callable[[], _Result], tiff: tifffile.TiffFile | None = None) -> _Result:
    """The result of a task on a file; if it fails, the file is closed, and damage becomes one line."""
    try:
        return task()
    except BaseException as error:
        if tiff is not None:
            tiff.close()
        if isinstance(error, DAMAGE):
            raise PlanelocError(f"{path}: damaged or cut short ({one_line(error)}); copy it again") from None
        raise


def _images(path: Path, with_parts: bool) -> Images:
    tiff = _opened(path)
    return _guarded(path, partial(_indexed, path, tiff, with_parts), tiff)


def _indexed(path: Path, tiff: tifffile.TiffFile, with_parts: bool) -> Images:
    """The images of the only series in a file, or of all files of a movie that is in several."""
    header = OmeHeader.parse(tiff.ome_metadata) if tiff.is_ome else None
    if with_parts and (parts := ome_parts.find(path, header)):
        tiff.close()
        return ome_parts.images(path, parts, [page_images(file) for file in parts.files])
    series = _series(path, tiff, header)
    announced, pages = int(np.prod(series.shape[:-2], dtype=np.int64)), len(tiff.pages)
    if pages > announced:
        if len(series.shape) > 3:
            raise PlanelocError(
                f"{path}: its header names {announced} images (axes {series.axes}), but the file holds {pages}; export "
                "it again"
            )
        remark = f"{path}: its header names {announced} images, the file holds {pages}: all are used"
        tiff.close()
        return replace(page_images(path), remarks=(remark,), pixel_size_nm=header and header.pixel_size_nm)
    _check_pixels(path, series.axes, series.dtype)
    starts = _image_starts(path, tiff, series, announced)
    numbers = None if starts is not None else [page.index for page in series.pages]
    images = _readable(path, tiff, series.axes, series.shape, series.dtype, starts, numbers)
    if header is None:
        return images
    remarks = ()
    if header.elsewhere:
        where = f"{path}: its header is in {header.elsewhere}, which was not read"
        remarks = (f"{where}: if the movie is in several files, this is one part of it",)
    return replace(images, remarks=remarks, pixel_size_nm=header.pixel_size_nm)


def _pages_alike(path: Path, tiff: tifffile.TiffFile) -> Images:
    """All pages of a file as images of a single axis."""
    _check_chain(path, tiff)
    first, size = tiff.pages.first, tiff.filehandle.size
    _check_pixels(path, first.axes, first.dtype)
    pages = [tiff.pages[number] for number in range(len(tiff.pages))]
    for number, page in enumerate(pages):
        if page.keyframe.shape != first.shape or page.keyframe.dtype != first.dtype:
            raise PlanelocError(
                f"{path}: page {number} is {' × '.join(map(str, page.keyframe.shape))} {page.keyframe.dtype}, the "
                f"first {' × '.join(map(str, first.shape))} {first.dtype}; export the movie alone"
            )
    end = max(o + n for page in pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=True))
    if end > size:
        raise PlanelocError(f"{path}: cut short: its images end at byte {end}, the file at {size}; copy it again")
    raw = first.is_final and all(len(page.dataoffsets) == 1 or page.is_contiguous for page in pages)
    starts = np.array([page.dataoffsets[0] for page in pages], dtype=np.int64) if raw else None
    shape = (len(pages), *first.shape)
    return _readable(path, tiff, "IYX", shape, first.dtype, starts, list(range(len(pages))))


def _readable(
    path: Path,
    tiff: tifffile.TiffFile,
    axes: str,
    shape: Sequence[int],
    dtype: np.dtype,
    starts: NDArray[np.int64] | None,
    pages: list[int] | None,
) -> Images:
    """Images that are read at their first bytes, or decoded page by page where there are none."""
    shape = tuple(int(n) for n in shape)
    if starts is None:
        decode = partial(_decoded, path, tiff, np.array(pages))
        decode(np.array([0]))
        return Images(axes, shape, dtype, decode, (path,), tiff.close)
    # Everything needed is now known: the page objects, 0.4 kB for every image, need not stay in memory.
    order = tiff.byteorder
    tiff.close()
    read = RawImages([path], in_one_file(starts), shape[-2:], np.dtype(dtype).newbyteorder(order))
    return Images(axes, shape, dtype, read, (path,), read.close)


def _series(path: Path, tiff: tifffile.TiffFile, header: OmeHeader | None) -> tifffile.TiffPageSeries:
    """The only image series of the file; all its images must be in this file."""
    found = tiff.series
    if not found:
        raise PlanelocError(f"{path}: holds no image; export it again")
    series = found[0]
    headers = {"imagej": tiff.is_imagej, "shaped": tiff.is_shaped}
    if series.kind not in ("ome", *headers) and any(headers.values()):
        raise PlanelocError(f"{path}: cut short: shorter than its header says; copy it again")
    if header is not None and not header.elsewhere:
        _check_ome(path, tiff, series, header)
    if len(found) > 1:
        parts = ", ".join(f"{s.axes} {'×'.join(map(str, s.shape))}" for s in found[:3])
        raise PlanelocError(f"{path}: holds {len(found)} series of images, not one movie ({parts}); export one alone")
    # The images of the other two kinds follow on the first page's, in this file; to look at each page takes long.
    if series.kind not in headers and any(page is None or page.parent is not tiff for page in series.pages):
        raise PlanelocError(
            f"{path}: some of its frames are missing or in other files; export the camera's frames as one file"
        )
    _check_chain(path, tiff)
    return series


def _check_ome(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, header: OmeHeader) -> None:
    """Refuse an OME file that holds only a part of the frames that its header announces."""
    images = sum(page is not None for page in series.pages)
    announced = header.frames * header.channels if series.kind == "ome" else header.frames
    if series.kind == "ome" and images == announced:
        return
    if series.kind != "ome" and len(tiff.pages) in (header.frames, header.frames * header.channels):
        return
    others = sorted(header.files - {path.name})
    where = f"; the others are in {', '.join(others[:3])}" if others else ""
    raise PlanelocError(
        f"{path}: cut short or one part of several: it holds {images} of the {announced} images that its OME "
        f"header announces{where}; export the camera's frames as one file"
    )


def _check_chain(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a file whose chain of pages does not end with a zero: the rest of the file is missing."""
    file, pages = tiff.filehandle, len(tiff.pages)
    file.seek(tiff.pages.next_page_offset or 0)
    (following,) = struct.unpack(tiff.tiff.offsetformat, file.read(tiff.tiff.offsetsize))
    if following:
        raise PlanelocError(
            f"{path}: cut short: page {pages} should follow at byte {following}, but the file has {file.size}; copy "
            "it again"
        )


def _image_starts(
    path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, images: int
) -> NDArray[np.int64] | None:
    """First byte of every image in file order, or None where they must be decoded; checks that the file has all."""
    size, image_bytes = tiff.filehandle.size, int(np.prod(series.shape[-2:])) * np.dtype(series.dtype).itemsize
    if series.dataoffset is not None:
        starts = series.dataoffset + image_bytes * np.arange(images, dtype=np.int64)
        end = starts[-1] + image_bytes
    elif len(series.pages) != images:
        raise PlanelocError(f"{path}: several images in a page are not supported; save one image per page")
    elif series.keyframe.is_final:
        starts = np.array([page.dataoffsets[0] for page in series.pages], dtype=np.int64)
        end = starts.max() + image_bytes
    else:
        starts = None
        end = max(o + n for page in series.pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=True))
    if end > size:
        raise PlanelocError(f"{path}: cut short: its images end at byte {end}, the file at {size}; copy it again")
    return starts


def _decoded(path: Path, tiff: tifffile.TiffFile, pages: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray:
    """Images of compressed, tiled or scattered pages."""
    images = []
    for page in pages[numbers].tolist():
        try:
            images.append(tiff.pages[page].asarray())
        except (*DAMAGE, OSError) as error:
            raise PlanelocError(
                f"{path}: page {page} cannot be decoded ({one_line(error)}); save it as uncompressed 16-bit TIFF"
            ) from None
    return np.array(images)


def _check_pixels(path: Path, axes: str, dtype: np.dtype) -> None:
    check_pixels(path, axes, np.dtype(dtype), whole_floats=False)
