"""TIFF as cameras and their programs write it: plain pages, OME-TIFF, ImageJ hyperstacks, classic and BigTIFF.

The header is trusted for the meaning of the axes only. A file that was cut short, or whose frames continue in another
file, is refused: it must not pass for a shorter movie, nor missing frames for zeros. Uncompressed pixels are read with
plain file reads; a memory map of a long movie would count as memory of the process.
"""

from __future__ import annotations

import gc
import io
import logging
import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from threading import Lock

import numpy as np
import tifffile
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.ome_tiff import OmeHeader

# What tifffile logs about a damaged file is raised here as an error; without a handler it would reach the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# What tifffile raises on bytes that are not what they should be.
_DAMAGE = (
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
_FIRST_BYTES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of classic and BigTIFF
_UNNAMED_AXES = frozenset("IQ")  # tifffile's letters for an axis without a stated meaning


name = "TIFF"
suffixes = (".tif", ".tiff", ".btf")


def opens(path: Path) -> bool:
    """Whether the file begins as a TIFF."""
    with path.open("rb") as file:
        return file.read(4) in _FIRST_BYTES


def open(path: Path, channels: int | None = None) -> TiffStack:
    """Open a TIFF file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    return TiffStack(path, channels)


class TiffStack:
    """The frames of one TIFF file: a `planeloc.io.camera_formats.CameraStack`, which describes the parameters.

    Raises
    ------
    PlanelocError : the file is damaged, cut short, of another pixel type or of other axes.
    """

    def __init__(self, path: Path, channels: int | None = None) -> None:
        self.path = path
        self._file: io.BufferedReader | None = None
        self._lock = Lock()  # threads share the position in the file
        try:
            # Only this file is read, even if its header names others: those belong to other cameras.
            self._tiff = tifffile.TiffFile(self.path, _multifile=False, is_mmstack=False)
        except (*_DAMAGE, OSError) as error:
            raise PlanelocError(f"{self.path}: not a readable TIFF ({_one_line(error)}); export it again") from None
        try:
            self._index(channels)
        except BaseException as error:
            self.close()
            if isinstance(error, _DAMAGE):
                raise PlanelocError(f"{self.path}: damaged or cut short ({_one_line(error)}); copy it again") from None
            raise
        if self.frames * self.channels > _MANY_IMAGES:
            gc.collect()  # page objects refer to each other; free them before the next file

    def _index(self, channels: int | None) -> None:
        series = self._series()
        _check_pixels(self.path, series)
        self.height, self.width = (int(n) for n in series.shape[-2:])
        self._dtype = np.dtype(series.dtype).newbyteorder(self._tiff.byteorder)
        self.largest_count = int(np.iinfo(self._dtype).max)
        order = _frames_and_channels(self.path, series.axes, series.shape, channels)
        self.frames, self.channels = order.shape
        starts = self._image_starts(series, order.size)
        self._offsets = None if starts is None else starts[order]
        if self._offsets is None:
            self._pages = np.array([page.index for page in series.pages])[order]
            self._decode(int(self._pages[0, 0]))
        else:
            # Everything needed is now known: the page objects, 0.4 kB for every image, need not stay in memory.
            self._tiff.close()
            self._tiff = None
            self._file = self.path.open("rb")

    def _series(self) -> tifffile.TiffPageSeries:
        """The only image series of the file; all its images must be in this file."""
        found = self._tiff.series
        if not found:
            raise PlanelocError(f"{self.path}: holds no image; export it again")
        series = found[0]
        headers = {"imagej": self._tiff.is_imagej, "shaped": self._tiff.is_shaped}
        if series.kind not in ("ome", *headers) and any(headers.values()):
            raise PlanelocError(f"{self.path}: cut short: shorter than its header says; copy it again")
        self._check_ome(series)
        if len(found) > 1:
            parts = ", ".join(f"{s.axes} {'×'.join(map(str, s.shape))}" for s in found[:3])
            raise PlanelocError(
                f"{self.path}: holds {len(found)} series of images, not one movie ({parts}); export one alone"
            )
        # The images of the other two kinds follow on the first page's, in this file; to look at each page takes long.
        if series.kind not in headers and any(page is None or page.parent is not self._tiff for page in series.pages):
            raise PlanelocError(
                f"{self.path}: some of its frames are missing or in other files; export the camera's frames as one file"
            )
        self._check_chain()
        return series

    def _check_ome(self, series: tifffile.TiffPageSeries) -> None:
        """Refuse an OME file that holds only a part of the frames that its header announces."""
        if not self._tiff.is_ome:
            return
        header = OmeHeader.parse(self._tiff.ome_metadata)
        if header is None:  # there is nothing to compare with
            return
        images = sum(page is not None for page in series.pages)
        announced = header.frames * header.channels if series.kind == "ome" else header.frames
        if series.kind == "ome" and images == announced:
            return
        if series.kind != "ome" and len(self._tiff.pages) in (header.frames, header.frames * header.channels):
            return
        others = sorted(header.files - {self.path.name})
        where = f"; the others are in {', '.join(others[:3])}" if others else ""
        raise PlanelocError(
            f"{self.path}: cut short or one part of several: it holds {images} of the {announced} images that its OME "
            f"header announces{where}; export the camera's frames as one file"
        )

    def _check_chain(self) -> None:
        """Refuse a file whose chain of pages does not end with a zero: the rest of the file is missing."""
        file, tiff = self._tiff.filehandle, self._tiff.tiff
        file.seek(self._tiff.pages.next_page_offset or 0)
        (following,) = struct.unpack(tiff.offsetformat, file.read(tiff.offsetsize))
        if following:
            raise PlanelocError(
                f"{self.path}: cut short: page {len(self._tiff.pages)} should follow at byte {following}, but the file "
                f"has {file.size}; copy it again"
            )

    def _image_starts(self, series: tifffile.TiffPageSeries, images: int) -> NDArray[np.int64] | None:
        """First byte of every image in file order, or None where they must be decoded; checks that the file has all."""
        size = self._tiff.filehandle.size
        image_bytes = self.height * self.width * self._dtype.itemsize
        if series.dataoffset is not None:
            starts = series.dataoffset + image_bytes * np.arange(images, dtype=np.int64)
            end = starts[-1] + image_bytes
        elif len(series.pages) != images:
            raise PlanelocError(f"{self.path}: several images in a page are not supported; save one image per page")
        elif series.keyframe.is_final:
            starts = np.array([page.dataoffsets[0] for page in series.pages], dtype=np.int64)
            end = starts.max() + image_bytes
        else:
            starts = None
            end = max(
                o + n for page in series.pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
        if end > size:
            raise PlanelocError(
                f"{self.path}: cut short: its images end at byte {end}, the file at {size}; copy it again"
            )
        return starts

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 as counts, (stop − start, channels, height, width); 8-bit pixels are widened."""
        shape = (stop - start, self.channels, self.height, self.width)
        if self._offsets is None:
            with self._lock:
                images = [self._decode(int(page)) for page in self._pages[start:stop].ravel()]
            return np.array(images, dtype=np.uint16).reshape(shape)
        counts = np.empty(shape, dtype=self._dtype)
        with self._lock:
            self._read_runs(self._offsets[start:stop].ravel(), memoryview(counts.reshape(-1)).cast("B"))
        return counts.astype(np.uint16, copy=False)

    def _read_runs(self, offsets: NDArray[np.int64], target: memoryview) -> None:
        """Fill `target` with the images at `offsets`; neighbours in the file are read at once."""
        image_bytes = self.height * self.width * self._dtype.itemsize
        breaks = np.flatnonzero(np.diff(offsets) != image_bytes) + 1
        for first, last in zip([0, *breaks], [*breaks, len(offsets)], strict=True):
            if first == last:
                continue
            self._file.seek(int(offsets[first]))
            images = target[int(first) * image_bytes : int(last) * image_bytes]
            if self._file.readinto(images) < len(images):
                raise PlanelocError(f"{self.path}: became shorter while it was read; keep it unchanged and run again")

    def _decode(self, page: int) -> NDArray:
        try:
            return self._tiff.pages[page].asarray()
        except (*_DAMAGE, OSError) as error:
            raise PlanelocError(
                f"{self.path}: page {page} cannot be decoded ({_one_line(error)}); save it as uncompressed 16-bit TIFF"
            ) from None

    def close(self) -> None:
        """Close the file."""
        for file in (self._tiff, self._file):
            if file is not None:
                file.close()


def _check_pixels(path: Path, series: tifffile.TiffPageSeries) -> None:
    if series.axes[-2:] != "YX":
        raise PlanelocError(f"{path}: not grey-value frames (axes {series.axes}); export the raw camera images")
    if series.dtype not in (np.uint8, np.uint16):
        raise PlanelocError(
            f"{path}: its pixels are {series.dtype}; cameras count in unsigned 8- or 16-bit integers, so export the "
            "raw counts, without processing, as 16-bit unsigned TIFF"
        )


def _frames_and_channels(path: Path, axes: str, shape: tuple[int, ...], channels: int | None) -> NDArray[np.int64]:
    """Position in the file of the image of every frame and channel, (frames, channels).

    `axes` and `shape` are those of the file, slowest first, ending in YX, without axes of length one.
    """
    axes, shape = axes[:-2], shape[:-2]
    order = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
    described = f"axes {axes}YX, {' × '.join(map(str, shape)) or 'one image'}"
    if channels is None:
        if len(axes) > 1:
            hint = (
                "set the microscope's layout to 'channels'" if "C" in axes else "export one run as a single time axis"
            )
            raise PlanelocError(f"{path}: more than one axis of images ({described}); {hint}")
        return order.reshape(-1, 1)
    if set(axes) <= _UNNAMED_AXES:
        if len(axes) == 1 and order.size % channels == 0:
            return order.reshape(-1, channels)
        if len(axes) == 2 and shape[1] == channels:
            return order
    elif axes.count("C") == 1 and len(axes) <= 2:
        order = np.moveaxis(order, axes.index("C"), -1).reshape(-1, shape[axes.index("C")])
        if order.shape[1] == channels:
            return order
    raise PlanelocError(
        f"{path}: the images ({described}) do not divide into {channels} cameras; layout 'channels' takes a channel "
        f"axis of {channels} and one axis of frames: export it so, or correct the microscope file"
    )


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:160] or type(error).__name__
