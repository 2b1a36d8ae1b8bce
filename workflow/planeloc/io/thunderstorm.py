"""ThunderSTORM's localization tables (CSV), which SMAP and others read too.

Every column holds numbers only. Unknown values are therefore replaced: precision by one voxel, spot width by one
pixel, photons by 0.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.io import localization_table
from planeloc.io.exporters import known_or
from planeloc.io.localization_table import metadata_value

name = "thunderstorm"
endings = (".csv",)

_ROWS_AT_ONCE = 1 << 16

COLUMNS: dict[str, str] = {
    "id": "%d",
    "frame": "%d",
    "x [nm]": "%.3f",
    "y [nm]": "%.3f",
    "z [nm]": "%.3f",
    "sigma1 [nm]": "%.3f",
    "sigma2 [nm]": "%.3f",
    "intensity [photon]": "%.3f",
    "offset [photon]": "%.3f",
    "bkgstd [photon]": "%.3f",
    "uncertainty_xy [nm]": "%.3f",
}
"""Column → format of its numbers, in ThunderSTORM's order; frames count from 1."""

_TO_PLANELOC: dict[str, tuple[str, ...]] = {
    "x [nm]": ("x",),
    "y [nm]": ("y",),
    "z [nm]": ("z",),
    "intensity [photon]": ("photons",),
    "offset [photon]": ("background",),
    "uncertainty_xy [nm]": ("x_sd", "y_sd"),
    "uncertainty [nm]": ("x_sd", "y_sd"),  # versions before 1.3
    "uncertainty_z [nm]": ("z_sd",),
}


def write(table: pd.DataFrame, metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write a table for ThunderSTORM; positions in nm from the corner of the field, as in planeloc."""
    path = Path(path)
    pixel = metadata_value(path, metadata, "pixel_size_nm")
    voxel = metadata_value(path, metadata, "voxel_nm")
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(f'"{column}"' for column in COLUMNS) + "\n")
        for start in range(0, len(table), _ROWS_AT_ONCE):
            rows = _columns(table.iloc[start : start + _ROWS_AT_ONCE], start, float(pixel), voxel)
            np.savetxt(file, rows, delimiter=",", fmt=list(COLUMNS.values()))


def _columns(table: pd.DataFrame, before: int, pixel_nm: float, voxel_nm: Sequence[float]) -> NDArray[np.float64]:
    """The numbers of some rows, in the order of `COLUMNS`; `before` is the number of rows that precede them."""
    background = known_or(table["background"], 0.0)
    variance = (known_or(table["x_sd"], voxel_nm[0]) ** 2 + known_or(table["y_sd"], voxel_nm[1]) ** 2) / 2
    spot_width = np.full(len(table), pixel_nm)
    columns = (
        before + np.arange(1, len(table) + 1),
        table["frame"].to_numpy() + 1,
        table["x"],
        table["y"],
        table["z"],
        spot_width,
        spot_width,
        known_or(table["photons"], 0.0),
        background,
        np.sqrt(np.maximum(background, 0.0)),  # shot noise
        np.sqrt(variance),
    )
    return np.column_stack(columns)


def read(path: str | Path) -> pd.DataFrame:
    """Read a ThunderSTORM table, older column names included; missing quantities are NaN."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            header = next(csv.reader([file.readline().replace('"', "")]), [])
        names = [column.strip() for column in header]
        if not {"frame", "x [nm]", "y [nm]"} <= set(names):
            raise PlanelocError(f'{path}: not a ThunderSTORM table; expected columns "frame", "x [nm]", "y [nm]"')
        # some exports quote the whole header line, so names are not left to the parser
        content = pd.read_csv(path, header=None, names=names, skiprows=1, dtype=np.float64)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; check the path") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise PlanelocError(f"{path}: not a ThunderSTORM table ({error}); export it again") from None
    table = localization_table.blank(len(content))
    table["frame"] = content["frame"].to_numpy().astype(np.int64) - 1
    for column, targets in _TO_PLANELOC.items():
        for target in targets:
            if column in names:
                table[target] = content[column].to_numpy()
    return table
