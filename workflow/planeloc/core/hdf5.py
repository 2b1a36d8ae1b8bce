"""Creating HDF5 files: complete or not at all, with equal bytes for equal content, and safe on a full disk.

The HDF5 library crashes after a failed write (measured: 1.14 on a full disk ends in a segmentation fault). It therefore
writes into a `_Sink`, which keeps the first error until HDF5 has closed the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from planeloc.core.files import atomic_path
from planeloc.core.marks import Kind


class _Sink(io.FileIO):
    """A file that ignores writes after the first that failed, and keeps its error."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, block: bytes | memoryview) -> int:
        view = memoryview(block).cast("B")
        written = 0
        while written < len(view) and self.error is None:
            try:
                written += super().write(view[written:])
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


class Hdf5File(h5py.File):
    """An `h5py.File` for writing; `raise_failed_write` detects a full disk early."""

    _sink: _Sink

    def raise_failed_write(self) -> None:
        """Raise the `OSError` of the first write that failed, if one did."""
        if self._sink.error is not None:
            raise self._sink.error


@contextmanager
def create(path: str | Path, kind: Kind) -> Iterator[Hdf5File]:
    """Yield an HDF5 file to fill; it appears at `path` when the block ends without an error.

    No times are stored, and objects keep the order of their creation.

    Raises
    ------
    PlanelocError : the disk is full, or something else than a file of that kind is at `path`.
    """
    with atomic_path(path, kind) as partial, _Sink(partial) as sink:
        with Hdf5File(sink, "w", libver="v110", track_order=True) as file:
            file._sink = sink
            yield file
        if sink.error is not None:
            raise sink.error
