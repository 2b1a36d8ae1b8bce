"""The two sheets: tab-separated tables, one row per sample or calibration, kept with its line for the messages."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight import schema as schemas
from preflight.errors import ConfigurationError


@dataclass(frozen=True)
class Row:
    """One row of a sheet: values by column, and where it stands."""

    sheet: str
    line: int
    values: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.sheet}:{self.line}"

    def files(self, column: str) -> tuple[str, ...]:
        """The paths in a cell, separated by semicolons."""
        return tuple(path.strip() for path in self.values[column].split(";") if path.strip())


def read_sheet(path: str | Path, schema: Mapping[str, Any]) -> list[Row]:
    """Read and check a sheet. Empty lines and lines that begin with # are skipped; columns may come in any order."""
    lines = _lines(path)
    if not lines:
        raise ConfigurationError(
            f"{path}: the sheet has no header; its first line names the columns: {_columns(schema)}"
        )
    (header_line, header), *body = lines
    _check_header(f"{path}:{header_line}", header, schema)
    return [_row(str(path), line, header, cells, schema) for line, cells in body]


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets write a byte order mark
            reader = csv.reader(file, delimiter="\t", quotechar='"')
            numbered = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such sheet; make it, or correct its path in the configuration") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path and who may read it"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise ConfigurationError(f"{path}: not a text table; save it as 'tab-separated text (UTF-8)'") from None
    return [(line, cells) for line, cells in numbered if any(cells) and not cells[0].startswith("#")]


def _check_header(where: str, header: list[str], schema: Mapping[str, Any]) -> None:
    known = list(schema["properties"])
    if len(header) == 1 and len(known) > 1 and header[0] not in known:
        raise ConfigurationError(f"{where}: no tabs in the header; separate the columns by tabs: {_columns(schema)}")
    for column in header:
        if column not in known:
            raise ConfigurationError(f"{where}: {schemas.unknown_name(f'column {column!r}', column, known)}")
        if header.count(column) > 1:
            raise ConfigurationError(f"{where}: column {column} is there twice; remove one")
    for column in schema["required"]:
        if column not in header:
            raise ConfigurationError(f"{where}: column {column} is missing; the sheet needs {_columns(schema)}")


def _row(sheet: str, line: int, header: list[str], cells: list[str], schema: Mapping[str, Any]) -> Row:
    if len(cells) > len(header) and any(cells[len(header) :]):
        raise ConfigurationError(
            f"{sheet}:{line}: {len(cells)} cells for {len(header)} columns; check the tabs of this line"
        )
    given = {column: cell for column, cell in zip(header, cells, strict=False) if cell}
    values = {column: _converted(cell, schema["properties"][column]) for column, cell in given.items()}
    for column in schema["required"]:
        if column not in values:
            raise ConfigurationError(f"{sheet}:{line}: column {column} is empty; fill it in")
    values = schemas.with_defaults(values, schema)
    schemas.check(values, schema, lambda path: f"{sheet}:{line}")
    return Row(sheet, line, values)


def _converted(cell: str, rule: Mapping[str, Any]) -> Any:
    """A cell as the schema wants it; what does not convert stays text, and the schema check says so."""
    try:
        return float(cell) if rule["type"] == "number" else cell
    except ValueError:
        return cell


def _columns(schema: Mapping[str, Any]) -> str:
    return ", ".join(c if c in schema["required"] else f"{c} (optional)" for c in schema["properties"])
