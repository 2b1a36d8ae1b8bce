"""ImageJ's own description in an OME-TIFF, so that programs without an OME reader know the voxel size, too.

ImageJ reads the distance of slices and the place of the origin from a text that begins with ``ImageJ=``, and OME
readers an XML. Both belong into the tag ImageDescription of the first image. Its second occurrence holds the text for
ImageJ, which takes the last one; OME readers (Bio-Formats, tifffile) and libtiff take the first.
"""

from __future__ import annotations

import struct
from pathlib import Path

_IMAGE_DESCRIPTION, _ASCII = 270, 2
_VERSION = "1.52i"  # whose format this is; ImageJ only asks for the word before it


def imagej_description(
    slices: int,
    voxel_nm: tuple[float, float, float],
    corner_nm: tuple[float, float, float],
    brightest: float,
) -> str:
    """ImageJ's text for a z-stack.

    Parameters
    ----------
    voxel_nm : voxel size in x, y, z.
    corner_nm : place of the outer corner of the first pixel in x and y, and of the middle of the first slice in z.
        ImageJ then shows the same coordinates as a table of localizations.
    brightest : value that is shown white; without it, ImageJ looks at the first slice, which may be empty.
    """
    origins = {f"{axis}origin": -corner / size for axis, corner, size in zip("xyz", corner_nm, voxel_nm, strict=True)}
    lines = {
        "ImageJ": _VERSION,
        "images": slices,
        "slices": slices,
        "unit": "micron",
        "spacing": voxel_nm[2] / 1000,
        "loop": "false",
        "min": 0.0,
        "max": brightest or 1.0,
        **{key: value for key, value in origins.items() if value},
    }
    texts = {key: f"{value:.10g}" if isinstance(value, float) else value for key, value in lines.items()}
    return "".join(f"{key}={text}\n" for key, text in texts.items())


def add_description(path: Path, text: str) -> None:
    """Add an ImageDescription after the one of the first image of a little-endian TIFF or BigTIFF file, in place.

    The list of the first image's tags is written again at the end of the file, and the header points to it.

    Raises
    ------
    ValueError : the file is not such a TIFF, or its first image has no description.
    """
    content = text.encode("ascii") + b"\0"
    with path.open("r+b") as file:
        header = file.read(16)
        big = header[:4] == b"II\x2b\0"
        if header[:4] not in (b"II\x2a\0", b"II\x2b\0"):
            raise ValueError(f"{path}: not a little-endian TIFF")
        offset, number, size = ("<Q", "<Q", 20) if big else ("<I", "<H", 12)
        place = 8 if big else 4  # of the offset of the first image's tags
        file.seek(struct.unpack_from(offset, header, place)[0])
        (count,) = struct.unpack(number, file.read(struct.calcsize(number)))
        entries = [file.read(size) for _ in range(count)]
        following = file.read(struct.calcsize(offset))
        codes = [struct.unpack_from("<H", entry)[0] for entry in entries]
        if _IMAGE_DESCRIPTION not in codes:
            raise ValueError(f"{path}: its first image has no description")
        end = file.seek(0, 2)
        file.write(b"\0" * (-end % 8) + content + b"\0" * (-len(content) % 8))
        start = end + -end % 8
        entry = struct.pack("<HHQQ" if big else "<HHII", _IMAGE_DESCRIPTION, _ASCII, len(content), start)
        entries.insert(codes.index(_IMAGE_DESCRIPTION) + 1, entry)
        tags = file.tell()
        file.write(struct.pack(number, len(entries)) + b"".join(entries) + following)
        file.seek(place)
        file.write(struct.pack(offset, tags))
