"""Opening localizations and movies in napari, by drag and drop or from Python.

napari finds `reader` through ``planeloc/napari.yaml`` where both are installed. All positions are in µm from the outer
corner of the first pixel of the reference camera, so that localizations, movie and images lie on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.core.widths import FWHM
from planeloc.io import localization_table

Layer: TypeAlias = "tuple[Any, dict[str, Any], str]"
"""Data, keywords and kind of a layer, as napari takes them from a reader."""

_UNKNOWN_SD_NM = 10.0


def reader(path: str | Sequence[str]) -> Callable[[Any], list[Layer]] | None:
    """The function that reads `path`, one or several files, or None if one is no localization table or movie."""
    functions = [_function_for(Path(each)) for each in ([path] if isinstance(path, str) else path)]
    if not functions or None in functions:
        return None

    def read(path: str | Sequence[str]) -> list[Layer]:
        paths = [path] if isinstance(path, str) else path
        return [layer for function, each in zip(functions, paths, strict=True) for layer in function(each)]

    return read


def _function_for(path: Path) -> Callable[[Any], list[Layer]] | None:
    if path.is_dir():
        try:
            return read_movie if _multiscale(path)["datasets"][0]["path"] == "counts" else None
        except (PlanelocError, KeyError, IndexError, TypeError):
            return None
    try:
        localization_table.read_metadata(path)
    except PlanelocError:
        return None
    return read_points


def read_points(path: str | Path, over_movie: bool = False) -> list[Layer]:
    """Localizations as a layer of points with all columns as features, coloured by depth.

    Parameters
    ----------
    path : table of localizations.
    over_movie : False: points (z, y, x), in µm. True: points (frame, y, x), to be shown over the frames of the movie
        from which they come.

    Raises
    ------
    PlanelocError : the file is no localization table.
    """
    table, _ = localization_table.read(path)
    first = table["frame"] if over_movie else table["z"].fillna(0) / 1000
    known = table[["x_sd", "y_sd"]].to_numpy()
    known = known[np.isfinite(known)]
    sd = np.median(known) if len(known) else _UNKNOWN_SD_NM
    colour = "orange" if over_movie else "z" if np.isfinite(table["z"].to_numpy()).any() else "white"
    keywords = {
        "name": Path(path).stem,
        "features": table,
        "size": 0.5 if over_movie else FWHM * float(sd) / 1000,  # a spot of the movie, or the precision (FWHM)
        "symbol": "ring" if over_movie else "disc",
        "face_color": colour,
        "face_colormap": "viridis",
        "border_color": colour,  # smaller than a pixel of the screen, points show it
        "border_colormap": "viridis",
        "border_width": 0,
        "opacity": 0.7,
        "axis_labels": ("t" if over_movie else "z", "y", "x"),
        "units": ("pixel" if over_movie else "micrometer", "micrometer", "micrometer"),
    }
    return [(np.column_stack([first, table["y"] / 1000, table["x"] / 1000]), keywords, "points")]


def read_movie(path: str | Path) -> list[Layer]:
    """The raw counts of a movie as one image layer (frame, y, x) per camera, of which the reference camera is shown.

    Frames are read from the disk when they are shown.

    Raises
    ------
    PlanelocError : the folder is no movie, or one of an earlier version without these attributes.
    """
    import dask.array
    import zarr

    multiscale = _multiscale(Path(path))
    dataset = multiscale["datasets"][0]
    scale, translation = (entry[entry["type"]] for entry in dataset["coordinateTransformations"])
    counts = dask.array.from_zarr(zarr.open_array(Path(path) / dataset["path"], mode="r"))
    channels = _ome(Path(path))["omero"]["channels"]
    return [
        (
            counts[:, plane],
            {
                "name": f"{multiscale['name']}: {channel['label']}",
                "scale": (scale[0], *scale[2:]),
                "translate": (translation[0], *translation[2:]),
                "axis_labels": ("t", "y", "x"),
                "units": ("pixel", "micrometer", "micrometer"),
                "contrast_limits": (channel["window"]["start"], channel["window"]["end"]),
                "visible": channel["active"],
            },
            "image",
        )
        for plane, channel in enumerate(channels)
    ]


def _ome(path: Path) -> dict[str, Any]:
    content = read_json(path / "zarr.json")
    attributes = content.get("attributes") if isinstance(content, dict) else None
    if not isinstance(attributes, dict) or "ome" not in attributes:
        raise PlanelocError(f"{path}: no OME-Zarr image; convert the movie again with this version of planeloc")
    return attributes["ome"]


def _multiscale(path: Path) -> dict[str, Any]:
    return _ome(path)["multiscales"][0]
