"""What the table formats of other programs share: unknown values, portions, checks of what was read.

Most programs accept only numbers. An unknown value is therefore written as a stand-in, and a column of flags says
where: a table that comes back is as it was, and no stand-in becomes a measurement.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.io.localization_table import ADDED_COLUMNS, metadata_value

OWN_COLUMNS = ("probability", *ADDED_COLUMNS)
"""Columns of planeloc that other programs do not know, and keep under the same names."""

UNKNOWN = "unknown"
"""The column of flags: bit i is set where the quantity number i of `_FLAGGED` is a stand-in."""

OWN_METADATA = "planeloc metadata"
"""Entry under which a format that has room for it keeps planeloc's metadata, as JSON."""

_FLAGGED = ("z", "photons", "background", "probability", "x_sd", "y_sd", "z_sd", "goodness_of_fit", "local_density")
_ROWS_AT_ONCE = 1 << 16
_LARGEST_FRAME = 2**31 - 1

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """A table on its way to a program that accepts only numbers."""

    table: pd.DataFrame
    columns: tuple[str, ...]  # that are written
    flagged: bool  # whether a value of them is unknown
    stand_ins: Mapping[str, float]

    @classmethod
    def of(cls, path: Path, table: pd.DataFrame, metadata: Mapping[str, Any], needed: Collection[str]) -> Outgoing:
        """Columns that the format has `needed`, and all others with a known value.

        Raises
        ------
        PlanelocError : the metadata lack ``voxel_nm``, from which unknown precisions are replaced.
        """
        voxel = metadata_value(path, metadata, "voxel_nm")
        stand_ins = {name: 0.0 for name in table} | dict(zip(("x_sd", "y_sd", "z_sd"), voxel, strict=True))
        stand_ins |= {"probability": 1.0, "goodness_of_fit": 1.0}
        known = {name: np.isfinite(table[name].to_numpy()) for name in table}
        columns = tuple(name for name in table if name in needed or known[name].any())
        flagged = any(not known[name].all() for name in columns if name in _FLAGGED)
        return cls(table, columns, flagged, stand_ins)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def own(self) -> list[str]:
        """Columns to add under planeloc's names, the flags included."""
        return [name for name in OWN_COLUMNS if name in self.columns] + [UNKNOWN] * self.flagged

    @property
    def linked(self) -> bool:
        """Whether its rows are molecules in several frames."""
        return {"frames", "last_frame"} <= set(self.columns)

    def portions(self) -> Iterator[tuple[int, dict[str, NDArray]]]:
        """First row and columns of successive portions, without unknown values."""
        for start in range(0, len(self.table), _ROWS_AT_ONCE):
            yield start, self._numbers(self.table.iloc[start : start + _ROWS_AT_ONCE])

    def _numbers(self, rows: pd.DataFrame) -> dict[str, NDArray]:
        numbers = {}
        flags = np.zeros(len(rows), dtype=np.uint16)
        for name in self.columns:
            values = rows[name].to_numpy()
            known = np.isfinite(values)
            numbers[name] = np.where(known, values, self.stand_ins[name])
            if name in _FLAGGED:
                flags |= (~known).astype(np.uint16) << _FLAGGED.index(name)
        return numbers | {UNKNOWN: flags}


def restore_unknown(table: pd.DataFrame, flags: NDArray | None) -> None:
    """Make the stand-ins of a table that came back unknown again (NaN), in place."""
    if flags is None:
        return
    flags = np.asarray(flags, dtype=np.float64)
    bits = np.where((flags >= 0) & (flags < 1 << len(_FLAGGED)), flags, 0).astype(np.uint16)
    for bit, name in enumerate(_FLAGGED):
        if name in table:
            replaced = (bits >> bit & 1).astype(bool)
            if replaced.any():
                table[name] = np.where(replaced, np.nan, table[name])


def lateral_sd(both: NDArray, x: NDArray | None, y: NDArray | None) -> tuple[NDArray, NDArray]:
    """Precisions in x and y from their quadratic mean `both`, and from those of each axis where they agree with it.

    A program that changes the precision of a row, by merging rows, changes `both` and knows nothing of the others.
    """
    if x is None or y is None:
        return both, both
    with np.errstate(invalid="ignore", over="ignore"):  # in a damaged file
        agree = np.abs(np.sqrt((x**2 + y**2) / 2) - both) <= 0.002 + 1e-5 * both  # rounding of text and of float32
    return np.where(agree, x, both), np.where(agree, y, both)


def frame_numbers(path: Path, values: NDArray, first: int) -> NDArray[np.int64]:
    """Frames counted from 0; the file counts them from `first`.

    Raises
    ------
    PlanelocError : a frame is not a whole number, or out of range.
    """
    values = np.asarray(values, dtype=np.float64) - first
    if not np.all((values >= 0) & (values <= _LARGEST_FRAME) & (values == np.round(values))):
        raise PlanelocError(f"{path}: frames must be whole numbers from {first} on; correct the column of the frames")
    return values.astype(np.int64)


def report_unused(path: Path, columns: Iterable[str], used: Collection[str]) -> None:
    """Say which columns of a file have no place in planeloc's table."""
    if unused := sorted(set(columns) - set(used)):
        _LOG.info(f"{path}: not part of a localization table, and left out: {', '.join(unused)}")
