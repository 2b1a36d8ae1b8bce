"""OME-TIFF: what its header announces, and writers that give equal files for equal pixels.

OME asks for a unique identifier; most writers draw a random one. Here it is derived from the description, so that a
repeated run gives the same bytes.
"""

from __future__ import annotations

import math
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from planeloc.core import marks
from planeloc.core.files import atomic_path
from planeloc.io.imagej_tiff import add_description, imagej_description

# ImageJ's own reader opens no BigTIFF. Compressed data are hardly ever larger than this before compression.
_LARGEST_CLASSIC_BYTES = 2**32 - 2**26
_HEADER_BYTES = 512  # per page, an upper estimate: decides whether 32-bit offsets suffice


@dataclass(frozen=True)
class OmeHeader:
    """What an OME header announces.

    Attributes
    ----------
    sizes : numbers of times, depths and channels.
    planes : (time, depth, channel) → name of the file, "" if none is named, and the page in it.
    own_name : the name that the file itself had when it was written; "" if the header does not say it.
    elsewhere : name of the file that has the header in the place of this one; "" if this one has it.
    pixel_size_nm : None if it is not stated, or in another unit.
    """

    sizes: tuple[int, int, int]
    planes: Mapping[tuple[int, int, int], tuple[str, int]]
    own_name: str = ""
    elsewhere: str = ""
    pixel_size_nm: float | None = None

    @property
    def frames(self) -> int:
        """Times × depths."""
        return self.sizes[0] * self.sizes[1]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.sizes[2]

    @property
    def files(self) -> frozenset[str]:
        """Names of all files that hold its images."""
        return frozenset(name for name, _ in self.planes.values() if name)

    @classmethod
    def parse(cls, xml: str | None) -> OmeHeader | None:
        """Read OME-XML; None where it describes no pixels."""
        root = ElementTree.fromstring(xml or "<none/>")
        pixels, part = root.find(".//{*}Pixels"), root.find(".//{*}BinaryOnly")
        if pixels is None:
            elsewhere = part.get("MetadataFile", "") if part is not None else ""
            return cls((0, 0, 0), {}, elsewhere=elsewhere) if elsewhere else None
        sizes = tuple(int(pixels.get(f"Size{axis}", 1)) for axis in "TZC")
        named = {e.text: e.get("FileName", "") for e in root.iterfind(".//{*}UUID")}
        size, unit = pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm")
        pixel_nm = float(size) * _UNITS_NM[unit] if size and unit in _UNITS_NM else None
        return cls(sizes, _planes(pixels, sizes), named.get(root.get("UUID"), ""), "", pixel_nm)


_UNITS_NM = {"µm": 1000.0, "um": 1000.0, "nm": 1.0, "mm": 1e6}


def _planes(pixels: ElementTree.Element, sizes: tuple[int, ...]) -> dict[tuple[int, int, int], tuple[str, int]]:
    """File and page of every image, from the ``TiffData`` elements."""
    planes: dict[tuple[int, int, int], tuple[str, int]] = {}
    length = dict(zip("TZC", sizes, strict=True))
    order = [axis for axis in pixels.get("DimensionOrder", "XYZCT") if axis in length]  # fastest first
    for block in pixels.iterfind("{*}TiffData"):
        place, page = {axis: int(block.get(f"First{axis}", 0)) for axis in order}, int(block.get("IFD", 0))
        count = block.get("PlaneCount")  # by default one if a page is given, else all
        number = sum(place[axis] * math.prod(length[a] for a in order[:k]) for k, axis in enumerate(order))
        total = math.prod(sizes)
        identifier = block.find("{*}UUID")
        name = "" if identifier is None else identifier.get("FileName", "")
        for k in range(int(count) if count else 1 if block.get("IFD") else total - number):
            rest, at = number + k, {}
            for axis in order:
                rest, at[axis] = divmod(rest, max(length[axis], 1))
            planes[at["T"], at["Z"], at["C"]] = (name, page + k)
    return planes


def physical_sizes(**sizes_nm: float) -> dict[str, Any]:
    """OME attributes of pixel sizes in nm, by axis: ``physical_sizes(X=100, Y=100)``."""
    sizes = {f"PhysicalSize{axis}": size / 1000 for axis, size in sizes_nm.items()}
    return {**sizes, **{f"PhysicalSize{axis}Unit": "µm" for axis in sizes_nm}}


