"""The microscope file: pixel size, layout of the cameras' images in the files, and every camera's data sheet (YAML).

The order of the cameras is the order of the planes; plane 0 is the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from planeloc.cameras.camera import Camera
from planeloc.cameras.region_rules import region_mistake
from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable
from planeloc.core.settings import from_mapping, setting

LAYOUTS = ("files", "channels", "regions")

# Keys without defaults, because a guess would be wrong without any warning; and what to enter.
REQUIRED = {
    "pixel_size_nm": "a camera pixel in the sample: pixel pitch over magnification, nm, e.g. pixel_size_nm: 100",
}
REQUIRED_OF_CAMERAS = {
    "offset_counts": "the counts in the dark, e.g. offset_counts: 100",
    "electrons_per_count": "from the data sheet (conversion gain, sensitivity), e.g. electrons_per_count: 0.5",
    "em_gain": "the EM gain that was set; em_gain: 1 for CCD and sCMOS",
    "quantum_efficiency": "from the data sheet, 0 to 1, e.g. quantum_efficiency: 0.9",
    "read_noise_electrons": "rms electrons at the output, after the EM gain, e.g. read_noise_electrons: 1.5 for sCMOS",
}
REQUIRED_OF_REGIONS = {"width": "columns of the region", "height": "rows of the region"}


@dataclass(frozen=True)
class Region:
    """A rectangle of a shared sensor, in camera pixels: columns x … x+width−1, rows y … y+height−1."""

    x: int = setting(0, "First column.", unit="px", minimum=0)
    y: int = setting(0, "First row.", unit="px", minimum=0)
    width: int = setting(1, "Columns.", unit="px", minimum=1)
    height: int = setting(1, "Rows.", unit="px", minimum=1)


@dataclass(frozen=True)
class Microscope:
    """The content of a microscope file."""

    name: str
    pixel_size_nm: float = setting(100.0, "Size of a camera pixel in the sample.", unit="nm", minimum=1)
    layout: str = setting(
        "files",
        "files: one file per camera; channels: one file with a channel axis; regions: one sensor, split in rectangles.",
        choices=LAYOUTS,
    )
    cameras: tuple[Camera, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def planes(self) -> int:
        """Number of planes, one per camera."""
        return len(self.cameras)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for manifests and records."""
        return asdict(self)


def read_microscope(path: str | Path) -> Microscope:
    """Read and check a microscope file.

    Raises
    ------
    PlanelocError : the file is missing, or a key is wrong; the message names file and key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanelocError(f"{path}: microscope file not found; see docs/configuration.md for its keys") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of text, dates, long numbers, depth
        raise PlanelocError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PlanelocError(f"{path}: expected keys such as pixel_size_nm and cameras; see docs/configuration.md")
    values = {"name": path.stem, **content}
    for key, kind, required in (("cameras", Camera, REQUIRED_OF_CAMERAS), ("regions", Region, REQUIRED_OF_REGIONS)):
        entries = values.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PlanelocError(f"{path}: {key} must be a list with one entry of keys per plane")
        values[key] = tuple(_entry(kind, e, required, f"{path}: {key}[{i}]") for i, e in enumerate(entries))
    microscope = _entry(Microscope, values, REQUIRED, str(path))
    if microscope.planes < 2:
        raise PlanelocError(f"{path}: {microscope.planes} camera(s) listed; a multi-plane microscope has at least 2")
    sizes = [(region.width, region.height) for region in microscope.regions]
    if mistake := region_mistake(microscope.layout, microscope.planes, sizes):
        raise PlanelocError(f"{path}: {mistake}")
    return microscope


def _entry(kind: type, values: Mapping[str, Any], required: Mapping[str, str], where: str) -> Any:
    """One group of keys; an unknown, perhaps misspelt key is reported before a missing one."""
    entry = from_mapping(kind, values, where)
    for key, remedy in required.items():
        if key not in values:
            name = f" ({values['name']})" if kind is Camera and "name" in values else ""
            raise PlanelocError(f"{where}{name}: {key} is missing; add it: {remedy}")
    return entry
