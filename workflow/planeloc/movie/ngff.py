"""The attributes by which viewers open a movie as an image: OME-Zarr 0.5 (NGFF)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.microscope import Microscope

AXES = ("t", "c", "y", "x")
"""Names of the dimensions, as OME-Zarr calls them: frame, plane, row, column."""

FRAMES_FOR_CONTRAST = 10
_DARKEST, _BRIGHTEST = 1.0, 99.9  # percentiles of a camera's counts that are shown black and white
_LARGEST_COUNT = 65535


def attributes(array: str, name: str, microscope: Microscope, frames: NDArray[np.uint16]) -> dict[str, Any]:
    """The content of ``ome`` in the attributes of a movie's group.

    Positions are in µm from the outer corner of the first pixel, as those of the localizations: the centre of that
    pixel is at half a pixel. They hold for the reference camera; the other cameras are shown as they are, unregistered.

    Parameters
    ----------
    array : name of the array with the counts, axes `AXES`.
    name : of the movie.
    microscope : gives the pixel size, and the names of the cameras.
    frames : some frames, (n, planes, rows, columns), from which the contrast of every camera is chosen.
    """
    pixel = microscope.pixel_size_nm / 1000
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in AXES[2:]]
    transformations = [
        {"type": "scale", "scale": [1.0, 1.0, pixel, pixel]},
        {"type": "translation", "translation": [0.0, 0.0, pixel / 2, pixel / 2]},
    ]
    multiscale = {
        "name": name,
        "axes": [{"name": AXES[0], "type": "time"}, {"name": AXES[1], "type": "channel"}, *space],
        "datasets": [{"path": array, "coordinateTransformations": transformations}],
    }
    channels = [
        {
            "label": camera.name or f"plane {plane}",
            "color": "FFFFFF",
            "active": plane == 0,  # pictures of several cameras would cover each other
            "window": _window(frames[:, plane]),
        }
        for plane, camera in enumerate(microscope.cameras)
    ]
    return {"version": "0.5", "multiscales": [multiscale], "omero": {"channels": channels}}


def _window(counts: NDArray[np.uint16]) -> dict[str, int]:
    start, end = (int(value) for value in np.percentile(counts, (_DARKEST, _BRIGHTEST)))
    return {"min": 0, "max": _LARGEST_COUNT, "start": start, "end": max(end, start + 1)}