def _metadata(shape: tuple[int, int, int], axes: str, description: Mapping[str, Any]) -> dict[str, Any]:
    identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"planeloc {shape} {axes} {sorted(description.items())}")
    return {"axes": axes, "UUID": f"urn:uuid:{identifier}", "Creator": "planeloc", **description}


class OmeTiffWriter(AbstractContextManager):
    """An uncompressed uint16 stack of known size, filled by successive calls of `append`; a context manager.

    The file is laid out at the start: memory does not depend on the length, and several can be written side by side.

    Parameters
    ----------
    path : the file; written in place, so give a temporary name.
    shape : (length, rows, columns).
    axes : ``"TYX"`` for a movie, ``"ZYX"`` for a z-stack.
    description : OME attributes: ``Name``, ``Channel``, ``PhysicalSizeX`` …
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], axes: str, description: Mapping[str, Any]) -> None:
        self._shape = shape
        self._missing = shape[0]
        self._path = path
        large = shape[0] * (2 * shape[1] * shape[2] + _HEADER_BYTES) > 2**32
        metadata = _metadata(shape, axes, description)
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

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
        if error is None and self._missing:
            raise ValueError(f"{self._path}: {self._missing} frames of {self._shape[0]} were never written")


def write_z_stack(
    path: Path,
    slices: Iterable[NDArray],
    shape: tuple[int, int, int],
    dtype: str,
    voxel_nm: tuple[float, float, float],
    description: Mapping[str, Any],
    corner_nm: tuple[float, float, float] | None = None,
    verb: str = "render",
) -> None:
    """Write a compressed z-stack of images (rows, columns), atomically, holding one at a time.

    The file states its voxel size twice: as OME metadata, and for ImageJ's own reader, which knows no OME.

    Parameters
    ----------
    shape : (slices, rows, columns).
    voxel_nm : size of a voxel in x, y, z.
    description : OME attributes as for `OmeTiffWriter`.
    corner_nm : place of the outer corner of the first pixel in x and y, and of the middle of the first slice in z;
        without it, the file states no place.
    verb : the command that writes it.
    """
    description = {**description, **physical_sizes(X=voxel_nm[0], Y=voxel_nm[1], Z=voxel_nm[2])}
    if corner_nm is not None:
        description["Plane"] = _positions(shape[0], voxel_nm, corner_nm)
    large = math.prod(shape) * np.dtype(dtype).itemsize > _LARGEST_CLASSIC_BYTES
    brightest = [0.0]

    def prepared() -> Iterator[NDArray]:
        for image in slices:
            brightest.append(float(image.max(initial=0)))
            yield np.ascontiguousarray(image, dtype=dtype)

    with atomic_path(path, marks.stack(verb)) as partial:
        with tifffile.TiffWriter(partial, ome=True, byteorder="<", bigtiff=large) as tiff:
            tiff.write(
                prepared(),
                shape=shape,
                dtype=dtype,
                photometric="minisblack",
                compression="zlib",
                compressionargs={"level": 1},
                predictor=False,
                resolution=(1e3 / voxel_nm[0], 1e3 / voxel_nm[1]),  # per µm, as ImageJ reads it beside its description
                resolutionunit="NONE",
                software=marks.software(verb),
                metadata=_metadata(shape, "ZYX", description),
            )
        text = imagej_description(shape[0], voxel_nm, corner_nm or (0.0, 0.0, 0.0), max(brightest))
        add_description(partial, text)


def _positions(
    slices: int, voxel_nm: tuple[float, float, float], corner_nm: tuple[float, float, float]
) -> dict[str, list]:
    """OME's place of every slice, in µm."""
    depths = [corner_nm[2] + number * voxel_nm[2] for number in range(slices)]
    places = {"X": [corner_nm[0]] * slices, "Y": [corner_nm[1]] * slices, "Z": depths}
    in_um = {f"Position{axis}": [round(value / 1000, 9) for value in values] for axis, values in places.items()}
    return {**in_um, **{f"Position{axis}Unit": ["µm"] * slices for axis in places}}
