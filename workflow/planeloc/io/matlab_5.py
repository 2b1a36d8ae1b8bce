"""Reading MATLAB 5 files (``save -v6``, ``save -v7``): numbers, texts and structures; everything else is passed over.

`scipy.io.loadmat` crashes the interpreter on some damaged files (measured: one in 300 with random bytes, SciPy 1.17).
Files come from anywhere; here a damaged one is a ValueError. The format is that of MathWorks' "MAT-File Format".
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = "NDArray | str | dict[str, Value] | None"

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_STRUCTURE, _TEXT, _FIRST_NUMBER, _LAST_NUMBER = 2, 4, 6, 15  # classes of arrays
_DEEPEST = 10
_LARGEST_FACTOR, _ALWAYS_BYTES = 50, 1 << 28  # of decompression; tables of numbers become 2 to 10 times larger


def read_variables(path: Path, names: Collection[str]) -> dict[str, Value]:
    """The variables called `names` that a file has.

    Returns
    -------
    Arrays of numbers as 1D arrays in MATLAB's order, of complex ones the real part; text as text; a structure as a
    dictionary, of several the first. None for every other kind.

    Raises
    ------
    ValueError : the file is no MATLAB 5 file, or damaged.
    OSError : it cannot be read.
    """
    content = memoryview(np.memmap(path, dtype=np.uint8, mode="r"))  # of the 500 MB of a large table, parts are read
    orders = {b"IM": "<", b"MI": ">"}
    order = orders.get(bytes(content[_HEADER_BYTES - 2 : _HEADER_BYTES]))
    if order is None:
        raise ValueError("no MATLAB file")
    found = {}
    for kind, data in _elements(content[_HEADER_BYTES:], order):
        name, value = _variable(kind, data, order, names)
        if name in names:
            found[name] = value
    return found


def _variable(kind: int, data: memoryview, order: str, names: Collection[str]) -> tuple[str, Value]:
    if kind == _COMPRESSED:
        ((kind, data),) = list(_elements(_inflated(data), order))[:1] or [(0, data)]
    if kind != _MATRIX:
        return "", None
    return _matrix(data, order, names, 0)


def _inflated(data: memoryview) -> memoryview:
    """Decompressed content; few bytes that would fill the memory are an error."""
    inflater, most = zlib.decompressobj(), max(_ALWAYS_BYTES, _LARGEST_FACTOR * len(data))
    try:
        inflated = inflater.decompress(data, most)
    except zlib.error as error:
        raise ValueError(f"damaged compression: {error}") from None
    if len(inflated) == most and not inflater.eof:
        raise ValueError(f"damaged compression: {len(data)} bytes become more than {most}")
    if not inflater.eof:
        raise ValueError("damaged compression: it is cut short")
    return memoryview(inflated)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the data elements of a file or of an array."""
    position = 0
    while position + 8 <= len(data):
        tag, size = (int(number) for number in np.frombuffer(data[position : position + 8], f"{order}u4"))
        if small := tag >> 16:
            yield tag & 0xFFFF, data[position + 4 : position + 4 + min(small, 4)]
            position += 8
            continue
        start = position + 8
        if start + size > len(data):
            raise ValueError("cut short or damaged")
        yield tag, data[start : start + size]
        position = start + size + (0 if tag == _COMPRESSED else -size % 8)


def _matrix(data: memoryview, order: str, names: Collection[str], depth: int) -> tuple[str, Value]:
    """Name and content of an array; the content only if `names` is empty or holds the name."""
    parts = _elements(data, order)
    flags = _integers(parts, order)
    if not len(flags):  # an empty field
        return "", None
    shape, name = _integers(parts, order), _letters(parts)
    if names and name not in names:
        return name, None
    kind = int(flags[0]) & 0xFF
    if kind == _STRUCTURE and depth < _DEEPEST:
        return name, _structure(parts, shape, order, depth)
    if kind == _TEXT or _FIRST_NUMBER <= kind <= _LAST_NUMBER:
        stored, content = next(parts, (0, data[:0]))
        return name, _text(stored, content, order) if kind == _TEXT else _numbers(stored, content, shape, order)
    return name, None


def _integers(parts: Iterator[tuple[int, memoryview]], order: str) -> NDArray:
    _, content = next(parts, (0, memoryview(b"")))
    return np.frombuffer(content, f"{order}i4")


def _letters(parts: Iterator[tuple[int, memoryview]]) -> str:
    _, content = next(parts, (0, memoryview(b"")))
    return bytes(content).decode("latin-1")


def _structure(parts: Iterator[tuple[int, memoryview]], shape: NDArray, order: str, depth: int) -> Value:
    """The fields of the first element."""
    (length, *_), letters = [int(number) for number in _integers(parts, order)] or [0], _letters(parts)
    if length <= 0:
        raise ValueError("damaged structure")
    fields = [letters[start : start + length].split("\0")[0] for start in range(0, len(letters), length)]
    if math.prod(int(size) for size in shape) == 0:
        return {}
    matrices = (data for kind, data in parts if kind == _MATRIX)
    return {field: _matrix(data, order, (), depth + 1)[1] for field, data in zip(fields, matrices, strict=False)}


def _numbers(stored: int, content: memoryview, shape: NDArray, order: str) -> NDArray:
    if stored not in _NUMBERS and len(content):
        raise ValueError("damaged numbers")
    values = np.frombuffer(content, f"{order}{_NUMBERS.get(stored, 'f8')}")
    if len(values) != math.prod(int(size) for size in shape):
        raise ValueError("damaged numbers")
    return values


def _text(stored: int, content: memoryview, order: str) -> str:
    if stored not in _TEXTS and len(content):
        raise ValueError("damaged text")
    codec = _TEXTS.get(stored, "latin-1")
    ending = {"<": "-le", ">": "-be"}[order] if codec.startswith("utf-") and codec != "utf-8" else ""
    return bytes(content).decode(codec + ending)
