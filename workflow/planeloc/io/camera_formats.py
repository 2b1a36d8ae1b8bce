"""Camera formats: one module per file format of cameras, found by the file.

To add a format, write one module with the attributes of `CameraFormat` and list it in the entry-point group
``planeloc.camera_formats`` of your package; every stage that takes camera files then reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from glob import has_magic
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import require_file
from planeloc.core.registry import Registry
from planeloc.io.camera_files.image_stack import matches


class CameraStack(Protocol):
    """The frames of one camera file, opened for reading.

    It may have three attributes more: `files`, all files that hold its images (else: `path` alone); `remarks`,
    sentences about what is odd with the file but was settled; `pixel_size_nm`, that the file states, or None.
    """

    path: Path  # a file, a folder or a pattern, as it was named
    frames: int
    channels: int  # cameras that share the file
    height: int
    width: int
    largest_count: int  # that a pixel can hold: 255 or 65535

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 as counts, (stop − start, channels, height, width). Threads may read together."""

    def close(self) -> None:
        """Close the file."""


class CameraFormat(Protocol):
    """What a module or object must have to be a camera format."""

    name: str  # for messages: "TIFF"
    suffixes: tuple[str, ...]  # usual endings of the file names, in lower case

    def opens(self, path: Path) -> bool:
        """Whether the file is of this format, by its first bytes."""

    def open(self, path: Path, channels: int | None = None) -> CameraStack:
        """Open a file, or raise `PlanelocError` if it is damaged, cut short or of other axes.

        `channels` cameras share the file along a channel axis. None: one image per frame; a single axis besides y and x
        counts as the frames, whatever its name.
        """


_LOG = logging.getLogger(__name__)

_BUILT_IN = {  # formats that recognize more files come first
    "TIFF sequence": "tiff_sequence",
    "Picasso raw": "picasso_raw",
    "DAX": "dax",
    "NumPy": "numpy_array",
    "HDF5": "hdf5_dataset",
    "Zarr": "zarr_array",
    "Hamamatsu DCIMG": "hamamatsu_dcimg",
    "Nikon ND2": "nikon_nd2",
    "Andor SIF": "andor_sif",
    "NDTiff": "ndtiff",
    "TIFF": "tiff",
}
CAMERA_FORMATS = Registry(
    "camera format",
    "planeloc.camera_formats",
    {name: f"planeloc.io.camera_files.{module}" for name, module in _BUILT_IN.items()},
)


def open_camera_file(path: str | Path, channels: int | None = None) -> CameraStack:
    """Open a camera file with the format that recognizes it: by its first bytes, else by the ending of its name.

    Formats of other packages are asked first, since theirs may be based on a built-in one.

    Raises
    ------
    PlanelocError : the file is missing, of no registered format, or cannot be read as its format.
    """
    path = _existing(Path(path))
    formats = list(_formats())
    named = [known for known in formats if path.name.lower().endswith(tuple(known.suffixes))]
    recognized = [known for known in formats if known.opens(path)]
    for known in (*recognized, *named):
        return known.open(path, channels)
    described = ", ".join(f"{known.name} ({', '.join(known.suffixes)})" for known in formats)
    raise PlanelocError(
        f"{path}: not a camera format that planeloc can read: {described}; export it as TIFF, or install a package "
        "that reads it (entry-point group planeloc.camera_formats)"
    )


def _existing(path: Path) -> Path:
    """The path, if it is a readable file, a folder, or a pattern of file names."""
    if path.is_dir():
        return path
    if has_magic(path.name) and not path.exists():
        if not matches(path):
            raise PlanelocError(f"{path}: no file fits this pattern; check the folder and the names")
        return path
    return require_file(path, "camera file")


def _formats() -> Iterator[CameraFormat]:
    """All formats that can be loaded, those of other packages first; a warning for every other."""
    for name in reversed(CAMERA_FORMATS.names()):
        try:
            yield CAMERA_FORMATS.load(name)
        except PlanelocError as error:
            _LOG.warning(str(error))
