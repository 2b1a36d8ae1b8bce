"""ThunderSTORM's localization tables (CSV), which SMAP and others read too.

Every column holds numbers only. Unknown values are therefore replaced: precision by one voxel, spot width by one
pixel, photons by 0. What ThunderSTORM has no column for follows its own columns; programs ignore or keep it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import Kind
from planeloc.io import localization_table
from planeloc.io.localization_table import ADDED_COLUMNS, metadata_value
from planeloc.io.other_programs import (
    UNKNOWN,
    Outgoing,
    frame_numbers,
    lateral_sd,
    report_unused,
    restore_unknown,
)

name = "thunderstorm"
endings = (".csv",)

COLUMNS: dict[str, str] = {
    "id": "%d",
    "frame": "%d",
    "x [nm]": "%.3f",
    "y [nm]": "%.3f",
    "z [nm]": "%.3f",
    "sigma1 [nm]": "%g",
    "sigma2 [nm]": "%g",
    "intensity [photon]": "%.3f",
    "offset [photon]": "%.4f",
    "bkgstd [photon]": "%.4f",
    "uncertainty_xy [nm]": "%.3f",
    "uncertainty_z [nm]": "%.3f",
}
"""Column → format of its numbers, in ThunderSTORM's order; frames count from 1."""

OTHER_COLUMNS: dict[str, str] = {
    "detections": "%d",  # ThunderSTORM's own, of merged molecules
    "uncertainty_x [nm]": "%.3f",
    "uncertainty_y [nm]": "%.3f",
    "probability": "%.7g",
    "goodness_of_fit": "%.7g",
    "planes_seen": "%d",
    "local_density": "%.7g",
    "last_frame": "%d",  # counted from 1, as `frame`
    "group": "%d",
    UNKNOWN: "%d",
}
"""Columns that follow where the table has them."""

kinds = (
    Kind(
        "a table for ThunderSTORM",
        (),
        ",".join(f'"{column}"' for column in list(COLUMNS)[:4]).encode(),
        # ThunderSTORM writes the other columns, too, but none of these
        any_of=tuple(f'"{column}"'.encode() for column in list(OTHER_COLUMNS)[3:]),
    ),
)

_TO_PLANELOC: dict[str, str] = {
    "x [nm]": "x",
    "y [nm]": "y",
    "z [nm]": "z",
    "intensity [photon]": "photons",
    "offset [photon]": "background",
    "uncertainty_z [nm]": "z_sd",
    "probability": "probability",
    "goodness_of_fit": "goodness_of_fit",
    "planes_seen": "planes_seen",
    "local_density": "local_density",
    "detections": "frames",
    "last_frame": "last_frame",
    "group": "group",
}
_LATERAL = ("uncertainty_xy [nm]", "uncertainty [nm]")  # the second in versions before 1.3
_LATERAL_AXES = ("uncertainty_x [nm]", "uncertainty_y [nm]")
_NEEDED = {"frame", "x", "y", "z", "photons", "background", "x_sd", "y_sd", "z_sd"}
_LINES_AT_ONCE = 256


