"""Reading the images of beads: all slices of all cameras at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera, camera_called
from planeloc.core.errors import PlanelocError
from planeloc.io.camera_source import CameraSource


def camera_file(files: Sequence[Path], plane: int) -> Path:
    """The file that holds a plane: its own, or the one that all planes share."""
    return files[plane] if len(files) > plane else files[0]


def read_slices(
    source: CameraSource, cameras: Sequence[Camera], frames: Sequence[int]
) -> tuple[NDArray[np.uint16], tuple[Camera, ...]]:
    """Counts (slices, planes, rows, columns) of bead images, and the cameras, saturated where their files are full.

    Raises
    ------
    PlanelocError : two cameras have identical images: one file was given twice.
    """
    counts = np.empty((len(frames), *source.shape[1:]), dtype=np.uint16)
    for index, frame in enumerate(frames):
        counts[index] = source.read(int(frame), int(frame) + 1)[0]
    for p, q in combinations(range(len(cameras)), 2):
        if all(np.array_equal(image[p], image[q]) for image in counts):
            raise PlanelocError(
                f"{camera_file(source.files, q)}: {camera_called(cameras[p].name)} and "
                f"{camera_called(cameras[q].name)} have identical "
                "images: the same file or region was given twice; correct the bead files in the calibration table, "
                "or the regions in the microscope file"
            )
    full = zip(cameras, source.largest_counts, strict=True)
    return counts, tuple(replace(c, saturation_counts=min(c.saturation_counts, largest)) for c, largest in full)
