"""The .raw files of Picasso: bare pixels, described by a .yaml file of the same name."""

from __future__ import annotations

from pathlib import Path

import yaml

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable
from planeloc.io.camera_files.dax import open_bare_pixels
from planeloc.io.camera_files.image_stack import ImageStack, one_line

name = "Picasso raw"
suffixes = (".raw",)
_TYPES = {"uint8": "u1", "uint16": "u2"}


def opens(path: Path) -> bool:
    """Bare pixels have no first bytes of their own: the file is known by its name."""
    return False


def open(path: Path, channels: int | None = None) -> ImageStack:
    """Open a .raw file; see `planeloc.io.camera_formats.CameraFormat.open`."""
    described = path.with_suffix(".yaml")
    try:
        with described.open(encoding="utf-8") as file:
            values = next(yaml.safe_load_all(file), None)
        height, width, frames = (int(values[key]) for key in ("Height", "Width", "Frames"))
        kind, order = str(values["Data Type"]), str(values.get("Byte Order", "<"))
        dtype = order + _TYPES[kind]
        if min(height, width) < 1 or order not in ("<", ">", "="):
            raise ValueError(f"{height} × {width} pixels, byte order {order!r}")
    except OSError as error:
        raise unreadable(described, error) from None
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, UnicodeError) as error:
        raise PlanelocError(
            f"{described}: does not describe {path.name} as Picasso does (Height, Width, Frames, Data Type uint8 or "
            f"uint16, Byte Order): {one_line(error)}; save it again"
        ) from None
    return open_bare_pixels(path, described, (height, width), dtype, frames, channels)
