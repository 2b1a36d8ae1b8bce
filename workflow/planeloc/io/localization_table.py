"""The table of localizations: its columns, its units, and the file that holds it.

One row is one molecule in one frame. In memory the table is a pandas data frame, or for the stages that do without
pandas, which takes 0.3 s to import, a dictionary of columns; on disk it is HDF5 with one chunked,
compressed column per quantity under ``/localizations``. Rows are buffered until they fill a chunk, so that equal tables
give equal bytes however their rows were appended.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from planeloc.core import hdf5, marks
from planeloc.core.errors import PlanelocError

if TYPE_CHECKING:
    import pandas as pd

Table: TypeAlias = "pd.DataFrame | Mapping[str, NDArray]"

COLUMNS: dict[str, tuple[str, str, str]] = {
    "frame": ("int32", "1", "frame, counted from 0"),
    "x": ("float32", "nm", "position along columns, from the outer corner of pixel (0, 0) of the reference camera"),
    "y": ("float32", "nm", "position along rows, from the same corner"),
    "z": ("float32", "nm", "depth, 0 midway between the first and last focal plane, growing away from the objective"),
    "photons": ("float32", "photon", "photons of the molecule detected on all planes together"),
    "background": ("float32", "photon", "photons per pixel on the plane in best focus"),
    "probability": ("float32", "1", "probability that the molecule is there"),
    "x_sd": ("float32", "nm", "standard deviation of x, NaN where unknown"),
    "y_sd": ("float32", "nm", "standard deviation of y, NaN where unknown"),
    "z_sd": ("float32", "nm", "standard deviation of z, NaN where unknown"),
}
"""Column → (type on disk, unit, meaning), in the order of the table."""

ADDED_COLUMNS: dict[str, tuple[str, str, str]] = {
    "goodness_of_fit": (
        "float32",
        "1",
        "deviance of the counts around it over its expectation; 1 if they fit",
    ),
    "planes_seen": ("int32", "1", "cameras on whose sensor it lies; of a linked molecule the fewest"),
    "local_density": (
        "float32",
        "1/um^2",
        "localizations of the whole movie around this one, per area",
    ),
    "last_frame": ("int32", "1", "last frame of a blink; `frame` is its first"),
    "frames": ("int32", "1", "number of localizations that were linked to the blink"),
    "group": ("int32", "1", "pick or cluster into which another program put it"),
}
"""Columns that only some tables have, in the order in which they follow `COLUMNS`."""

REQUIRED = ("frame", "x", "y", "z")
"""Columns that a table must be given; others of `COLUMNS` are filled with NaN where they are missing."""

_FORMAT = "planeloc localizations 1"
_OF_OTHERS = (".csv", ".mat", ".parquet", ".hdf5")  # names of tables of other programs that planeloc can import
_CHUNK_ROWS = 1 << 16
_GROUP, _LINKED_ROW = "localizations", "linked_row"
_STORAGE = {"chunks": (_CHUNK_ROWS,), "compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}


def empty_columns(added: Collection[str] = ()) -> dict[str, NDArray]:
    """The columns of a table without rows, with those of `ADDED_COLUMNS` that are `added`."""
    return {name: np.empty(0, _memory_type(dtype)) for name, (dtype, _, _) in _columns(added).items()}


def empty() -> pd.DataFrame:
    """A table without rows."""
    import pandas as pd

    return pd.DataFrame(empty_columns())


def blank(rows: int) -> pd.DataFrame:
    """A table of `rows` rows, all NaN, for readers of other formats to fill."""
    import pandas as pd

    return pd.DataFrame(index=range(rows), columns=list(COLUMNS), dtype=np.float64)


def _memory_type(disk_type: str) -> str:
    """Arithmetic is done in double precision: positions in large fields summed in float32 lose nanometres."""
    return "int64" if disk_type.startswith("int") else "float64"


def order(columns: Table) -> NDArray[np.int64]:
    """The rows by frame, y, x, z, as `localize` writes them."""
    return np.lexsort((columns["z"], columns["x"], columns["y"], columns["frame"]))


class LocalizationsWriter:
    """Append rows to a file, holding at most one chunk in memory.

    The file appears under its name only when the ``with`` block ends without an error. `added` names those of
    `ADDED_COLUMNS` that it has. It replaces no table of another command than `made_by`, where that is given.
    """

    def __init__(
        self, path: str | Path, metadata: Mapping[str, Any], added: Collection[str] = (), made_by: str = ""
    ) -> None:
        self.path = Path(path)
        self.rows = 0
        self._columns = _columns(added)
        self._metadata = json.dumps(dict(metadata), allow_nan=False, sort_keys=True)
        self._waiting = [_on_disk(empty_columns(), self._columns, self.path)]
        self._made_by = made_by
        self._creation = hdf5.create(self.path, marks.table(made_by))

    def __enter__(self) -> LocalizationsWriter:
        self._file = self._creation.__enter__()
        self._file.attrs["format"] = _FORMAT
        if self._made_by:
            self._file.attrs["made_by"] = np.bytes_(marks.made_by(self._made_by))
        self._file.attrs["metadata"] = self._metadata
        group = self._file.create_group(_GROUP, track_order=True)
        for name, (dtype, unit, meaning) in self._columns.items():
            column = group.create_dataset(name, (0,), dtype, maxshape=(None,), **_STORAGE)
            column.attrs["units"] = unit
            column.attrs["meaning"] = meaning
        return self

    def append(self, table: Table) -> None:
        """Add the rows of `table`; missing optional columns become NaN, others than the file's are an error."""
        self._waiting.append(_on_disk(table, self._columns, self.path))
        if sum(map(len, self._waiting)) >= _CHUNK_ROWS:
            self._write_waiting(last=False)

    def add_linked_row(self, linked_row: NDArray[np.integer]) -> None:
        """Add which of its rows each row of the table holds that was linked."""
        rows = np.asarray(linked_row, "int32")
        column = self._file.create_dataset(_LINKED_ROW, data=rows, maxshape=(None,), **_STORAGE)
        column.attrs["meaning"] = "row of this table to which each row of the filtered table belongs"

    def add_array(self, name: str, values: NDArray) -> None:
        """Add an array that belongs to the rows or frames of the table but not to its columns."""
        checked = {"chunks": values.shape, "fletcher32": True} if values.size else {}
        self._file.create_dataset(name, data=values, **checked)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self._creation.__exit__(kind, error, traceback)
            return
        with ExitStack() as closing:
            closing.push(self._creation)
            self._write_waiting(last=True)

    def _write_waiting(self, last: bool) -> None:
        """Write the waiting rows chunk by chunk; rows that do not fill a chunk wait, unless `last`."""
        rows = np.concatenate(self._waiting)
        stop = len(rows) if last else len(rows) - len(rows) % _CHUNK_ROWS
        for start in range(0, stop, _CHUNK_ROWS):
            chunk = rows[start : min(start + _CHUNK_ROWS, stop)]
            for name in self._columns:
                column = self._file[_GROUP][name]
                column.resize((self.rows + len(chunk),))
                column[self.rows :] = chunk[name]
            self.rows += len(chunk)
            self._file.raise_failed_write()
        self._waiting = [rows[stop:].copy()]


