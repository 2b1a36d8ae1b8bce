"""What lies where results go: Snakemake removes the outputs of a job before it starts, whatever they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from preflight.errors import ConfigurationError

_LOOKED_AT = 1 << 16  # bytes at each end of a file
# Marks of results (`planeloc.core.marks`), which say planeloc, but for tables in text.
_MARKS = (
    b"planeloc",
    b"x_sd_nm,y_sd_nm,z_sd_nm",
    b"frame,plane,x_nm,y_nm,x_sd_nm,y_sd_nm",
    b'"local_density"',
    b'"probability"',
    b'"goodness_of_fit"',
)
# Of a simulated acquisition, files of a form that others have, too; its record beside them tells.
_SIMULATED = re.compile(r"microscope\.yaml|(truth|((inter_camera|sample)_)?drift)\.csv")
_SIMULATION_RECORD, _SIMULATION_MARK = "simulation.json", b'"format": "planeloc simulation '
_OWN_ENTRY = re.compile(r"(.*/)?\.snakemake_timestamp|((counts|\d+)/)?zarr\.json|(counts|\d+)/c(/\d+)+")
_CLOCKS_S = 60.0  # a network disk's clock is another one


def refuse_foreign(outputs: Iterable[tuple[str, float | None]]) -> None:
    """Raise a `ConfigurationError` with a line for every output that is there and was not made by the workflow.

    Parameters
    ----------
    outputs : paths that jobs will make, and when the workflow made each last (s since 1970); None if it never did.
    """
    lines = [
        f"{path}: is no result of planeloc and would be deleted; move it away, or choose another folder for the results"
        for path, made in outputs
        if is_foreign(Path(path), made)
    ]
    if lines:
        raise ConfigurationError(*lines)


def is_foreign(path: Path, made: float | None = None) -> bool:
    """Whether a path holds what the workflow did not make, which it did last at the time `made`."""
    try:
        if path.is_dir():
            for entry in _files(path):
                if entry.is_symlink() or not _OWN_ENTRY.fullmatch(entry.relative_to(path).as_posix()):
                    return True
            path = path / "zarr.json"
        status = path.stat()
        if not status.st_size or (made is not None and status.st_mtime <= made + _CLOCKS_S):
            return False
        if _SIMULATED.fullmatch(path.name) and _is_simulation(path.parent):
            return False
        with path.open("rb") as file:
            seen = file.read(_LOOKED_AT)
            file.seek(max(status.st_size - _LOOKED_AT, 0))
            seen += file.read(_LOOKED_AT)
    except OSError:  # there is none, or Snakemake tells
        return False
    return not any(mark in seen for mark in _MARKS)


def _is_simulation(folder: Path) -> bool:
    record = folder / _SIMULATION_RECORD
    return record.is_file() and _SIMULATION_MARK in record.read_bytes()


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder but real folders; links are not followed."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in (*names, *links))
