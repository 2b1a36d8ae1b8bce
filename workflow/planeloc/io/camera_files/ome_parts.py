"""An OME-TIFF that is continued in other files, as Micro-Manager writes it beyond 4 GB.

The header in the first file says which image is on which page of which file. Parts that were renamed together with the
first file are found by what their names had in addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images
from planeloc.io.ome_tiff import OmeHeader


@dataclass(frozen=True)
class Parts:
    """The files of one movie, and where its images are."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]  # times, depths, channels
    places: NDArray[np.int64]  # (images, 2): number of the file, page; channels fastest, then depths
    pixel_size_nm: float | None


def find(path: Path, header: OmeHeader | None) -> Parts | None:
    """Find the parts of a movie by the header of the file that was named; None if it is in one file.

    Only files with images of this file's channels are parts: the others are of other cameras.

    Raises
    ------
    PlanelocError : the file is itself a later part; a part is missing; the header knows no place of an image.
    """
    if header is None:
        return None
    if header.elsewhere and (path.parent / header.elsewhere).is_file() and header.elsewhere != path.name:
        raise PlanelocError(
            f"{path}: a later part of {header.elsewhere}, which has the header; name {header.elsewhere} instead"
        )
    own = path.name if path.name in header.files else header.own_name
    channels = sorted({c for (_, _, c), (name, _) in header.planes.items() if name == own})
    names = list(dict.fromkeys(name for (_, _, c), (name, _) in sorted(header.planes.items()) if c in channels))
    if not own or len(names) < 2:
        return None
    times, depths, _ = header.sizes
    wanted = [(t, z, c) for t in range(times) for z in range(depths) for c in channels]
    unknown = [place for place in wanted if place not in header.planes]
    if unknown:
        raise PlanelocError(
            f"{path}: its header does not say where {len(unknown)} of {len(wanted)} images are; export the camera's "
            "frames as one file"
        )
    files = tuple(path if name == own else _part(path, own, name) for name in names)
    number = {name: k for k, name in enumerate(names)}
    places = np.array([(number[header.planes[place][0]], header.planes[place][1]) for place in wanted], dtype=np.int64)
    return Parts(files, (times, depths, len(channels)), places, header.pixel_size_nm)


def _part(path: Path, own: str, name: str) -> Path:
    """Where a part is: under its own name, or renamed as the first file was."""
    stem, ending = own.split(".", 1)[0], path.name.split(".", 1)[-1]
    renamed = path.name.split(".", 1)[0] + name.split(".", 1)[0].removeprefix(stem) + f".{ending}"
    candidates = [renamed] if own != path.name else [name]
    for candidate in candidates:
        if Path(candidate).name == candidate and (path.parent / candidate).is_file():
            return path.parent / candidate
    raise PlanelocError(
        f"{path}: is continued in {candidates[0]}, which is not beside it; copy all parts into one folder"
    )


def _only_the_end_is_unused(parts: Parts, pages: Sequence[Images]) -> bool:
    """Whether the header names every page of every part, but for some at the end of the last."""
    for number, part in enumerate(pages):
        named = np.unique(parts.places[parts.places[:, 0] == number, 1])
        complete = len(named) == part.shape[0]
        at_the_end = number == len(pages) - 1 and len(named) == named[-1] + 1
        if not complete and not at_the_end:
            return False
    return True


def images(path: Path, parts: Parts, pages: Sequence[Images]) -> Images:
    """The images of all parts in the order of the header.

    Raises
    ------
    PlanelocError : a part has fewer pages than the header says, or other images, or pages within the movie that the
        header does not name.
    """

    def close() -> None:
        for part in pages:
            part.close()

    first = pages[0]
    for number, (file, part) in enumerate(zip(parts.files, pages, strict=True)):
        last = int(parts.places[parts.places[:, 0] == number, 1].max())
        if part.shape[-2:] != first.shape[-2:] or part.dtype != first.dtype or part.shape[0] <= last:
            close()
            raise PlanelocError(
                f"{file}: holds {part.shape[0]} images of {part.shape[-1]}×{part.shape[-2]} {part.dtype}, but "
                f"{path.name} wants {last + 1} of {first.shape[-1]}×{first.shape[-2]} {first.dtype}; copy it again"
            )

    def read(numbers: NDArray[np.int64]) -> NDArray:
        found = np.empty((len(numbers), *first.shape[-2:]), first.dtype)
        file, page = parts.places[numbers].T
        for number in np.unique(file):
            found[file == number] = pages[number].read(page[file == number])
        return found

    unused = sum(part.shape[0] for part in pages) - len(parts.places)
    if unused > 0 and not _only_the_end_is_unused(parts, pages):
        close()
        raise PlanelocError(
            f"{path}: its parts hold {unused} pages that its header does not name, not all at its end, "
            "so that frames within the movie would be left out; export the camera's frames as one file"
        )
    remarks = (f"{path}: its last part holds {unused} pages that its header does not name; they are left out",) * (
        unused > 0
    )
    axes, shape = zip(*((a, n) for a, n in zip("TZC", parts.shape, strict=True) if n > 1), strict=True)
    return Images(
        "".join(axes) + "YX",
        (*shape, *first.shape[-2:]),
        first.dtype,
        read,
        parts.files,
        close,
        remarks,
        parts.pixel_size_nm,
    )
