"""What the formats have in common: images by their place in a file → frames and channels.

A format says what its axes are and reads images by number; `ImageStack` makes of it a
`planeloc.io.camera_formats.CameraStack`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import DTypeLike, NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable

UNNAMED_AXES = frozenset("IQ")  # axes without a stated meaning
_LARGEST_COUNT = 65535


@dataclass(frozen=True)
class Images:
    """The images of a file, in its own order.

    Attributes
    ----------
    axes : letters of the axes, slowest first, ending in YX: T time, Z depth, C channel, I without a meaning.
    shape : their lengths.
    dtype : of the pixels; floats must hold whole counts.
    read : numbers of images, in the order of the file → (n, rows, columns).
    files : all files that hold them.
    close : ends the reading.
    remarks : what is odd about the file but was settled, one sentence each.
    pixel_size_nm : that the file states; None if it states none.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: DTypeLike
    read: Callable[[NDArray[np.int64]], NDArray]
    files: tuple[Path, ...]
    close: Callable[[], object] = lambda: None
    remarks: tuple[str, ...] = ()
    pixel_size_nm: float | None = None


class ImageStack:
    """The frames of a camera file; see `planeloc.io.camera_formats.CameraStack`.

    Raises
    ------
    PlanelocError : pixels or axes that are not those of raw frames.
    """

    def __init__(self, path: Path, images: Images, channels: int | None) -> None:
        self.path, self.files = path, images.files
        self.remarks, self.pixel_size_nm = images.remarks, images.pixel_size_nm
        self._images, self._lock = images, Lock()
        try:
            dtype = np.dtype(images.dtype)
            check_pixels(path, images.axes, dtype)
            axes = "".join(axis for axis, n in zip(images.axes[:-2], images.shape[:-2], strict=True) if n > 1)
            shape = (*(n for n in images.shape[:-2] if n > 1), *images.shape[-2:])
            self._order = frames_and_channels(path, axes + "YX", shape, channels)
            if not self._order.size:
                raise PlanelocError(f"{path}: holds no image; export it again")
        except BaseException:
            images.close()
            raise
        self.frames, self.channels = self._order.shape
        self.height, self.width = (int(n) for n in images.shape[-2:])
        self.largest_count = int(np.iinfo(dtype).max) if dtype.kind == "u" else _LARGEST_COUNT

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 as counts, (stop − start, channels, height, width)."""
        shape = (stop - start, self.channels, self.height, self.width)
        if start == stop:
            return np.empty(shape, np.uint16)
        with self._lock:
            images = self._images.read(self._order[start:stop].ravel())
        return _counts(self.path, images).reshape(shape)

    def close(self) -> None:
        """Close the file."""
        self._images.close()


def check_pixels(path: Path, axes: str, dtype: np.dtype, whole_floats: bool = True) -> None:
    """Refuse images that are not raw counts; `whole_floats`: the format stores counts as floats."""
    if axes[-2:] != "YX":
        raise PlanelocError(f"{path}: not grey-value frames (axes {axes}); export the raw camera images")
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16) and not (whole_floats and dtype.kind == "f"):
        raise PlanelocError(
            f"{path}: its pixels are {dtype}; cameras count in unsigned 8- or 16-bit integers, so export the "
            "raw counts, without processing, as 16-bit unsigned TIFF"
        )


def _counts(path: Path, images: NDArray) -> NDArray[np.uint16]:
    """Counts as 16-bit integers; those of programs that write floats must be whole and in range."""
    if images.dtype.kind != "f":
        return images.astype(np.uint16, copy=False)
    with np.errstate(invalid="ignore"):
        counts = images.astype(np.uint16)
    if not np.array_equal(counts, images):
        raise PlanelocError(
            f"{path}: its pixels are not whole numbers from 0 to {_LARGEST_COUNT}, so they are no raw counts; export "
            "the raw counts, without processing, as 16-bit unsigned TIFF"
        )
    return counts


def frames_and_channels(path: Path, axes: str, shape: tuple[int, ...], channels: int | None) -> NDArray[np.int64]:
    """Position in the file of the image of every frame and channel, (frames, channels).

    `axes` and `shape` are those of the file, slowest first, ending in YX, without axes of length one.

    Raises
    ------
    PlanelocError : axes that do not divide into frames and `channels`.
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
    if set(axes) <= UNNAMED_AXES:
        if len(axes) <= 1 and order.size % channels == 0:
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