def _columns(present: Collection[str]) -> dict[str, tuple[str, str, str]]:
    """`COLUMNS`, and those of `ADDED_COLUMNS` that are `present`, in their order."""
    return {**COLUMNS, **{name: entry for name, entry in ADDED_COLUMNS.items() if name in present}}


def _on_disk(table: Table, columns: Mapping[str, tuple[str, str, str]], path: Path) -> np.ndarray:
    """The table as records of the types on disk."""
    integers = {name for name in columns if name in ADDED_COLUMNS and columns[name][0].startswith("int")}
    if not {*REQUIRED, *(integers if len(table["frame"]) else ())} <= set(table) <= set(columns):
        raise PlanelocError(f"{path}: a table of localizations has {', '.join(columns)}; got {', '.join(table)}")
    records = np.empty(len(table["frame"]), [(name, dtype) for name, (dtype, _, _) in columns.items()])
    for name in columns:
        records[name] = table.get(name, 0 if name in integers else np.nan)
    return records


def write(
    path: str | Path,
    table: Table,
    metadata: Mapping[str, Any],
    linked_row: NDArray[np.integer] | None = None,
    made_by: str = "",
) -> None:
    """Write a whole table, or its columns, with its metadata. Those of `ADDED_COLUMNS` that it has are kept.

    `metadata` must be JSON without NaN. Later stages need ``frames``, ``height_px``, ``width_px``, ``pixel_size_nm``,
    ``plane_depths_nm``, ``voxel_nm`` (x, y, z) and ``depth_range_nm`` (lowest, highest). `linked_row` is for the
    linked table: the row of each localization of the table that was linked (see `read_linked_row`). `made_by` is the
    command that writes it.
    """
    with LocalizationsWriter(path, metadata, list(table), made_by) as writer:
        columns = {name: np.asarray(table[name]) for name in table}
        rows = max(map(len, columns.values()), default=0)
        for start in range(0, max(1, rows), _CHUNK_ROWS):
            writer.append({name: values[start : start + _CHUNK_ROWS] for name, values in columns.items()})
        if linked_row is not None:
            writer.add_linked_row(linked_row)


