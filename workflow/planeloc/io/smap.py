"""SMAP's localization files: ``_sml.mat`` of MATLAB.

Written as MATLAB 5 (up to 2 GiB, some 30 million rows), which every MATLAB and SciPy read; read as that and as MATLAB
7.3 (HDF5). SMAP drops rows whose lateral precision is unknown or above 250 nm when it opens a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import Kind
from planeloc.io import localization_table
from planeloc.io.localization_table import ADDED_COLUMNS, metadata_value
from planeloc.io.matlab_5 import read_variables
from planeloc.io.other_programs import (
    UNKNOWN,
    Outgoing,
    frame_numbers,
    lateral_sd,
    report_unused,
    restore_unknown,
)

name = "smap"
endings = ("_sml.mat",)

FIELDS: dict[str, str] = {
    "xnm": "x",
    "ynm": "y",
    "znm": "z",
    "phot": "photons",
    "bg": "background",
    "locprecznm": "z_sd",
    "probability": "probability",
    "goodness_of_fit": "goodness_of_fit",
    "planes_seen": "planes_seen",
    "local_density": "local_density",
    "frames": "frames",
    "last_frame": "last_frame",
    "group": "group",
}
"""Field of ``saveloc.loc`` → column; positions and precisions in nm. ``frame`` and ``last_frame`` count from 1."""

_LATERAL = "locprecnm"
_LATERAL_AXES = ("xnmerr", "ynmerr")
_USED = ("frame", *FIELDS, _LATERAL, *_LATERAL_AXES, UNKNOWN)
_KNOWN = (*_USED, "channel", "filenumber")
_NEEDED = {"frame", "x", "y", "photons", "background", "x_sd", "y_sd"}
_OWN_METADATA = "planeloc"  # a variable of the file
_LARGEST_BYTES = 2**31  # of a variable in MATLAB 5
_TITLE = b"MATLAB 5.0 MAT-file, written by planeloc"
_HEADER = _TITLE.ljust(116)  # SciPy's states the time
kinds = (Kind("a table for SMAP", (), _TITLE),)


def write(table: pd.DataFrame, metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write a table for SMAP; positions in nm from the corner of the field, as in planeloc.

    Raises
    ------
    PlanelocError : the metadata lack an entry, or the table is too large for MATLAB 5.
    """
    from scipy.io import savemat  # 0.2 s

    path = Path(path)
    content = {
        "fileformat": {"name": "sml"},
        "saveloc": {
            "loc": _fields(Outgoing.of(path, table, metadata, _NEEDED)),
            "file": _file(path, metadata),
            "history": np.empty((0, 0), dtype=object),  # an empty cell array
        },
        _OWN_METADATA: json.dumps(dict(metadata), allow_nan=False, sort_keys=True),
    }
    if (size := sum(values.nbytes for values in content["saveloc"]["loc"].values())) >= _LARGEST_BYTES:
        raise PlanelocError(f"{path}: {size / 2**30:.1f} GiB exceed the 2 GiB of a MATLAB file; export to parquet")
    with atomic_path(path, kinds[0]) as partial, partial.open("w+b") as file:
        savemat(file, content, oned_as="column")
        file.seek(0)
        file.write(_HEADER)


def _fields(outgoing: Outgoing) -> dict[str, NDArray]:
    """``saveloc.loc``: one column of MATLAB per field, filled portion by portion."""
    rows = len(outgoing)
    columns = {field: column for field, column in FIELDS.items() if column in outgoing.columns}
    double = {
        "frame",
        "planes_seen",
        "frames",
        "last_frame",
        "group",
    }  # single precision holds whole numbers up to 16 million
    names = ["frame", *columns, _LATERAL, *_LATERAL_AXES, *[UNKNOWN] * outgoing.flagged]
    fields = {field: np.empty((rows, 1), dtype="f8" if field in double else "f4") for field in names}
    for start, numbers in outgoing.portions():
        part = slice(start, start + len(numbers["frame"]))
        numbers |= {"frame": numbers["frame"] + 1, "last_frame": numbers.get("last_frame", 0) + 1}
        for field in names:
            if field in columns or field in ("frame", UNKNOWN):
                fields[field][part, 0] = numbers[columns.get(field, field)]
        fields[_LATERAL][part, 0] = np.sqrt((numbers["x_sd"] ** 2 + numbers["y_sd"] ** 2) / 2)
        for field, axis in zip(_LATERAL_AXES, "xy", strict=True):
            fields[field][part, 0] = numbers[f"{axis}_sd"]
    return fields | {"channel": np.zeros((rows, 1), "f4"), "filenumber": np.ones((rows, 1), "f4")}


