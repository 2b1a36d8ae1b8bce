"""Writing a movie: frames of the cameras → Zarr store and manifest."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.microscope import Microscope
from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, write_json
from planeloc.core.progress import progress_bar
from planeloc.movie import chunks, ngff
from planeloc.movie.store import ARRAY, FORMAT, Source, chunk_file, new_digest

if TYPE_CHECKING:
    import zarr

AXES = ("frame", "plane", "y", "x")
AUTO_CHUNK_BYTES = 16 << 20
AUTO_CHUNK_FRAMES = 100
_HASH_BLOCK_BYTES = 1 << 18
_MARK = {"made_by": "planeloc convert"}  # of `marks.MOVIE`
_READ_BYTES = 2 << 20  # frames of a source read at once; they fit into the processor's cache

SurveyFunction = Callable[[NDArray[np.uint16]], Any]


def write_movie(
    source: Source,
    store: Path,
    manifest: Path,
    microscope: Microscope,
    *,
    chunk_frames: int = 0,
    compression_level: int = 1,
    threads: int = 1,
    survey: SurveyFunction | None = None,
    report: Callable[[list[Any]], dict[str, Any]] | None = None,
) -> None:
    """Write a source's frames to a store and its manifest; every chunk is read back and compared.

    Memory is that of 2·(`threads` + 1) chunks and their compressed copies. The new store replaces an older one when it
    is complete; from then until the manifest is written there is no manifest.

    Parameters
    ----------
    chunk_frames : int
        Frames per chunk; 0 for at most 100 and 16 MiB.
    compression_level : int
        Of zstd, 1 to 9.
    threads : int
        Chunks compressed at the same time.
    survey, report : callable, optional
        `survey` is called on the counts of every chunk, in several threads; `report` makes manifest entries of its
        results, in the order of the chunks.

    Raises
    ------
    PlanelocError : the disk is full, a chunk differs from what was written, or a source file changed meanwhile.
    """
    chunk_frames = min(chunk_frames or auto_chunk_frames(source.shape[1:]), source.shape[0])
    if 2 * chunk_frames * math.prod(source.shape[1:]) > chunks.LARGEST_BYTES:
        raise PlanelocError(
            f"setting chunk_frames: {chunk_frames} frames of this movie exceed 2 GiB; use 0 (automatic)"
        )
    digest = new_digest(source.shape)
    marks.refuse_foreign(manifest, marks.MANIFEST)
    with atomic_path(store, marks.MOVIE) as partial:
        some = source.read(0, min(ngff.FRAMES_FOR_CONTRAST, source.shape[0], _frames_at_once(source.shape)))
        shown = ngff.attributes(ARRAY, store.stem, microscope, some)
        array = _create_array(partial, source.shape, chunk_frames, compression_level, {"ome": shown})
        writing = _write_chunks(source, array, store, partial, digest, threads, compression_level, survey)
        written, sources = _hash_sources(source, writing)
        marks.place(manifest).unlink(missing_ok=True)  # an older one would describe the store that is now replaced
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
    write_json(manifest, content, marks.MANIFEST)


def auto_chunk_frames(frame_shape: tuple[int, ...] | list[int]) -> int:
    """Frames per chunk for frames of (planes, height, width): at most 100, at most 16 MiB, at least one."""
    return max(1, min(AUTO_CHUNK_FRAMES, AUTO_CHUNK_BYTES // (2 * math.prod(frame_shape))))


@dataclass(frozen=True)
class _Written:
    """What is kept of a chunk that is on disk."""

    frames: int
    checksum: bytes
    survey: Any


class _Recording:
    """Hashes the files of a recording, one after the other, in step with the conversion.

    Their bytes are in the file system's cache then.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self._path, self._files = path, tuple(files)
        self._state = self._now()
        self._size = sum(size for size, _ in self._state)
        self._waiting = iter(self._files)
        self._file = next(self._waiting).open("rb", buffering=0)
        self._block = memoryview(bytearray(_HASH_BLOCK_BYTES))
        self._hash, self._done = hashlib.sha256(), 0

    def _now(self) -> list[tuple[int, int]]:
        return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in self._files)]

    def advance(self, fraction: float) -> None:
        """Continue the hash up to this fraction of all bytes."""
        end = int(self._size * fraction)
        while self._done < end:
            count = self._file.readinto(self._block[: end - self._done])
            self._hash.update(self._block[:count])
            self._done += count
            if not count:
                self._file.close()
                following = next(self._waiting, None)
                if following is None:
                    return
                self._file = following.open("rb", buffering=0)

    def record(self) -> dict[str, Any]:
        """Path, size and SHA-256, and the number of files if there are several.

        Raises
        ------
        PlanelocError : a file has changed.
        """
        self.advance(1.0)
        for file, before, now in zip(self._files, self._state, self._now(), strict=True):
            if before != now:
                raise PlanelocError(f"{file}: changed during the conversion; convert it when the acquisition has ended")
        several = {"files": len(self._files)} if len(self._files) > 1 else {}
        return {"path": str(self._path), "bytes": self._size, "sha256": self._hash.hexdigest(), **several}

    def close(self) -> None:
        self._file.close()


