"""The microscope file: what cannot be measured from beads, written down once and kept with the data.

A YAML file with the pixel size, how the cameras' images lie in the files, and every camera's data sheet. The order of
the cameras is the order of the planes; plane 0 is the reference.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from planeloc.camera import Camera
from planeloc.errors import PlanelocError
from planeloc.settings import check, from_mapping, setting

LAYOUTS = ("files", "channels", "regions")


@dataclass(frozen=True)
class Region:
    """A rectangle of a shared sensor, in camera pixels: columns x … x+width−1, rows y … y+height−1."""

    x: int = setting(0, "First column.", minimum=0)
    y: int = setting(0, "First row.", minimum=0)
    width: int = setting(1, "Columns.", minimum=1)
    height: int = setting(1, "Rows.", minimum=1)


@dataclass(frozen=True)
class Microscope:
    """Everything that the stages ask about the instrument."""

    name: str
    pixel_size_nm: float = setting(100.0, "Camera pixel in the sample, nm.", minimum=1)
    layout: str = setting(
        "files",
        "files: one file per camera; channels: one file with a channel axis; regions: one sensor, split.",
        choices=LAYOUTS,
    )
    cameras: tuple[Camera, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def planes(self) -> int:
        return len(self.cameras)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_microscope(path: str | Path) -> Microscope:
    """Read and check a microscope file; every mistake is a `PlanelocError` naming the file and the key."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanelocError(f"{path}: microscope file not found; see config/README.md for its keys") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanelocError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PlanelocError(f"{path}: expected keys such as pixel_size_nm and cameras; see config/README.md")
    values = {"name": path.stem, **content}
    for key, kind in (("cameras", Camera), ("regions", Region)):
        entries = values.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PlanelocError(f"{path}: {key} must be a list with one entry of keys per plane")
        values[key] = tuple(from_mapping(kind, e, f"{path}: {key}[{i}]") for i, e in enumerate(entries))
    microscope = from_mapping(Microscope, values, str(path))
    check(microscope)
    if microscope.planes < 2:
        raise PlanelocError(f"{path}: {microscope.planes} camera(s) listed; a multi-plane microscope has at least 2")
    if microscope.layout == "regions" and len(microscope.regions) != microscope.planes:
        raise PlanelocError(
            f"{path}: layout regions needs one region per camera: {len(microscope.regions)} for {microscope.planes}"
        )
    if microscope.layout == "regions" and len({(r.width, r.height) for r in microscope.regions}) > 1:
        raise PlanelocError(f"{path}: the regions differ in size; give all the same width and height")
    return microscope
