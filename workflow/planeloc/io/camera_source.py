"""From camera files to frames: which pixels of which file belong to which plane, by the microscope's layout.

The order of the cameras in the microscope file is the order of the planes. The "frames" of a bead scan are its slices.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import camera_called
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.errors import PlanelocError
from planeloc.io.camera_formats import CameraStack, open_camera_file

_LOG = logging.getLogger(__name__)

_SAME_PIXEL_SIZE = 0.02  # relative difference: less is rounding in a header


@dataclass(frozen=True)
class _Plane:
    """The pixels of one plane: a channel of a file, and a region of its frames."""

    stack: CameraStack
    channel: int
    region: Region


class CameraSource(AbstractContextManager):
    """Frames of all cameras together, read from disk on request.

    Attributes
    ----------
    shape : (frames, planes, height, width), with the frames of the longest camera.
    recorded : frames of every camera. Later ones are read as zeros.
    files : paths, in the order in which they were given.
    all_files : for each of them, all files that hold its images.
    remarks : what is odd about the files but was settled, one sentence each.
    largest_counts : largest number that a pixel of each plane can hold: 255 or 65535.
    """

    def __init__(self, stacks: Sequence[CameraStack], planes: Sequence[_Plane]) -> None:
        self._stacks = tuple(stacks)
        self._planes = tuple(planes)
        self.files = [stack.path for stack in stacks]
        self.all_files = [tuple(getattr(stack, "files", (stack.path,))) for stack in stacks]
        self.remarks = [remark for stack in stacks for remark in getattr(stack, "remarks", ())]
        region = planes[0].region
        self.recorded = tuple(plane.stack.frames for plane in planes)
        self.shape = (max(self.recorded), len(planes), region.height, region.width)
        self.largest_counts = tuple(plane.stack.largest_count for plane in planes)

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Frames start … stop−1 as counts, (stop − start, planes, height, width).

        Raises
        ------
        PlanelocError : a file cannot be read to the end.
        IndexError : the frames are outside the movie.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"frames {start}:{stop} of {self.shape[0]}")
        frames = np.empty((stop - start, *self.shape[1:]), dtype=np.uint16)
        for stack in self._stacks:
            last = max(min(stop, stack.frames), start)
            counts = stack.read(start, last) if last > start else None
            for index, plane in enumerate(self._planes):
                if plane.stack is stack:
                    r = plane.region
                    if counts is not None:
                        rows, columns = slice(r.y, r.y + r.height), slice(r.x, r.x + r.width)
                        frames[: last - start, index] = counts[:, plane.channel, rows, columns]
                    frames[last - start :, index] = 0
        return frames

    def close(self) -> None:
        """Close all files."""
        for stack in self._stacks:
            stack.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def open_cameras(paths: Sequence[Path], microscope: Microscope, unequal_lengths: str = "stop") -> CameraSource:
    """Open the camera files of one acquisition, by the microscope's layout.

    - files: one file per camera, in the order of the planes;
    - channels: one file with a channel axis (OME, ImageJ hyperstack, an array frames × cameras), or, where the file
      names no axes, with alternating pages of the cameras: a0 b0 a1 b1 …;
    - regions: one file; every camera is a rectangle that the microscope file defines.

    With `unequal_lengths` "fill", frames that a camera lacks at its end are read as zeros.

    Raises
    ------
    PlanelocError : a file cannot be read; the number of files does not fit the layout; a file is given twice; the
        cameras differ in frames or size; a region is outside the sensor.
    """
    wanted = microscope.planes if microscope.layout == "files" else 1
    if len(paths) != wanted:
        raise PlanelocError(_wrong_number_of_files(paths, microscope))
    channels = microscope.planes if microscope.layout == "channels" else None
    with ExitStack() as on_error:
        stacks = [on_error.enter_context(closing(open_camera_file(path, channels))) for path in paths]
        source = CameraSource(stacks, _planes(stacks, microscope, unequal_lengths))
        on_error.pop_all()
    source.remarks += _other_pixel_sizes(stacks, microscope)
    for remark in source.remarks:
        _LOG.warning(remark)
    return source


def _other_pixel_sizes(stacks: Sequence[CameraStack], microscope: Microscope) -> list[str]:
    """Says which files state another pixel size than the microscope file."""
    stated = {stack.path: getattr(stack, "pixel_size_nm", None) for stack in stacks}
    wrong = {path: size for path, size in stated.items() if size and not _like(size, microscope.pixel_size_nm)}
    if not wrong:
        return []
    path, size = next(iter(wrong.items()))
    files = f"{len(wrong)} files state" if len(wrong) > 1 else "the file states"
    return [
        f"{path}: {files} a pixel size of {size:.4g} nm, the microscope file {microscope.pixel_size_nm:.4g} nm, which "
        "is used: check the magnification; a wrong size scales all positions"
    ]


def _like(size_nm: float, other_nm: float) -> bool:
    return abs(size_nm / other_nm - 1) < _SAME_PIXEL_SIZE


def _planes(stacks: list[CameraStack], microscope: Microscope, unequal_lengths: str) -> list[_Plane]:
    """The plane of every camera; checks that the cameras agree with each other and with the microscope file."""
    whole = Region(0, 0, stacks[0].width, stacks[0].height)
    if microscope.layout == "files":
        _check_equal(stacks, microscope, unequal_lengths)
        return [_Plane(stack, 0, whole) for stack in stacks]
    stack = stacks[0]
    if microscope.layout == "channels":
        return [_Plane(stack, channel, whole) for channel in range(microscope.planes)]
    for camera, r in zip(microscope.cameras, microscope.regions, strict=True):
        if r.x + r.width > stack.width or r.y + r.height > stack.height:
            raise PlanelocError(
                f"{stack.path}: the region of {camera_called(camera.name)} (columns {r.x} to {r.x + r.width}, rows "
                f"{r.y} to "
                f"{r.y + r.height}) reaches outside the image of {stack.width} columns and {stack.height} rows; "
                "correct the regions in the microscope file"
            )
    return [_Plane(stack, 0, region) for region in microscope.regions]


def _check_equal(stacks: list[CameraStack], microscope: Microscope, unequal_lengths: str) -> None:
    seen: set[Path] = set()
    for stack in stacks:
        if stack.path.resolve() in seen:
            raise PlanelocError(f"{stack.path}: given for two cameras; give one file per camera, in plane order")
        seen.add(stack.path.resolve())
    named = list(zip((camera.name for camera in microscope.cameras), stacks, strict=True))
    if unequal_lengths == "stop" and len({stack.frames for stack in stacks}) > 1:
        shortest = min(named, key=lambda pair: pair[1].frames)
        longest = max(named, key=lambda pair: pair[1].frames)
        counts = ", ".join(f"{name} {stack.frames}" for name, stack in named)
        raise PlanelocError(
            f"{shortest[1].path}: the cameras differ in length (frames: {counts}): {shortest[0]} is the shortest, "
            f"{longest[0]} the longest; give files of one acquisition, none of them cut short; if a camera started "
            "late or ended early, set convert: unequal_lengths: fill"
        )
    for name, stack in named[1:]:
        reference_name, reference = named[0]
        if (stack.height, stack.width) != (reference.height, reference.width):
            raise PlanelocError(
                f"{stack.path}: the images of {camera_called(name)} have {stack.width} columns and {stack.height} "
                "rows, those "
                f"of {reference_name} {reference.width} and {reference.height}; record all cameras at the same size"
            )


def _wrong_number_of_files(paths: list[Path], microscope: Microscope) -> str:
    given = ", ".join(str(path) for path in paths) or "no file"
    if microscope.layout == "files":
        cameras = ", ".join(camera.name for camera in microscope.cameras)
        return (
            f"{given}: {len(paths)} file(s) for {microscope.planes} cameras ({cameras}); layout 'files' of microscope "
            f"{microscope.name} takes one file per camera, in that order"
        )
    return (
        f"{given}: {len(paths)} file(s), but layout {microscope.layout!r} of microscope {microscope.name} takes one "
        "file that holds all cameras; give one, or set the layout to 'files'"
    )
