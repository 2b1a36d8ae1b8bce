"""One table of all samples: verdict, localizations, the error that stopped it, and where to look."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

NOT_FINISHED = "not finished"
_NOTHING = "—"
_HEADER = ("sample", "verdict", "localizations", "where to look", "error")
_NO_ERROR = ("planeloc: note:", "planeloc: warning:", "planeloc: interrupted")


@dataclass(frozen=True)
class Row:
    """What came out for one sample.

    Attributes
    ----------
    name : of the sample.
    verdict : pass, warn, fail, unknown, or "not finished".
    localizations : how many are in its filtered table; None if that is not known.
    where : file to look at.
    error : the step that stopped, and its line; "" if none did.
    """

    name: str
    verdict: str
    localizations: int | None
    where: str
    error: str = ""


def error_in(log: Path) -> str:
    """The error that the log of a step ends with, without line breaks; "" if it ends with none.

    An error is the last line if planeloc wrote it, or if a traceback stands above it.
    """
    if not log.is_file():
        return ""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    expected = last.startswith("planeloc: ") and not last.startswith(_NO_ERROR)
    unexpected = any(line.startswith("Traceback ") for line in lines) and not last.startswith("planeloc: interrupted")
    return last.removeprefix("planeloc: ") if expected or unexpected else ""


def read_verdict(path: Path) -> dict[str, Any]:
    """The content of a verdict file; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_current(verdict: Path, files: Iterable[str | Path]) -> bool:
    """Whether all files that a verdict is about are there, and none is newer than it.

    A step that the system killed leaves no error in its log: only its outputs, which Snakemake removed, tell.
    """
    try:
        made = verdict.stat().st_mtime_ns
        return all(Path(file).stat().st_mtime_ns <= made for file in files)
    except OSError:
        return False


def in_columns(rows: Sequence[Row]) -> str:
    """The table for a terminal: aligned columns; the error, which may be long, comes last."""
    cells = [_HEADER, *map(_texts, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADER) - 1)]
    lines = []
    for row in cells:
        padded = [
            text.rjust(width) if name == "localizations" else text.ljust(width)
            for name, text, width in zip(_HEADER, row, widths, strict=False)
        ]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    return "\n".join(lines)


def write_table(path: Path, rows: Sequence[Row]) -> str:
    """Write the table with tabs between its columns; complete or not at all.

    Returns
    -------
    why it is not written, "" if it is: something else is in its place, or the folder cannot be written to.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not _is_table(path):
            return "it is no table of planeloc; move it away"
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(astuple(row) for row in rows)
        partial.replace(path)
    except OSError as error:
        return error.strerror or f"{error}"
    return ""


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    begin = "\t".join(_HEADER).encode()
    with path.open("rb") as file:
        return file.read(len(begin)) in (b"", begin)


def in_restructured_text(rows: Sequence[Row]) -> str:
    """The table for the report, in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (_HEADER, *map(_texts, rows)):
        for number, text in enumerate(row):
            plain = re.sub(r"([^0-9A-Za-z\s])", r"\\\1", text)
            lines.append(f"   {' ' if number else '*'} - {plain}".rstrip())
    return "\n".join(lines)


def _texts(row: Row) -> tuple[str, ...]:
    count = _NOTHING if row.localizations is None else f"{row.localizations:,.0f}"
    return row.name, row.verdict, count, row.where, " ".join(row.error.split()) or _NOTHING
