"""Sample table and calibration table: tab-separated, one row each, kept with its line for the messages."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight import schema as schemas
from preflight.errors import ConfigurationError, Mistakes, unreadable


@dataclass(frozen=True)
class Row:
    """One row of a table: values by column, and where it stands."""

    table: str
    line: int
    values: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.table}:{self.line}"

    def files(self, column: str) -> tuple[str, ...]:
        """The paths in a cell, separated by semicolons."""
        return tuple(path.strip() for path in self.values[column].split(";") if path.strip())


def read_table(path: str | Path, schema: Mapping[str, Any], mistakes: Mistakes) -> list[Row]:
    """The rows of a table that have no mistake, which go to `mistakes`.

    Empty lines and lines that begin with # are skipped; columns may come in any order.
    """
    rows: list[Row] = []
    with mistakes:
        lines = _lines(path)
        if not lines:
            raise ConfigurationError(
                f"{path}: the table has no header; its first line names the columns: {_columns(schema)}"
            )
        (header_line, header), *body = lines
        _check_header(f"{path}:{header_line}", header, schema)
        for line, cells in body:
            with mistakes:
                rows.append(_row(str(path), line, header, cells, schema))
    return rows


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets write a byte order mark
            reader = csv.reader(file, delimiter="\t", quotechar='"')
            numbered = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: no such table; create it, or correct its path in the configuration"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (UnicodeDecodeError, csv.Error):
        raise ConfigurationError(f"{path}: not a text table; save it as 'tab-separated text (UTF-8)'") from None
    return [(line, cells) for line, cells in numbered if any(cells) and not cells[0].startswith("#")]


def _check_header(where: str, header: list[str], schema: Mapping[str, Any]) -> None:
    known = list(schema["properties"])
    if len(header) == 1 and len(known) > 1 and header[0] not in known:
        raise ConfigurationError(f"{where}: no tabs in the header; separate the columns by tabs: {_columns(schema)}")
    if unknown := [column for column in header if column not in known]:
        names = [schemas.unknown_name(f"column {column!r}", column, known) for column in unknown]
        if len(unknown) > 2 and not any("did you mean" in name for name in names):
            names = [f"unknown columns {', '.join(unknown)}; this table has {_columns(schema)}: is it the right file?"]
        raise ConfigurationError(*(f"{where}: {name}" for name in names))
    twice = [f"{where}: column {column} is there twice; remove one" for column in header if header.count(column) > 1]
    missing = [
        f"{where}: column {column} is missing; the table needs {_columns(schema)}"
        for column in schema["required"]
        if column not in header
    ]
    if twice or missing:
        raise ConfigurationError(*twice, *missing)


def _row(table: str, line: int, header: list[str], cells: list[str], schema: Mapping[str, Any]) -> Row:
    if len(cells) > len(header) and any(cells[len(header) :]):
        raise ConfigurationError(
            f"{table}:{line}: {len(cells)} cells for {len(header)} columns; check the tabs of this line"
        )
    if len([cell for cell in cells if cell]) == 1 < len(schema["required"]) and len(cells[0].split()) > 1:
        raise ConfigurationError(f"{table}:{line}: no tabs in this line; separate the columns by tabs, not by spaces")
    given = {column: cell for column, cell in zip(header, cells, strict=False) if cell}
    values = {column: _converted(cell, schema["properties"][column]) for column, cell in given.items()}
    if empty := [column for column in schema["required"] if column not in values]:
        raise ConfigurationError(*(f"{table}:{line}: column {column} is empty; fill it in" for column in empty))
    values = schemas.with_defaults(values, schema)
    schemas.check(values, schema, lambda path: f"{table}:{line}")
    return Row(table, line, values)


def _converted(cell: str, rule: Mapping[str, Any]) -> Any:
    """A cell as the schema wants it; what does not convert stays text, and the schema check says so."""
    try:
        return float(cell) if rule["type"] == "number" else cell
    except ValueError:
        return cell


def _columns(schema: Mapping[str, Any]) -> str:
    return ", ".join(c if c in schema["required"] else f"{c} (optional)" for c in schema["properties"])
