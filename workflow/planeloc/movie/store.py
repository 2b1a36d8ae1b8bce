"""The movie between the stages: raw counts of all cameras in a Zarr v3 store, and a manifest with their checksums.

Zarr reads a missing chunk as zeros. The manifest, which is written last, therefore lists the checksum of every chunk,
and `Movie` reads nothing that disagrees with it. The store remains readable by any Zarr v3 reader: a group with the
array ``counts`` (frame, plane, y, x), and attributes that make it an OME-Zarr image (`planeloc.movie.ngff`); see
`planeloc.movie.chunks` for its chunks, `planeloc.movie.writer` for writing. Here the metadata of the array are read as
JSON: importing Zarr takes longer than reading a small movie.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.movie import chunks
from planeloc.movie.camera_frames import CameraFrames

FORMAT = "planeloc movie 2"
ARRAY = "counts"
RECORDED = "recorded_frames"  # entry of the manifest of a movie whose cameras differ in length
_CONVERT_AGAIN = "convert it again with `planeloc convert`"


class Source(Protocol):
    """Frames to be written, as `planeloc.io.camera_source.open_cameras` gives them."""

    shape: tuple[int, int, int, int]
    files: list[Path]
    all_files: list[tuple[Path, ...]]  # for each of `files`, all that hold its images

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Counts (frames, planes, rows, columns) of the frames [start, stop)."""


