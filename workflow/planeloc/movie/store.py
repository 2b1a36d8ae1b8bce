"""The movie between the stages: raw counts of all cameras in a Zarr v3 store, and the manifest that vouches for it.

A Zarr store alone cannot be trusted to be whole: a chunk that is missing reads back as zeros without a word. So the
manifest, which is written last, lists the checksum that the file of every chunk ends with, and nothing is read here
that does not agree with it. The store itself stays an ordinary one, for any Zarr v3 reader: a group with the array
``counts`` (frame, plane, y, x); see `planeloc.movie.chunks` for its chunks.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
import zarr.errors
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, read_json, write_json
from planeloc.core.progress import progress_bar
from planeloc.movie import chunks

FORMAT = "planeloc movie 2"
ARRAY = "counts"
AXES = ("frame", "plane", "y", "x")
AUTO_CHUNK_BYTES = 16 << 20
AUTO_CHUNK_FRAMES = 100
_HASH_BLOCK_BYTES = 1 << 18
_READ_BYTES = 2 << 20  # a source's frames are brought together while they are in the processor's cache
_MAKE_AGAIN = "make it again with `planeloc convert`"


class Source(Protocol):
    """Frames to be written, as `planeloc.io.camera_files.open_cameras` gives them."""

    shape: tuple[int, int, int, int]
    files: list[Path]

    def read(self, start: int, stop: int) -> NDArray[np.uint16]: ...


class Movie:
    """A converted movie, opened for reading.

    Attributes:
        manifest, store: the two paths.
        shape: (frames, planes, height, width).
        chunk_frames: frames in a chunk; reading along chunk borders decodes nothing twice.
        digest: SHA-256 of the shape and of all counts in order, whatever the chunks: it identifies the data.
        microscope: the microscope file's content at the time of conversion.
        content: the whole manifest.
    """

    def __init__(self, manifest: Path, content: dict[str, Any], array: zarr.Array) -> None:
        self.manifest = manifest
        self.store = manifest.parent / content["store"]
        self.shape: tuple[int, int, int, int] = tuple(content["shape"])
        self.frames, self.planes, self.height, self.width = self.shape
        self.chunk_frames: int = content["chunk_frames"]
        self.digest: str = content["digest"]
        self.microscope = _microscope(content["microscope"])
        self.content = content
        self._array = array
        self._checksums = [bytes.fromhex(text) for text in content["chunk_crc32c"]]
        self._latest: tuple[int, NDArray[np.uint16]] | None = None

    @classmethod
    def open(cls, manifest: str | Path) -> Movie:
        """Open a movie by its manifest.

        Raises:
            PlanelocError: the manifest or the store is missing, not one of planeloc's, or they do not belong together.
        """
        manifest = Path(manifest)
        content = read_json(manifest)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise PlanelocError(
                f"{manifest}: not a manifest of a movie as this version of planeloc writes it ({FORMAT}); {_MAKE_AGAIN}"
            )
        try:
            store = manifest.parent / content["store"]
            array = _open_array(store)
            movie = cls(manifest, content, array)
            agree = array.shape == movie.shape and array.dtype == np.uint16 and array.chunks == movie._chunk_shape()
            agree &= chunks.readable(array) and len(movie._checksums) == movie.chunks
        except (KeyError, TypeError, ValueError) as error:
            raise PlanelocError(f"{manifest}: damaged manifest ({error!r}); {_MAKE_AGAIN}") from None
        if not agree:
            raise PlanelocError(f"{store}: does not belong to {manifest.name}: shape or chunks differ; {_MAKE_AGAIN}")
        return movie

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.frames / self.chunk_frames)

    def _chunk_shape(self) -> tuple[int, int, int, int]:
        return (self.chunk_frames, *self.shape[1:])

    def __getstate__(self) -> dict[str, Any]:
        """Sent to a worker, a movie leaves the chunk that it keeps at home."""
        return {**self.__dict__, "_latest": None}

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 as counts, (stop − start, planes, height, width), every one checked.

        Raises:
            PlanelocError: a chunk is missing or not what was written; names the store and the chunk.
            IndexError: the frames asked for are not all there (a mistake of the caller).
        """
        if not 0 <= start <= stop <= self.frames:
            raise IndexError(f"frames {start}:{stop} of {self.frames}")
        frames = np.empty((stop - start, *self.shape[1:]), dtype=np.uint16)
        for index in range(start // self.chunk_frames, math.ceil(stop / self.chunk_frames)):
            first = index * self.chunk_frames
            low, high = max(start, first), min(stop, first + self.chunk_frames)
            frames[low - start : high - start] = self._chunk(index)[low - first : high - first]
        return frames

    def _chunk(self, index: int) -> NDArray[np.uint16]:
        """The counts of a chunk. The latest is kept, for blocks that are smaller than a chunk."""
        latest = self._latest
        if latest is None or latest[0] != index:
            self._latest = latest = (index, self._read_chunk(index))
        return latest[1]

    def _read_chunk(self, index: int) -> NDArray[np.uint16]:
        """Decode a chunk from its file; missing or damaged is a `PlanelocError`, never zeros."""
        file = _chunk_file(self._array, self.store, index)
        counts = np.empty(self._chunk_shape(), dtype=np.uint16)
        try:
            checksum = chunks.read(file, counts)
        except FileNotFoundError:
            raise PlanelocError(
                f"{self.store}: chunk {index} is missing ({file.relative_to(self.store)}); {_MAKE_AGAIN}"
            ) from None
        except (ValueError, RuntimeError, OSError) as error:  # of checksum, decompressor or disk
            reason = " ".join(str(error).split())
            raise PlanelocError(f"{file}: chunk {index} of the movie is damaged ({reason}); {_MAKE_AGAIN}") from None
        if checksum != self._checksums[index]:
            raise PlanelocError(
                f"{self.store}: chunk {index} holds other counts than {self.manifest.name} says; {_MAKE_AGAIN}"
            )
        return counts[: min(self.chunk_frames, self.frames - index * self.chunk_frames)]

    def verify(self) -> None:
        """Read the whole movie and compare it with the manifest; raises `PlanelocError` naming the first bad chunk."""
        digest = _new_digest(self.shape)
        for index in range(self.chunks):
            digest.update(self._chunk(index))
        if digest.hexdigest() != self.digest:
            raise PlanelocError(f"{self.manifest}: the movie's digest is not that of its counts; {_MAKE_AGAIN}")


def write_movie(
    source: Source,
    store: Path,
    manifest: Path,
    microscope: Microscope,
    *,
    chunk_frames: int = 0,
    compression_level: int = 1,
    threads: int = 1,
    progress: bool = False,
    survey: Callable[[NDArray[np.uint16]], Any] | None = None,
    report: Callable[[list[Any]], dict[str, Any]] | None = None,
) -> None:
    """Write a source's frames to a store and its manifest; every chunk is read back from the file and compared.

    Frames are read and their digest taken in order, `threads` threads compress and compare, and one more hashes the
    source files. The memory needed is that of 2·(`threads` + 1) chunks and their compressed copies, whatever the
    length. Neither path is touched until the new store is whole; between its renaming and the writing of the manifest
    there is no manifest.

    Args:
        source: frames and the files they come from, whose SHA-256 goes into the manifest.
        chunk_frames: frames per chunk; 0 for at most 100 and 16 MiB.
        compression_level: of zstd, 1 to 9.
        threads: chunks compressed at the same time.
        progress: show a bar on stderr.
        survey: called on the counts of every chunk, in any order and several threads.
        report: makes manifest entries of what `survey` returned, in the order of the chunks.

    Raises:
        PlanelocError: the disk is full, what is on it is not what was written, or a source file changed meanwhile.
    """
    frames, *frame_shape = source.shape
    chunk_frames = min(chunk_frames or auto_chunk_frames(frame_shape), frames)
    if 2 * chunk_frames * math.prod(frame_shape) > chunks.LARGEST_BYTES:
        raise PlanelocError(
            f"setting chunk_frames: {chunk_frames} frames of this movie exceed 2 GiB; use 0 (automatic)"
        )
    with ExitStack() as stack:
        partial = stack.enter_context(atomic_path(store))
        files = [stack.enter_context(closing(_SourceFile(path))) for path in source.files]
        hashing = stack.enter_context(ThreadPoolExecutor(1))
        bar = stack.enter_context(progress_bar(frames, "convert", "frame", shown=progress))
        array = _create_array(partial, source.shape, chunk_frames, compression_level)
        digest = _new_digest(source.shape)
        written: list[_Written] = []
        hashed: Future[None] | None = None
        done = 0
        for chunk in _write_chunks(source, array, store, partial, digest, threads, compression_level, survey):
            written.append(chunk)
            bar.update(chunk.frames)
            done += chunk.frames
            if hashed:
                hashed.result()
            hashed = hashing.submit(_hash_on, files, done / frames)
        if hashed:
            hashed.result()
        sources = [file.record() for file in files]
        manifest.unlink(missing_ok=True)  # from here on an older manifest would describe a store that is gone
    content = {
        "format": FORMAT,
        "store": os.path.relpath(store, manifest.parent),
        "shape": list(source.shape),
        "axes": list(AXES),
        "dtype": "uint16",
        "chunk_frames": chunk_frames,
        "digest": digest.hexdigest(),
        "sources": sources,
        "microscope": microscope.as_dict(),
        **(report([chunk.survey for chunk in written]) if report else {}),
        "chunk_crc32c": [chunk.checksum.hex() for chunk in written],
    }
    write_json(manifest, content)


def auto_chunk_frames(frame_shape: tuple[int, ...] | list[int]) -> int:
    """Frames per chunk for frames of (planes, height, width): at most 100, at most 16 MiB, at least one."""
    return max(1, min(AUTO_CHUNK_FRAMES, AUTO_CHUNK_BYTES // (2 * math.prod(frame_shape))))


@dataclass(frozen=True)
class _Written:
    """What is kept of a chunk that is on disk."""

    frames: int
    checksum: bytes
    survey: Any


class _SourceFile:
    """Hashes a source file in step with the conversion, while the operating system still holds what was just read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._now()
        self._file = path.open("rb", buffering=0)
        self._block = memoryview(bytearray(_HASH_BLOCK_BYTES))
        self._hash = hashlib.sha256()

    def _now(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_size, status.st_mtime_ns

    def advance(self, fraction: float) -> None:
        """Hash on to this fraction of the file."""
        end = int(self._state[0] * fraction)
        while count := self._file.readinto(self._block[: max(0, end - self._file.tell())]):
            self._hash.update(self._block[:count])

    def record(self) -> dict[str, Any]:
        """Path, size and SHA-256; raises `PlanelocError` if the file is no longer the one that was opened."""
        self.advance(1.0)
        if self._now() != self._state:
            raise PlanelocError(
                f"{self._path}: changed while it was converted; run again when the acquisition has ended"
            )
        return {"path": str(self._path), "bytes": self._state[0], "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()


def _hash_on(files: list[_SourceFile], fraction: float) -> None:
    for file in files:
        file.advance(fraction)


def _write_chunks(
    source: Source,
    array: zarr.Array,
    store: Path,
    partial: Path,
    digest: Any,
    threads: int,
    compression_level: int,
    survey: Callable[[NDArray[np.uint16]], Any] | None,
) -> Iterator[_Written]:
    """Read in order, compress in parallel, yield in order; never more than `threads` + 1 chunks wait.

    Chunks take turns in the same memory: fresh memory for each would cost as much time as their decompression.
    """

    def write(index: int, frames: int, counts: NDArray[np.uint16], scratch: NDArray[np.uint16]) -> _Written:
        try:
            checksum = chunks.write(_chunk_file(array, partial, index), counts, compression_level, scratch)
        except (ValueError, RuntimeError) as error:
            raise PlanelocError(
                f"{store}: chunk {index} reads back other than it was written ({error}); check disk and memory"
            ) from None
        return _Written(frames, checksum, survey(counts[:frames]) if survey else None)

    room = [np.zeros((2, *array.chunks), dtype=np.uint16) for _ in range(threads + 1)]
    waiting: deque[Future[_Written]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for index, start in enumerate(range(0, source.shape[0], array.chunks[0])):
            if len(waiting) == len(room):
                yield waiting.popleft().result()
            counts, scratch = room[index % len(room)]
            frames = _read_chunk(source, start, counts)
            digest.update(counts[:frames])
            waiting.append(pool.submit(write, index, frames, counts, scratch))
        while waiting:
            yield waiting.popleft().result()


def _read_chunk(source: Source, start: int, counts: NDArray[np.uint16]) -> int:
    """Fill a chunk with the source's frames from `start` on, and zeros where it has no more; return their number."""
    frames = min(len(counts), source.shape[0] - start)
    batch = max(1, _READ_BYTES // counts[0].nbytes)
    for first in range(0, frames, batch):
        last = min(first + batch, frames)
        counts[first:last] = source.read(start + first, start + last)
    counts[frames:] = 0
    return frames


def _create_array(store: Path, shape: tuple[int, ...], chunk_frames: int, compression_level: int) -> zarr.Array:
    group = zarr.open_group(store, mode="w", zarr_format=3)
    return group.create_array(
        ARRAY,
        shape=shape,
        chunks=(chunk_frames, *shape[1:]),
        dtype="uint16",
        compressors=chunks.codecs(compression_level),
        fill_value=0,
        dimension_names=AXES,
        config={"write_empty_chunks": True},  # a chunk of zeros must exist, or it could not be told from a lost one
    )


def _open_array(store: Path) -> zarr.Array:
    try:
        array = zarr.open_group(store, mode="r", zarr_format=3)[ARRAY]
    except (KeyError, ValueError, TypeError, OSError, zarr.errors.BaseZarrError):
        raise PlanelocError(f"{store}: movie store missing or damaged; {_MAKE_AGAIN}") from None
    if not isinstance(array, zarr.Array):
        raise PlanelocError(f"{store}: {ARRAY} is not an array; {_MAKE_AGAIN}")
    return array


def _chunk_file(array: zarr.Array, store: Path, index: int) -> Path:
    return store / ARRAY / array.metadata.encode_chunk_key((index, 0, 0, 0))


def _new_digest(shape: tuple[int, ...]) -> Any:
    return hashlib.sha256(f"uint16 {tuple(map(int, shape))}".encode())


def _microscope(content: dict[str, Any]) -> Microscope:
    cameras = tuple(Camera(**camera) for camera in content["cameras"])
    regions = tuple(Region(**region) for region in content["regions"])
    return Microscope(**{**content, "cameras": cameras, "regions": regions})
