"""One movie in many TIFF files, with an image or more in each.

They are named by their folder, or by a pattern such as ``folder/cam0_*.tif``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.image_stack import Images, ImageStack, matches, one_line, runs
from planeloc.io.camera_files.tiff import DAMAGE, TiffStack
from planeloc.io.camera_files.tiff import suffixes as endings

name = "TIFF sequence"
suffixes = ("a folder or pattern of .tif files",)


def opens(path: Path) -> bool:
    """Whether this is a pattern, or a folder with TIFF files."""
    return not path.is_file() and bool(_files(path))


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open all files as one movie; see `planeloc.io.camera_formats.CameraFormat.open`."""
    files = _in_order(path, _files(path))
    first = TiffStack(files[0])
    if first.frames > 1:
        return joined(path, [first, *map(TiffStack, files[1:])], channels)
    first.close()
    shape, dtype = (first.height, first.width), np.uint8 if first.largest_count == 255 else np.uint16
    read = partial(_read, files, shape, dtype)
    return ImageStack(path, Images("IYX", (len(files), *shape), dtype, read, tuple(files)), channels)


def joined(path: Path, parts: Sequence[TiffStack], channels: int | None) -> ImageStack:
    """Make one movie of files that continue each other.

    Raises
    ------
    PlanelocError : the files differ in size or kind of pixels.
    """

    def close() -> None:
        for part in parts:
            part.close()

    first = parts[0]
    kind = (first.height, first.width, first.largest_count)
    for part in parts[1:]:
        if (part.height, part.width, part.largest_count) != kind:
            close()
            raise PlanelocError(
                f"{part.path}: images of {part.width}×{part.height} pixels up to {part.largest_count}, but those of "
                f"{first.path.name} have {first.width}×{first.height} up to {first.largest_count}; name files of one "
                "movie"
            )
    ends = np.cumsum([part.frames for part in parts])

    def read(numbers: NDArray[np.int64]) -> NDArray:
        blocks = []
        for start, stop in runs(numbers):
            while start < stop:
                number = int(np.searchsorted(ends, start, side="right"))
                begin, last = int(ends[number]) - parts[number].frames, min(stop, int(ends[number]))
                blocks.append(parts[number].read(start - begin, last - begin)[:, 0])
                start = last
        return np.concatenate(blocks)

    dtype = np.uint8 if first.largest_count == 255 else np.uint16
    files = tuple(part.path for part in parts)
    images = Images("IYX", (int(ends[-1]), first.height, first.width), dtype, read, files, close)
    return ImageStack(path, images, channels)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.iterdir() if file.name.lower().endswith(endings) and file.is_file()]
    return matches(path)


def _in_order(path: Path, files: list[Path]) -> list[Path]:
    """Files by the number in their names: one number counts, without a gap; anything else is no single movie."""
    words = {file: re.split(r"(\d+)", _stem(file)) for file in files}
    longest = max(map(len, words.values()))
    # "name.tif, name_1.tif, name_2.tif …" and "name.tif, name (2).tif …": the first part has no number
    first = [file for file in files if len(words[file]) < longest]
    counted = sorted((file for file in files if file not in first), key=lambda file: [*map(int, words[file][1::2])])
    texts = {tuple(words[file][0::2]) for file in counted}
    numbers = np.array([[int(number) for number in words[file][1::2]] for file in counted])
    varying = np.flatnonzero((numbers != numbers[:1]).any(axis=0)) if numbers.size else np.array([], int)
    repeated = len(set(map(tuple, numbers.tolist()))) < len(counted)
    strange = any(not _continues(_stem(file), _stem(each)) for file in first for each in counted)
    if len(first) > 1 or len(texts) > 1 or len(varying) > 1 or repeated or strange:
        some = ", ".join(sorted(file.name for file in files)[:: max(1, len(files) // 3)][:4])
        raise PlanelocError(
            f"{path}: its {len(files)} files are more than one series ({some}); give a pattern that fits one movie, "
            "such as folder/cam0_*.tif, or put each movie into a folder of its own"
        )
    if len(varying):
        values = numbers[:, varying[0]]
        steps = np.diff(values)
        if (gap := np.flatnonzero(steps != steps.min())).size:
            before, after = counted[gap[0]].name, counted[gap[0] + 1].name
            raise PlanelocError(f"{path}: files are missing between {before} and {after}; copy the whole series again")
    return [*first, *counted]


def _stem(file: Path) -> str:
    """The name without the ending of the format; a dot elsewhere, as in ``25.5ms``, belongs to the name."""
    return re.sub(r"(\.ome)?\.(tiff?|btf)$", "", file.name, flags=re.IGNORECASE)


def _continues(first: str, stem: str) -> bool:
    """Whether a name is that of the first part and something more, which is not only a longer number."""
    more = stem.removeprefix(first)
    return stem.startswith(first) and not (first[-1:].isdigit() and more[:1].isdigit())


def _read(files: list[Path], shape: tuple[int, int], dtype: type, numbers: NDArray[np.int64]) -> NDArray:
    """Images of files with one image each."""
    images = np.empty((len(numbers), *shape), dtype)
    for place, number in enumerate(numbers):
        try:
            with tifffile.TiffFile(files[number]) as tiff:
                image = tiff.pages[0].asarray()
                pages = len(tiff.pages)
        except (*DAMAGE, OSError) as error:
            raise PlanelocError(f"{files[number]}: not a readable TIFF ({one_line(error)}); copy it again") from None
        if pages != 1 or image.shape != shape or image.dtype != dtype:
            raise PlanelocError(
                f"{files[number]}: {pages} image(s) of {' × '.join(map(str, image.shape))} {image.dtype}, but "
                f"{files[0].name} holds one of {shape[0]} × {shape[1]} {np.dtype(dtype)}; name files of one movie"
            )
        images[place] = image
    return images