def _hash_sources(source: Source, writing: Iterator[_Written]) -> tuple[list[_Written], list[dict[str, Any]]]:
    """Write all chunks, and hash the source files meanwhile; returns the chunks, and the records of the files."""

    def advance(fraction: float) -> None:
        for file in files:
            file.advance(fraction)

    written: list[_Written] = []
    done = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(closing(_Recording(path, every)))
            for path, every in zip(source.files, source.all_files, strict=True)
        ]
        hashing = stack.enter_context(ThreadPoolExecutor(1))
        bar = stack.enter_context(progress_bar(source.shape[0], "convert", "frame"))
        hashed = hashing.submit(advance, 0.0)
        for chunk in writing:
            written.append(chunk)
            bar.update(chunk.frames)
            done += chunk.frames
            hashed.result()
            hashed = hashing.submit(advance, done / source.shape[0])
        hashed.result()
        return written, [file.record() for file in files]


def _write_chunks(
    source: Source,
    array: zarr.Array,
    store: Path,
    partial: Path,
    digest: Any,
    threads: int,
    compression_level: int,
    survey: SurveyFunction | None,
) -> Iterator[_Written]:
    """Read in order, compress in parallel, yield in order; at most `threads` + 1 chunks wait.

    Chunks share the same memory in turn: allocating memory for each takes as long as its decompression.
    """

    def write(index: int, frames: int, counts: NDArray[np.uint16], scratch: NDArray[np.uint16]) -> _Written:
        try:
            checksum = chunks.write(chunk_file(partial, index), counts, compression_level, scratch)
        except (ValueError, RuntimeError) as error:
            raise PlanelocError(
                f"{store}: chunk {index} differs from what was written ({error}); check disk and memory"
            ) from None
        return _Written(frames, checksum, survey(counts[:frames]) if survey else None)

    buffers = [np.zeros((2, *array.chunks), dtype=np.uint16) for _ in range(threads + 1)]
    waiting: deque[Future[_Written]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for index, start in enumerate(range(0, source.shape[0], array.chunks[0])):
            if len(waiting) == len(buffers):
                yield waiting.popleft().result()
            counts, scratch = buffers[index % len(buffers)]
            frames = _read_chunk(source, start, counts)
            digest.update(counts[:frames])
            waiting.append(pool.submit(write, index, frames, counts, scratch))
        while waiting:
            yield waiting.popleft().result()


def _frames_at_once(shape: tuple[int, ...]) -> int:
    """Frames of a source of this shape that are read together."""
    return max(1, _READ_BYTES // (2 * math.prod(shape[1:])))


def _read_chunk(source: Source, start: int, counts: NDArray[np.uint16]) -> int:
    """Fill a chunk with the source's frames from `start` on, then zeros; return the number of frames."""
    frames = min(len(counts), source.shape[0] - start)
    batch = _frames_at_once(source.shape)
    for first in range(0, frames, batch):
        last = min(first + batch, frames)
        counts[first:last] = source.read(start + first, start + last)
    counts[frames:] = 0
    return frames


def _create_array(
    store: Path, shape: tuple[int, ...], chunk_frames: int, compression_level: int, attributes: dict[str, Any]
) -> zarr.Array:
    import zarr  # 0.4 s, which reading a movie need not spend

    group = zarr.open_group(store, mode="w", zarr_format=3, attributes={**attributes, **_MARK})
    return group.create_array(
        ARRAY,
        shape=shape,
        chunks=(chunk_frames, *shape[1:]),
        dtype="uint16",
        compressors=chunks.codecs(compression_level),
        fill_value=0,
        dimension_names=ngff.AXES,
        config={"write_empty_chunks": True},  # a missing chunk must be an error, not zeros
    )
