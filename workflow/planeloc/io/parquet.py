"""Localization tables as Parquet, for Arrow, DuckDB, Polars, R and others; needs pyarrow, which planeloc does not.

Columns, units and unknown values are those of planeloc's own tables; the metadata are in the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import Kind
from planeloc.io import localization_table
from planeloc.io.localization_table import ADDED_COLUMNS, COLUMNS
from planeloc.io.other_programs import frame_numbers, report_unused

name = "parquet"
endings = (".parquet",)

_ALL = {**COLUMNS, **ADDED_COLUMNS}
_METADATA = b"planeloc"
_MADE_BY = (b"made_by", b"made by planeloc, as Parquet")
kinds = (Kind("a table in Parquet", _MADE_BY[1:], b"PAR1"),)
_ROWS_AT_ONCE = 1 << 18


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise PlanelocError(f"Parquet needs pyarrow ({missing}); install it: pip install 'pyarrow>=17'") from None
    return pyarrow


def write(table: pd.DataFrame, metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write a table; every column with its unit and its meaning, unknown values as NaN.

    Raises
    ------
    PlanelocError : pyarrow is not installed.
    """
    path = Path(path)
    pyarrow = _pyarrow()
    fields = [
        pyarrow.field(column, getattr(pyarrow, dtype)(), metadata={"units": unit, "meaning": meaning})
        for column, (dtype, unit, meaning) in _ALL.items()
        if column in table
    ]
    text = json.dumps(dict(metadata), allow_nan=False, sort_keys=True)
    schema = pyarrow.schema(fields, metadata={_METADATA: text, _MADE_BY[0]: _MADE_BY[1]})
    with (
        atomic_path(path, kinds[0]) as partial,
        pyarrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        for start in range(0, len(table), _ROWS_AT_ONCE):
            rows = table.iloc[start : start + _ROWS_AT_ONCE]
            arrays = [pyarrow.array(rows[field.name].to_numpy().astype(_ALL[field.name][0])) for field in fields]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def read(path: str | Path, pixel_size_nm: float | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table with the columns of planeloc, and its metadata, empty if planeloc did not write it.

    Raises
    ------
    PlanelocError : the file is missing or of another form, or pyarrow is not installed.
    """
    path = Path(path)
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            if not {"frame", "x", "y"} <= set(present):
                raise ValueError("no columns frame, x, y")
            used = [column for column in _ALL if column in present]
            text = (file.schema_arrow.metadata or {}).get(_METADATA, b"{}")
            # one after the other: a large table is held once
            columns = {column: file.read(columns=[column])[column].to_numpy().astype(np.float64) for column in used}
        metadata = dict(json.loads(text))
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError, TypeError, KeyError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise PlanelocError(f"{path}: not a Parquet table of localizations ({reason}); write it again") from None
    table = localization_table.blank(len(columns["frame"]))
    for column in used:
        whole = _ALL[column][0].startswith("int")
        values = columns.pop(column)
        table[column] = frame_numbers(path, values, 0) if whole else values
    report_unused(path, present, _ALL)
    return table, metadata