def read(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read table and metadata; those of `ADDED_COLUMNS` that the file has follow `COLUMNS`.

    Raises
    ------
    PlanelocError : the file is missing or of another kind.
    """
    import pandas as pd

    columns, metadata = read_columns(path)
    return pd.DataFrame(columns), metadata


def read_columns(path: str | Path) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """Read the columns of a table, and its metadata; errors as of `read`."""
    with _opened(Path(path)) as file:
        group = file[_GROUP]
        kinds = {name: dtype for name, (dtype, _, _) in _columns(group).items()}
        columns = {name: group[name][:].astype(_memory_type(dtype)) for name, dtype in kinds.items()}
        return columns, json.loads(file.attrs["metadata"])


def read_metadata(path: str | Path) -> tuple[dict[str, Any], int, tuple[str, ...]]:
    """Read the metadata of a table, its number of rows and the names of its columns; errors as of `read`."""
    with _opened(Path(path)) as file:
        group = file[_GROUP]
        return json.loads(file.attrs["metadata"]), len(group["frame"]), tuple(_columns(group))


def portions(path: str | Path, only: Collection[str] | None = None) -> Iterator[dict[str, NDArray]]:
    """Read a table of any size portion by portion: all its columns, or `only` some; errors as of `read`.

    A portion is a chunk of the file, so that no chunk is read twice. A table without rows has one, which is empty.
    """
    with _opened(Path(path)) as file:
        group = file[_GROUP]
        kinds = {name: dtype for name, (dtype, _, _) in _columns(group).items() if only is None or name in only}
        for start in range(0, max(len(group["frame"]), 1), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            yield {name: group[name][rows].astype(_memory_type(dtype)) for name, dtype in kinds.items()}


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file of a table, with errors as of `read`."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise PlanelocError(f"{path}: not a planeloc localization table; {_remedy(path, 'locs' in file)}")
            yield file
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; create it with `planeloc localize`") from None
    except (OSError, KeyError, ValueError) as error:
        foreign = path.name.lower().endswith(_OF_OTHERS)
        why = "not a planeloc localization table" if foreign else f"not a readable localization table ({error})"
        raise PlanelocError(f"{path}: {why}; {_remedy(path, foreign)}") from None


def _remedy(path: Path, foreign: bool) -> str:
    """How to get a table of localizations instead of a file that is none."""
    if foreign:
        return f"if another program wrote it, read it with `planeloc import {path} --output TABLE.h5`"
    return "create it with `planeloc localize`"


def read_linked_row(path: str | Path) -> NDArray[np.int64]:
    """Row of the linked table for every row of the table that was linked, in its order.

    Raises
    ------
    PlanelocError : the file is missing or holds no linked table.
    """
    try:
        with h5py.File(path, "r") as file:
            return file[_LINKED_ROW][:].astype(np.int64)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; create it with `planeloc link`") from None
    except (OSError, KeyError) as error:
        raise PlanelocError(f"{path}: not a linked table ({error}); create it with `planeloc link`") from None


def linked_row_of(path: str | Path) -> NDArray[np.int64] | None:
    """As `read_linked_row`; None if the table does not say it, such as one that another program linked."""
    with _opened(Path(path)) as file:
        return file[_LINKED_ROW][:].astype(np.int64) if _LINKED_ROW in file else None


def read_arrays(path: str | Path, names: Collection[str] | None = None) -> dict[str, NDArray]:
    """The arrays beside the table that the file has, or some of them; errors as of `read`."""
    with _opened(Path(path)) as file:
        here = [name for name in file if name != _GROUP]
        return {name: file[name][:] for name in here if names is None or name in names}


def metadata_value(path: str | Path, metadata: Mapping[str, Any], key: str) -> Any:
    """One entry of the metadata.

    Raises
    ------
    PlanelocError : it is missing.
    """
    if metadata.get(key) is None:
        raise PlanelocError(f"{path}: the table's metadata lack {key}; create the table again with `planeloc localize`")
    return metadata[key]


def kept_frames(metadata: Mapping[str, Any]) -> NDArray[np.bool_]:
    """(frames,): whether a frame was localized; of some, a camera has no image."""
    kept = np.ones(int(metadata["frames"]), dtype=bool)
    for start, stop in metadata.get("frames_left_out") or ():
        kept[start:stop] = False
    return kept


def field_nm(path: str | Path, metadata: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height of the field of view, nm."""
    pixel = metadata_value(path, metadata, "pixel_size_nm")
    return metadata_value(path, metadata, "width_px") * pixel, metadata_value(path, metadata, "height_px") * pixel