class Movie:
    """A converted movie, opened for reading.

    Attributes
    ----------
    shape : (frames, planes, height, width)
    chunk_frames : int
        Frames per chunk; reading whole chunks decodes nothing twice.
    digest : str
        SHA-256 of the shape and of all counts in order, independent of the chunks: it identifies the data as recorded.
    recorded : tuple of int
        Frames that every camera recorded, if their lengths differ; later frames are zero in the store, and not read.
    camera_frames : CameraFrames
        Which frame of every camera shows a moment: `read` counts moments.
    microscope : Microscope
        Content of the microscope file at the time of conversion.
    content : dict
        The whole manifest.
    """

    def __init__(self, manifest: Path, content: dict[str, Any], camera_frames: CameraFrames | None = None) -> None:
        self.manifest = manifest
        self.store = manifest.parent / content["store"]
        self.shape: tuple[int, int, int, int] = tuple(content["shape"])
        self.frames, self.planes, self.height, self.width = self.shape
        self.chunk_frames: int = content["chunk_frames"]
        self.digest: str = content["digest"]
        self.microscope = _microscope(content["microscope"])
        self.content = content
        self.recorded: tuple[int, ...] = tuple(content.get(RECORDED, ()))
        self.camera_frames = camera_frames or CameraFrames.in_step(self.frames, self.planes, self.recorded)
        self._checksums = [bytes.fromhex(text) for text in content["chunk_crc32c"]]
        self._latest: tuple[int, NDArray[np.uint16]] | None = None

    @classmethod
    def open(cls, manifest: str | Path, synchronization: Path | None = None) -> Movie:
        """Open a movie by its manifest; `synchronization` puts its cameras in step (`planeloc.movie.camera_frames`).

        Raises
        ------
        PlanelocError : the manifest or the store is missing or not planeloc's, or the files do not belong together.
        """
        manifest = Path(manifest)
        if manifest.is_file() and manifest.suffix.lower() != ".json":
            raise PlanelocError(
                f"{manifest}: not a movie manifest (movie.manifest.json); `planeloc convert` makes one of camera files"
            )
        content = read_json(manifest)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise PlanelocError(
                f"{manifest}: not a movie manifest of this version of planeloc ({FORMAT}); {_CONVERT_AGAIN}"
            )
        try:
            store = manifest.parent / content["store"]
            array = _array_metadata(store)
            movie = cls(manifest, content)
            agree = array == _Array.of(movie) and len(movie._checksums) == movie.chunks
        except (KeyError, TypeError, ValueError) as error:
            raise PlanelocError(f"{manifest}: damaged manifest ({error!r}); {_CONVERT_AGAIN}") from None
        if not agree:
            raise PlanelocError(f"{store}: does not belong to {manifest.name} (shape or chunks); {_CONVERT_AGAIN}")
        return movie if synchronization is None else movie.in_step(synchronization)

    def in_step(self, synchronization: Path) -> Movie:
        """The movie with its cameras in step.

        Raises
        ------
        PlanelocError : the file cannot be read, or is of another movie.
        """
        frames = CameraFrames.read(synchronization)
        if (frames.frames, len(frames.lags), frames.recorded) != (self.frames, self.planes, self.recorded):
            raise PlanelocError(
                f"{synchronization}: of a movie of {frames.frames} frames and {len(frames.lags)} cameras, but "
                f"{self.manifest} has {self.frames} and {self.planes}; make it again with `planeloc synchronize`"
            )
        return Movie(self.manifest, self.content, frames)

    def check_cameras(self, registration: Path, cameras: int) -> None:
        """Raise a `PlanelocError` if a file of transforms has those of another number of cameras."""
        if cameras != self.planes:
            raise PlanelocError(
                f"{registration}: {cameras} cameras, but {self.manifest} has {self.planes}; register the cameras of "
                "this movie"
            )

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.frames / self.chunk_frames)

    def _chunk_shape(self) -> tuple[int, int, int, int]:
        return (self.chunk_frames, *self.shape[1:])

    def __getstate__(self) -> dict[str, Any]:
        """A movie is sent to workers without its cached chunk."""
        return {**self.__dict__, "_latest": None}

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Moments start … stop−1 as counts, (stop − start, planes, height, width), compared with their checksums.

        Raises
        ------
        PlanelocError : a chunk is missing or not what was written.
        IndexError : the moments are outside the movie.
        """
        if not 0 <= start <= stop <= self.frames:
            raise IndexError(f"frames {start}:{stop} of {self.frames}")
        if (self.camera_frames.trivial and not self.camera_frames.recorded) or start == stop:
            return self._recorded(start, stop)
        frames = self.camera_frames.of(start, stop)
        counts = np.empty((stop - start, *self.shape[1:]), dtype=np.uint16)
        needed = np.unique(frames)
        for part in np.split(needed, np.flatnonzero(np.diff(needed) > self.chunk_frames) + 1):  # moments left out: far
            first, last = int(part[0]), int(part[-1])
            recorded = self._recorded(first, last + 1)
            for plane, own in enumerate(frames):
                here = (own >= first) & (own <= last)
                counts[here, plane] = recorded[own[here] - first, plane]
        return counts

    def every_frame(self) -> Movie:
        """The movie as recorded, with nothing left out."""
        in_step = CameraFrames.in_step(self.frames, self.planes)
        return Movie(self.manifest, self.content, replace(in_step, recorded=self.recorded))

    def _recorded(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 of all cameras, as they were recorded."""
        frames = np.empty((stop - start, *self.shape[1:]), dtype=np.uint16)
        for index in range(start // self.chunk_frames, math.ceil(stop / self.chunk_frames)):
            first = index * self.chunk_frames
            low, high = max(start, first), min(stop, first + self.chunk_frames)
            frames[low - start : high - start] = self._chunk(index)[low - first : high - first]
        return frames

    def _chunk(self, index: int) -> NDArray[np.uint16]:
        """The counts of a chunk; the latest is cached, for reads smaller than a chunk."""
        latest = self._latest
        if latest is None or latest[0] != index:
            self._latest = latest = (index, self._read_chunk(index))
        return latest[1]

    def _read_chunk(self, index: int) -> NDArray[np.uint16]:
        """Decode a chunk from its file; missing or damaged is a `PlanelocError`, never zeros."""
        file = chunk_file(self.store, index)
        counts = np.empty(self._chunk_shape(), dtype=np.uint16)
        try:
            checksum = chunks.read(file, counts)
        except FileNotFoundError:
            raise PlanelocError(
                f"{self.store}: chunk {index} is missing ({file.relative_to(self.store)}); {_CONVERT_AGAIN}"
            ) from None
        except (ValueError, RuntimeError, OSError) as error:  # of checksum, decompressor or disk
            reason = " ".join(str(error).split())
            raise PlanelocError(f"{file}: chunk {index} of the movie is damaged ({reason}); {_CONVERT_AGAIN}") from None
        if checksum != self._checksums[index]:
            raise PlanelocError(
                f"{self.store}: chunk {index} holds other counts than {self.manifest.name} says; {_CONVERT_AGAIN}"
            )
        return counts[: min(self.chunk_frames, self.frames - index * self.chunk_frames)]

    def verify(self) -> None:
        """Read the whole movie and compare it with the manifest.

        Raises
        ------
        PlanelocError : a chunk is missing or differs; the first one is named.
        """
        digest = new_digest(self.shape)
        for index in range(self.chunks):
            digest.update(self._chunk(index))
        if digest.hexdigest() != self.digest:
            raise PlanelocError(f"{self.manifest}: the movie's digest is not that of its counts; {_CONVERT_AGAIN}")


class _Array(NamedTuple):
    """What the metadata of an array in a Zarr v3 store say of its chunks."""

    shape: list[int]
    data_type: str
    chunk_shape: list[int]
    separator: str  # of the numbers of a chunk in its file's name
    codecs: list[str]

    @classmethod
    def of(cls, movie: Movie) -> _Array:
        """Of a movie as planeloc writes it."""
        return cls(list(movie.shape), "uint16", list(movie._chunk_shape()), "/", list(chunks.CODECS))


def _array_metadata(store: Path) -> _Array:
    """Read the metadata of a store's array."""
    try:
        group, array = (read_json(store / folder / "zarr.json") for folder in ("", ARRAY))
        if (group["zarr_format"], group["node_type"]) != (3, "group"):
            raise ValueError("no group")
        if (array["zarr_format"], array["node_type"]) != (3, "array"):
            raise ValueError("no array")
        grid, key = array["chunk_grid"], array["chunk_key_encoding"]
        chunk_shape = grid["configuration"]["chunk_shape"] if grid["name"] == "regular" else []
        separator = key.get("configuration", {}).get("separator", "/") if key["name"] == "default" else ""
        codecs = [codec["name"] for codec in array["codecs"]]
        return _Array(array["shape"], array["data_type"], chunk_shape, separator, codecs)
    except (PlanelocError, KeyError, ValueError, TypeError, AttributeError):
        raise PlanelocError(f"{store}: movie store missing or damaged; {_CONVERT_AGAIN}") from None


def chunk_file(store: Path, index: int) -> Path:
    """File of a chunk."""
    return store.joinpath(ARRAY, "c", str(index), "0", "0", "0")


def new_digest(shape: tuple[int, ...]) -> Any:
    """The hash that becomes `Movie.digest` when all counts are added in order."""
    return hashlib.sha256(f"uint16 {tuple(map(int, shape))}".encode())


def _microscope(content: dict[str, Any]) -> Microscope:
    cameras = tuple(Camera(**camera) for camera in content["cameras"])
    regions = tuple(Region(**region) for region in content["regions"])
    return Microscope(**{**content, "cameras": cameras, "regions": regions})