def write(table: pd.DataFrame, metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write a table for ThunderSTORM; positions in nm from the corner of the field, as in planeloc."""
    path = Path(path)
    pixel = float(metadata_value(path, metadata, "pixel_size_nm"))
    outgoing = Outgoing.of(path, table, metadata, _NEEDED)
    axes = _LATERAL_AXES if not table["x_sd"].equals(table["y_sd"]) else ()
    own = outgoing.own or [UNKNOWN]  # one at least says that planeloc wrote the file
    other = {*axes, *own, *(["detections"] if outgoing.linked else [])}
    formats = COLUMNS | {column: text for column, text in OTHER_COLUMNS.items() if column in other}
    with atomic_path(path, kinds[0]) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(f'"{column}"' for column in formats) + "\n")
        line = ",".join(formats.values()) + "\n"
        for start, numbers in outgoing.portions():
            columns = _columns(numbers, start, pixel)
            rows = np.column_stack([columns[column] for column in formats])
            for first in range(0, len(rows), _LINES_AT_ONCE):
                lines = rows[first : first + _LINES_AT_ONCE]
                file.write(line * len(lines) % tuple(lines.ravel().tolist()))


def _columns(numbers: Mapping[str, NDArray], before: int, pixel_nm: float) -> dict[str, NDArray]:
    """The numbers of some rows by column of ThunderSTORM; `before` is the number of rows that precede them."""
    rows = len(numbers["frame"])
    spot_width = np.full(rows, pixel_nm)
    columns = {
        **{column: numbers[entry] for column, entry in _TO_PLANELOC.items() if entry in numbers},
        "id": before + np.arange(1, rows + 1),
        "frame": numbers["frame"] + 1,
        "sigma1 [nm]": spot_width,
        "sigma2 [nm]": spot_width,
        "bkgstd [photon]": np.sqrt(np.maximum(numbers["background"], 0.0)),  # shot noise
        "uncertainty_xy [nm]": np.sqrt((numbers["x_sd"] ** 2 + numbers["y_sd"] ** 2) / 2),
        "uncertainty_x [nm]": numbers["x_sd"],
        "uncertainty_y [nm]": numbers["y_sd"],
        UNKNOWN: numbers[UNKNOWN],
    }
    if "last_frame" in numbers:
        columns["last_frame"] = numbers["last_frame"] + 1
    return columns


def read(path: str | Path, pixel_size_nm: float | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a ThunderSTORM table, older column names included; missing quantities are NaN.

    The file states no pixel size and no field: the metadata are empty.

    Raises
    ------
    PlanelocError : the file is missing or of another form.
    """
    path = Path(path)
    try:
        names = _header(path)
        used = [column for column in names if column in {"frame", *_TO_PLANELOC, *_LATERAL, *_LATERAL_AXES, UNKNOWN}]
        # some exports quote the whole header line, so names are not left to the parser
        content = pd.read_csv(
            path, header=None, names=names, usecols=used, skiprows=1, dtype=np.float64, index_col=False
        )
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; check the path") from None
    except (ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise PlanelocError(f"{path}: not a ThunderSTORM table ({reason}); export it again") from None
    report_unused(path, names, (*COLUMNS, *OTHER_COLUMNS, *_LATERAL, "sigma [nm]", "chi2"))
    return _table(path, content), {}


def _header(path: Path) -> list[str]:
    """Names of the columns."""
    with path.open(encoding="utf-8-sig") as file:
        header = next(csv.reader([file.readline(1 << 16).replace('"', "")]), [])
    names = [column.strip() for column in header]
    if not {"frame", "x [nm]", "y [nm]"} <= set(names) or len(set(names)) < len(names):
        raise ValueError('expected columns "frame", "x [nm]", "y [nm]", each once')
    return names


def _table(path: Path, content: pd.DataFrame) -> pd.DataFrame:
    table = localization_table.blank(len(content))
    table["frame"] = frame_numbers(path, content.pop("frame").to_numpy(), 1)
    for column, target in _TO_PLANELOC.items():
        if column in content:
            values = content.pop(column).to_numpy()
            whole = target in ADDED_COLUMNS and ADDED_COLUMNS[target][0].startswith("int")
            table[target] = frame_numbers(path, values, int(target == "last_frame")) if whole else values
    if "frames" in table and "last_frame" not in table:
        table["last_frame"] = table["frame"] + table["frames"] - 1  # ThunderSTORM says no more
    for column in _LATERAL:
        if column in content:
            x, y = (content[axis].to_numpy() if axis in content else None for axis in _LATERAL_AXES)
            table["x_sd"], table["y_sd"] = lateral_sd(content[column].to_numpy(), x, y)
    restore_unknown(table, content[UNKNOWN].to_numpy() if UNKNOWN in content else None)
    return table