class RawImages:
    """Uncompressed images of one size at known places of some files, read with plain file reads.

    A memory map of a long movie would count as memory of the process.

    Parameters
    ----------
    files : that hold the images.
    places : (images, 2), number of the file and first byte.
    shape : (rows, columns).
    dtype : of the pixels, with its byte order.

    Raises
    ------
    PlanelocError : a file cannot be opened, or ends before its last image.
    """

    def __init__(
        self, files: Sequence[Path], places: NDArray[np.int64], shape: tuple[int, int], dtype: DTypeLike
    ) -> None:
        self._paths, self._places, self._shape, self._dtype = tuple(files), places, shape, np.dtype(dtype)
        self._bytes = shape[0] * shape[1] * self._dtype.itemsize
        self._files = []
        try:
            for number, path in enumerate(self._paths):
                self._files.append(path.open("rb"))
                end = int(places[places[:, 0] == number, 1].max(initial=-self._bytes)) + self._bytes
                if end > (size := path.stat().st_size):
                    raise PlanelocError(
                        f"{path}: cut short: its images end at byte {end}, the file at {size}; copy it again"
                    )
        except OSError as error:
            self.close()
            raise unreadable(self._paths[len(self._files)], error) from None
        except PlanelocError:
            self.close()
            raise

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray:
        """Images by number, (n, rows, columns); neighbours in a file are read at once."""
        images = np.empty((len(numbers), *self._shape), dtype=self._dtype)
        target, places = memoryview(images.reshape(-1)).cast("B"), self._places[numbers]
        step = np.diff(places, axis=0)
        breaks = np.flatnonzero((step[:, 0] != 0) | (step[:, 1] != self._bytes)) + 1
        for first, last in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
            number, start = (int(value) for value in places[first])
            room = target[int(first) * self._bytes : int(last) * self._bytes]
            self._files[number].seek(start)
            if self._files[number].readinto(room) < len(room):
                path = self._paths[number]
                raise PlanelocError(f"{path}: became shorter while it was read; keep it unchanged and run again")
        return images

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def contiguous(images: int, image_bytes: int, start: int = 0) -> NDArray[np.int64]:
    """Places for `RawImages` of images that follow on each other in one file."""
    return in_one_file(start + image_bytes * np.arange(images, dtype=np.int64))


def in_one_file(first_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places for `RawImages` of images in one file, by their first bytes."""
    return np.stack([np.zeros_like(first_bytes), first_bytes], axis=1)


def runs(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of the ascending runs of some numbers."""
    if len(numbers):
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
            yield int(numbers[begin]), int(numbers[end - 1]) + 1


@contextmanager
def read_by(path: Path, library: str) -> Iterator[None]:
    """What a library for a format raises becomes one line; it may raise anything on a file it does not know.

    Raises
    ------
    PlanelocError : the library is not installed, or cannot read the file.
    """
    try:
        yield
    except PlanelocError:
        raise
    except ImportError as error:
        raise PlanelocError(
            f"{path}: reading this format takes the package {library} ({one_line(error)}); install it: pip install "
            f"{library}"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001
        raise PlanelocError(
            f"{path}: {library} cannot read it ({type(error).__name__}: {one_line(error)}); export it as TIFF with the "
            "camera's program"
        ) from None


def matches(path: Path) -> list[Path]:
    """Files that fit a pattern in the name of a file; none if it is no pattern."""
    return list(path.parent.glob(path.name)) if has_magic(path.name) else []


def begins_with(path: Path, *first_bytes: bytes) -> bool:
    """Whether a file begins with one of some bytes; a folder does not."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(max(map(len, first_bytes))).startswith(first_bytes)
    return False


def one_line(error: BaseException) -> str:
    """The message of an error, short and in one line."""
    return re.sub(r"\s+", " ", str(error)).strip()[:160] or type(error).__name__
