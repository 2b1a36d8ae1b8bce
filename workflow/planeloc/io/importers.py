"""Importers: one module per table format of another program, found by name; most are exporters, too.

To add a format, write one module with the three attributes of `Importer` and list it in the entry-point group
``planeloc.importers`` of your package. ``planeloc import --format NAME`` then accepts it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from planeloc.core.errors import PlanelocError
from planeloc.core.files import sha256
from planeloc.core.registry import Registry
from planeloc.io import localization_table


class Importer(Protocol):
    """What a module or object must have to be an importer."""

    name: str  # on the command line
    endings: tuple[str, ...]  # of the files that it reads; the first is that of the given path: (".csv",)

    def read(self, path: Path, pixel_size_nm: float | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Table (`planeloc.io.localization_table.COLUMNS`, missing quantities NaN) and what the file says of the movie.

        The second holds those of the metadata of a planeloc table that the file states, or nothing. `pixel_size_nm` is
        for a file that states none and has positions in pixels. A foreign or damaged file is a `PlanelocError`.
        """


IMPORTERS = Registry(
    "importer",
    "planeloc.importers",
    {
        "picasso": "planeloc.io.picasso",
        "thunderstorm": "planeloc.io.thunderstorm",
        "smap": "planeloc.io.smap",
        "parquet": "planeloc.io.parquet",
    },
)

# of tables that no planeloc table describes: the voxels of the image as in the paper
_VOXEL_NM = (25.0, 25.0, 50.0)
_DEPTHS_NM = (-500.0, 500.0)  # where no depth is known

_LOG = logging.getLogger(__name__)


def format_of(path: Path) -> str:
    """Name of the importer whose usual ending the file has.

    Raises
    ------
    PlanelocError : none has it.
    """
    endings = {"parquet": ".parquet", "smap": ".mat", "picasso": ".hdf5", "thunderstorm": ".csv"}
    for name, ending in endings.items():
        if path.name.lower().endswith(ending):
            return name
    raise PlanelocError(f"{path}: the name does not say the format; give --format {', '.join(IMPORTERS.names())}")


def import_table(
    path: Path, format_name: str, output: Path, like: Path | None = None, pixel_size_nm: float | None = None
) -> int:
    """Read a table of another program and write it as planeloc's; returns the number of rows.

    Parameters
    ----------
    path : Path
        The file to read.
    format_name : str
        Name of an importer.
    output : Path
        HDF5 table to write. Rows are sorted by frame, and otherwise keep their order.
    like : Path, optional
        A planeloc table of the same movie, from which the metadata are taken. Without, they are those that the file
        states, and the rest is derived from its rows.
    pixel_size_nm : float, optional
        Camera pixel, where neither states one.

    Raises
    ------
    PlanelocError : a file cannot be read, they are not of the same movie, or the pixel size is unknown.
    """
    importer = IMPORTERS.load(format_name)
    model = localization_table.read_metadata(like)[0] if like else {}
    table, said = importer.read(path, pixel_size_nm or model.get("pixel_size_nm"))
    _check_positions(path, table)
    metadata = _metadata(path, table, said, model, like, pixel_size_nm)
    _add_depths(path, table)
    metadata["import"] = {"format": format_name, "file": path.name, "sha256": sha256(path), "rows": len(table)}
    if not table["frame"].is_monotonic_increasing:
        table = table.sort_values("frame", kind="stable", ignore_index=True)
        _LOG.info(f"{path}: rows sorted by frame")
    localization_table.write(output, table, metadata, made_by="import")
    return len(table)


def _check_positions(path: Path, table: pd.DataFrame) -> None:
    """Raise an error if a row has no position; a table may have no depths at all."""
    axes = "xy" if table["z"].isna().all() else "xyz"
    if not all(np.isfinite(table[axis].to_numpy(dtype=np.float64)).all() for axis in axes):
        raise PlanelocError(f"{path}: rows without a position; remove them in the other program")


def _add_depths(path: Path, table: pd.DataFrame) -> None:
    """A table without depths gets the depth 0, in place."""
    if len(table) and table["z"].isna().all():
        table["z"] = 0.0
        _LOG.warning(f"{path}: has no depths; all localizations are at z = 0, with unknown standard deviation")


def _metadata(
    path: Path,
    table: pd.DataFrame,
    said: Mapping[str, Any],
    model: Mapping[str, Any],
    like: Path | None,
    pixel_size_nm: float | None,
) -> dict[str, Any]:
    """The metadata of the imported table: those of the model; else what the file says, completed from the rows."""
    last = int(table["frame"].max()) if len(table) else 0
    if like:
        pixel = localization_table.metadata_value(like, model, "pixel_size_nm")
        if abs(said.get("pixel_size_nm", pixel) - pixel) > 1e-6 * pixel:
            raise PlanelocError(f"{path}: its pixels are {said['pixel_size_nm']:g} nm, those of {like} {pixel:g} nm")
        if last >= (frames := localization_table.metadata_value(like, model, "frames")):
            raise PlanelocError(f"{path}: has frame {last} (from 0), but {like} is of a movie of {frames} frames")
        return dict(model)
    pixel = said.get("pixel_size_nm") or pixel_size_nm
    if not pixel:
        raise PlanelocError(f"{path}: states no pixel size; give --like, a planeloc table of the same movie, or "
                            "--pixel-size-nm")  # fmt: skip
    derived = {**_derived(table, pixel, last), **{key: value for key, value in said.items() if value is not None}}
    if missing := sorted(derived.keys() - said.keys() - {"pixel_size_nm"}):
        _LOG.info(f"{path}: {', '.join(missing)} derived from the rows; --like takes them from a table of the movie")
    return derived


def _derived(table: pd.DataFrame, pixel_nm: float, last_frame: int) -> dict[str, Any]:
    """Metadata that follow from the rows."""
    right, bottom = (float(table[axis].max()) if len(table) else 1.0 for axis in "xy")
    depths = table["z"].to_numpy()[np.isfinite(table["z"].to_numpy())]
    step = _VOXEL_NM[2]
    low, high = (float(depths.min()), float(depths.max())) if len(depths) else _DEPTHS_NM
    return {
        "pixel_size_nm": float(pixel_nm),
        "frames": last_frame + 1,
        "width_px": max(1, math.ceil(right / pixel_nm)),
        "height_px": max(1, math.ceil(bottom / pixel_nm)),
        "voxel_nm": list(_VOXEL_NM),
        "depth_range_nm": [step * math.floor(low / step), step * (math.floor(high / step) + 1)],
        "plane_depths_nm": [],
    }
