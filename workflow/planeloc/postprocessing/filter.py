"""The `filter` stage: which localizations go into the picture, and the tables for other programs.

Every criterion looks at one quantity of one row. A row whose quantity is unknown (NaN) passes: a limit on the standard
deviation must not empty a table that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.exporters import EXPORTERS
from planeloc.postprocessing.settings import FilterSettings


def criteria(
    table: pd.DataFrame, size_nm: tuple[float, float], settings: FilterSettings
) -> dict[str, NDArray[np.bool_]]:
    """For every criterion, which rows fail it; `size_nm` is the width and height of the field."""
    border = settings.border_nm
    x, y, z = (table[axis].to_numpy() for axis in "xyz")
    edge = np.minimum(np.minimum(x, size_nm[0] - x), np.minimum(y, size_nm[1] - y))
    lateral_sd = np.fmax(table["x_sd"].to_numpy(), table["y_sd"].to_numpy())
    return {
        "minimum_probability": table["probability"].to_numpy() < settings.minimum_probability,
        "minimum_photons": table["photons"].to_numpy() < settings.minimum_photons,
        "maximum_lateral_sd_nm": lateral_sd > settings.maximum_lateral_sd_nm,
        "maximum_axial_sd_nm": table["z_sd"].to_numpy() > settings.maximum_axial_sd_nm,
        "minimum_depth_nm": z < settings.minimum_depth_nm,
        "maximum_depth_nm": z > settings.maximum_depth_nm,
        "border_nm": edge < border if border > 0 else np.zeros(len(table), dtype=bool),
    }


def apply(
    table: pd.DataFrame, size_nm: tuple[float, float], settings: FilterSettings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Keep the rows that fulfil every criterion; the record counts each criterion's failures on its own."""
    failing = criteria(table, size_nm, settings)
    keep = ~np.logical_or.reduce(list(failing.values()))
    kept = table[keep].reset_index(drop=True)
    failures = {name: int(rows.sum()) for name, rows in failing.items()}
    return kept, {"rows_read": len(table), "rows_kept": len(kept), "failing": failures}


def filter_localizations(
    localizations_file: Path, output: Path, exports: Sequence[tuple[str, Path]], settings: FilterSettings
) -> None:
    """Read a table, leave out what the settings say, write the rest and its exports.

    `exports` are names of registered exporters (`planeloc.io.exporters`), each with the file to write.
    The record of what was left out, and the settings, are in the metadata of `output` under ``filter``.
    """
    check(settings)
    exporters = [(EXPORTERS.load(name), path) for name, path in exports]
    table, metadata = localization_table.read(localizations_file)
    kept, record = apply(table, localization_table.field_nm(localizations_file, metadata), settings)
    del table  # large tables are held once
    metadata = {**metadata, "filter": {**record, "settings": asdict(settings)}}
    for exporter, path in exporters:
        exporter.write(kept, metadata, path)
    localization_table.write(output, kept, metadata)