def _file(path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``saveloc.file``: the movie, as far as SMAP asks for it."""
    width, height, frames, pixel = (
        float(metadata_value(path, metadata, key)) for key in ("width_px", "height_px", "frames", "pixel_size_nm")
    )
    info = {
        "Width": width,
        "Height": height,
        "roi": np.array([[0.0, 0.0, width, height]]),
        "cam_pixelsize_um": np.array([[pixel, pixel]]) / 1000,
        "numberOfFrames": frames,
    }
    nothing = np.empty((0, 0))
    tif = {"image": nothing, "info": nothing}
    return {
        **{"name": path.name, "number": 1.0, "info": info},
        **{"average": nothing, "numberOfTif": 0.0, "tif": tif, "raw": nothing},
    }


def read(path: str | Path, pixel_size_nm: float | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read an ``_sml.mat`` file of MATLAB 5 to 7.3; missing quantities are NaN.

    Also returns ``frames``, ``width_px``, ``height_px`` and ``pixel_size_nm`` as far as the file states them; of a
    table that planeloc wrote, all metadata. Rows of several files or channels become one table.

    Raises
    ------
    PlanelocError : the file is missing or of another form.
    """
    path = Path(path)
    try:
        fields, info, own, present = _read_hdf5(path) if h5py.is_hdf5(path) else _read_matlab_5(path)
        if not {"frame", "xnm", "ynm"} <= set(fields) or len({len(values) for values in fields.values()}) != 1:
            raise ValueError("no columns frame, xnm, ynm of equal length in saveloc.loc")
        said = _said(info) | dict(json.loads(own) if own else {})
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; check the path") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PlanelocError(f"{path}: not a localization file of SMAP ({reason}); save it again in SMAP") from None
    report_unused(path, present, _KNOWN)
    return _table(path, fields), said


def _read_matlab_5(path: Path) -> tuple[dict[str, NDArray], dict[str, Any], str, list[str]]:
    """Fields of ``saveloc.loc``, entries of ``saveloc.file.info``, planeloc's metadata, names of all fields."""
    content = read_variables(path, ("saveloc", _OWN_METADATA))
    saveloc = content.get("saveloc")
    loc = saveloc.get("loc") if isinstance(saveloc, dict) else None
    if not isinstance(loc, dict):
        raise ValueError("no structure saveloc.loc")
    fields = {field: _numbers(loc[field]) for field in _USED if field in loc}
    file = saveloc.get("file")
    info = file.get("info") if isinstance(file, dict) else saveloc.get("info")  # in files of Picasso
    entries = {entry: info[entry] for entry in _INFO if isinstance(info, dict) and entry in info}
    own = content.get(_OWN_METADATA)
    return fields, entries, own if isinstance(own, str) else "", list(loc)


def _read_hdf5(path: Path) -> tuple[dict[str, NDArray], dict[str, Any], str, list[str]]:
    """The same of a file of MATLAB 7.3."""
    with h5py.File(path, "r") as file:
        loc = file["saveloc/loc"]
        fields = {field: _numbers(loc[field][:]) for field in _USED if field in loc}
        info = file.get("saveloc/file/info")
        if isinstance(info, h5py.Dataset):  # several files: references, of which the first counts
            info = file[info[:].ravel()[0]]
        entries = {entry: info[entry][:] for entry in _INFO if info is not None and entry in info}
        return fields, entries, "", list(loc)


def _numbers(values: Any) -> NDArray:
    """A column as numbers. Of complex ones, the roots of negative numbers, MATLAB 7.3 stores pairs: the real part."""
    if getattr(values, "dtype", None) is not None and values.dtype.names == ("real", "imag"):
        values = values["real"]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise ValueError("columns that are not numbers")
    return values.ravel()


_INFO = {"Width": "width_px", "Height": "height_px", "numberOfFrames": "frames", "cam_pixelsize_um": "pixel_size_nm"}


def _said(info: Mapping[str, Any]) -> dict[str, Any]:
    """Planeloc's metadata from ``saveloc.file.info``."""
    values = {_INFO[entry]: float(_numbers(value)[0]) for entry, value in info.items() if np.size(value)}
    said: dict[str, Any] = {key: int(value) for key, value in values.items() if key != "pixel_size_nm" and value > 0}
    if values.get("pixel_size_nm", 0) > 0:
        said["pixel_size_nm"] = round(1000 * values["pixel_size_nm"], 6)
    return said


def _table(path: Path, fields: Mapping[str, NDArray]) -> pd.DataFrame:
    table = localization_table.blank(len(fields["frame"]))
    table["frame"] = frame_numbers(path, fields["frame"], 1)
    for field, column in FIELDS.items():
        if field in fields:
            whole = column in ADDED_COLUMNS and ADDED_COLUMNS[column][0].startswith("int")
            values = fields[field].astype(np.float64)
            table[column] = frame_numbers(path, values, int(column == "last_frame")) if whole else values
    if _LATERAL in fields:
        both, *axes = (fields.get(field) for field in (_LATERAL, *_LATERAL_AXES))
        x, y = (None if axis is None else axis.astype(np.float64) for axis in axes)
        table["x_sd"], table["y_sd"] = lateral_sd(both.astype(np.float64), x, y)
    restore_unknown(table, fields.get(UNKNOWN))
    return table
