"""Writing OME-TIFF image stacks frame by frame, the same bytes for the same pixels.

The whole file is laid out first and then filled in order, so that memory does not depend on the length of a movie and
several cameras can be written side by side. The identifier that OME asks for is derived from the description: a
random one, as most writers use, would make every repetition a different file.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

_HEADER_BYTES = 512  # per page, generously: what decides that 32-bit offsets do not suffice


class OmeTiffWriter:
    """A uint16 stack of known size, filled by successive calls of `append`; a context manager.

    Parameters
    ----------
    path : Path
        The file; written in place, so give a temporary name.
    shape : (length, rows, columns)
    axes : str
        ``"TYX"`` for a movie, ``"ZYX"`` for a z-stack.
    description : mapping
        OME attributes: ``Name``, ``Channel``, ``PhysicalSizeX`` …
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], axes: str, description: dict[str, Any]) -> None:
        self._shape = shape
        self._missing = shape[0]
        self._path = path
        identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"planeloc {shape} {axes} {sorted(description.items())}")
        metadata = {"axes": axes, "UUID": f"urn:uuid:{identifier}", "Creator": "planeloc", **description}
        large = shape[0] * (2 * shape[1] * shape[2] + _HEADER_BYTES) > 2**32
        with tifffile.TiffWriter(path, ome=True, byteorder="<", bigtiff=large) as tiff:
            tiff.write(shape=shape, dtype="uint16", photometric="minisblack", software="planeloc", metadata=metadata)
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.series[0].dataoffset
        self._file = path.open("r+b")
        self._file.seek(offset)

    def append(self, frames: NDArray[np.uint16]) -> None:
        """Write the next frames, (n, rows, columns)."""
        if frames.shape[1:] != self._shape[1:] or len(frames) > self._missing:
            raise ValueError(f"{self._path}: frames of shape {frames.shape} do not fit a stack of {self._shape}")
        self._file.write(np.ascontiguousarray(frames, dtype="<u2").tobytes())
        self._missing -= len(frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None and self._missing:
            raise ValueError(f"{self._path}: {self._missing} frames of {self._shape[0]} were never written")
