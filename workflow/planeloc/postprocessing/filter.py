"""The `filter` stage: which localizations go into the picture, and the tables for other programs.

Every criterion looks at the quantities of one row. A row whose quantity is unknown (NaN) passes: a limit on the
standard deviation must not empty a table that has none. Tables are read and written portion by portion, so that memory
does not grow with them; only what other programs get is held as a whole.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.exporters import EXPORTERS
from planeloc.postprocessing.filter_expression import QUANTITIES, Expression, ExpressionError
from planeloc.postprocessing.filter_figure import Histograms, write_histograms
from planeloc.postprocessing.local_density import local_density
from planeloc.postprocessing.settings import FilterSettings

_LOG = logging.getLogger(__name__)
Columns = Mapping[str, NDArray]

_SAMPLED_ROWS = 200_000  # from which the ranges of the histograms are taken


class Criteria:
    """What the settings ask of a localization in a field of some size.

    Attributes
    ----------
    size_nm : width and height of the field.
    expression : the condition; None if there is none.
    """

    def __init__(self, settings: FilterSettings, size_nm: tuple[float, float]) -> None:
        """`size_nm` is the width and height of the field.

        Raises
        ------
        PlanelocError : the expression has a mistake.
        """
        self._settings, self.size_nm = settings, size_nm
        try:
            self.expression = Expression(settings.expression) if settings.expression.strip() else None
        except ExpressionError as error:
            raise PlanelocError(f"setting expression: {error}") from None

    def quantities(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Everything that a criterion can look at; NaN where the table does not have it."""
        known = {name: np.asarray(columns[name], dtype=np.float64) for name in columns if name in QUANTITIES}
        x, y = known["x"], known["y"]
        (width, height), unknown = self.size_nm, np.full(len(x), np.nan)
        known["edge_distance"] = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y))
        known["lateral_sd"] = _rms(known.get("x_sd", unknown), known.get("y_sd", unknown))
        return {name: known.get(name, unknown) for name in QUANTITIES}

    def failing(self, of: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.bool_]]:
        """For every criterion, which rows fail it, by their `quantities`."""
        settings, nobody = self._settings, np.zeros(len(of["frame"]), dtype=bool)
        late = of["frame"] > settings.last_frame if settings.last_frame >= 0 else nobody
        fails = {
            "minimum_probability": of["probability"] < settings.minimum_probability,
            "minimum_photons": of["photons"] < settings.minimum_photons,
            "maximum_lateral_sd_nm": of["lateral_sd"] > settings.maximum_lateral_sd_nm,
            "maximum_axial_sd_nm": of["z_sd"] > settings.maximum_axial_sd_nm,
            "maximum_goodness_of_fit": of["goodness_of_fit"] > settings.maximum_goodness_of_fit,
            "expression": nobody,
            "minimum_depth_nm": of["z"] < settings.minimum_depth_nm,
            "maximum_depth_nm": of["z"] > settings.maximum_depth_nm,
            "border_nm": of["edge_distance"] < settings.border_nm if settings.border_nm > 0 else nobody,
            "first_frame": of["frame"] < settings.first_frame,
            "last_frame": late,
        }
        if self.expression:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                fails["expression"] = nobody | self.expression.fails(of)
        return fails

    def in_parts(
        self, failing: Mapping[str, NDArray[np.bool_]], of: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.bool_]]:
        """The same as `failing`, with each of the conditions that `and` joins by itself, named by its text."""
        if not self.expression:
            return dict(failing)
        nobody = np.zeros(len(of["frame"]), dtype=bool)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            parts = {f"not ({part.text})": nobody | part.fails(of) for part in self.expression.parts()}
        return {name: rows for name, rows in failing.items() if name != "expression"} | parts

    def limits(self) -> dict[str, list[float]]:
        """Every limit that may remove something, by the quantity that it is on."""
        settings, defaults = self._settings, FilterSettings()
        limits: dict[str, list[float]] = {}
        for name, quantity in _QUANTITY_OF.items():
            value = getattr(settings, name)
            if value != getattr(defaults, name) or name == "minimum_probability":
                limits.setdefault(quantity, []).append(value)
        for quantity, value in self.expression.limits() if self.expression else ():
            limits.setdefault(quantity, []).append(value)
        return limits


_QUANTITY_OF = {
    "minimum_probability": "probability",
    "minimum_photons": "photons",
    "maximum_lateral_sd_nm": "lateral_sd",
    "maximum_axial_sd_nm": "z_sd",
    "maximum_goodness_of_fit": "goodness_of_fit",
    "minimum_depth_nm": "z",
    "maximum_depth_nm": "z",
    "border_nm": "edge_distance",
    "first_frame": "frame",
    "last_frame": "frame",
}


class Counts:
    """How many rows were read and kept, and fail each criterion; alone: those that fail no other one."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._failing: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()

    def add(self, failing: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Count some rows; returns which pass."""
        fails = np.sum(list(failing.values()), axis=0)
        self._rows.update(rows_read=len(fails), rows_kept=int((fails == 0).sum()))
        for name, rows in failing.items():
            self._failing[name] += int(rows.sum())
            self._alone[name] += int((rows & (fails == 1)).sum())
        return fails == 0

    def record(self) -> dict[str, Any]:
        """As the metadata of the table have it."""
        rows = {name: self._rows[name] for name in ("rows_read", "rows_kept")}
        return {**rows, "failing": dict(self._failing), "failing_alone": dict(self._alone)}


def apply(
    table: pd.DataFrame, size_nm: tuple[float, float], settings: FilterSettings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Keep the rows of a table in memory that fulfil every criterion; the record counts each one's failures."""
    criteria, counts = Criteria(settings, size_nm), Counts()
    keep = counts.add(criteria.failing(criteria.quantities(table)))
    return table[keep].reset_index(drop=True), counts.record()


def filter_localizations(
    localizations_file: Path,
    output: Path,
    exports: Sequence[tuple[str, Path]],
    settings: FilterSettings,
    figure: Path | None = None,
) -> None:
    """Read a table, add the local density, leave out what the settings say, write the rest and its exports.

    `exports` are names of registered exporters (`planeloc.io.exporters`), each with the file to write.
    The record of what was left out, and the settings, are in the metadata of `output` under ``filter``. `figure`, if
    there is one, shows every quantity before and after.

    Raises
    ------
    PlanelocError : the table cannot be read, a setting has a mistake, or the condition names a column that the table
        does not have.
    """
    check(settings)
    exporters = [(EXPORTERS.load(name), path) for name, path in exports]
    metadata, rows, names = localization_table.read_metadata(localizations_file)
    criteria = Criteria(settings, localization_table.field_nm(localizations_file, metadata))
    _check_columns(localizations_file, criteria.expression, names)
    density = _density(localizations_file, rows, criteria, settings.density_radius_nm)
    histograms = Histograms(_sample(localizations_file, rows, density, criteria), criteria.limits()) if figure else None
    counts, in_parts = Counts(), Counts()
    for fails, quantities, _ in _judged(localizations_file, density, criteria):
        keep = counts.add(fails)
        if histograms:
            histograms.add(quantities, keep)
            in_parts.add(criteria.in_parts(fails, quantities))
    record = {**counts.record(), "settings": asdict(settings)}
    metadata = {**metadata, "filter": record}
    added = {*names, "local_density"} & set(localization_table.ADDED_COLUMNS)
    with localization_table.LocalizationsWriter(output, metadata, added, "filter") as writer:
        for fails, _, columns in _judged(localizations_file, density, criteria):
            keep = ~np.logical_or.reduce(list(fails.values()))
            writer.append({name: values[keep] for name, values in columns.items()})
    del density
    _tell(output, record)
    if histograms and figure:
        write_histograms(figure, histograms, {**in_parts.record(), "settings": record["settings"]})
    if exporters:
        kept, metadata = localization_table.read(output)
        for exporter, path in exporters:
            exporter.write(kept, metadata, path)


def _tell(output: Path, record: Mapping[str, Any]) -> None:
    """Say how many rows are kept, and which criterion removed most; warn if none is kept."""
    read, kept = record["rows_read"], record["rows_kept"]
    text = f"{output}: {kept:,} of {read:,} localizations are kept"
    name, most = max(record["failing"].items(), key=lambda each: each[1])
    if most:
        text += f"; {name} removes most, {most:,}"
    if read and not kept:
        _LOG.warning(f"{text}: the filter leaves nothing; loosen it")
    else:
        _LOG.info(text)


def _check_columns(path: Path, expression: Expression | None, names: Sequence[str]) -> None:
    """Refuse a condition on a column that only other tables have: it would remove nothing."""
    later = set(localization_table.ADDED_COLUMNS) - {"local_density", *names}
    if missing := sorted(later & expression.names) if expression else []:
        raise PlanelocError(
            f"{path}: setting expression: this table has no column {missing[0]}, which only other tables have (such as "
            "those of linked blinks); remove it from the condition"
        )


def _density(path: Path, rows: int, criteria: Criteria, radius_nm: float) -> NDArray[np.float32]:
    """(rows,) local density of a whole table, each position in single precision; see `local_density`."""
    place = np.empty((2, rows), np.float32)
    start = 0
    for columns in localization_table.portions(path, ("frame", "x", "y")):
        stop = start + len(columns["frame"])
        for number, (axis, size) in enumerate(zip("xy", criteria.size_nm, strict=True)):
            # What lies far beyond the field would make the grid larger than memory.
            place[number, start:stop] = np.clip(columns[axis], -2 * radius_nm, size + 2 * radius_nm)
        start = stop
    return local_density(place[0], place[1], radius_nm)


def _judged(
    path: Path, density: NDArray[np.float32], criteria: Criteria
) -> Iterator[tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.float64]], dict[str, NDArray]]]:
    """Portion by portion, which rows fail each criterion, the quantities, and the columns."""
    start = 0
    for portion in localization_table.portions(path):
        stop = start + len(portion["frame"])
        columns = {**portion, "local_density": density[start:stop]}
        quantities = criteria.quantities(columns)
        yield criteria.failing(quantities), quantities, columns
        start = stop


def _sample(path: Path, rows: int, density: NDArray[np.float32], criteria: Criteria) -> dict[str, NDArray[np.float64]]:
    """Quantities of some rows, evenly spread."""
    step, start = max(1, rows // _SAMPLED_ROWS), 0
    parts = []
    for portion in localization_table.portions(path):
        stop = start + len(portion["frame"])
        columns = {**portion, "local_density": density[start:stop]}
        parts.append(criteria.quantities({name: values[::step] for name, values in columns.items()}))
        start = stop
    return {name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES}


def _rms(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square of two numbers; where only one is known, it is that one."""
    either = np.where(np.isnan(one), other, one), np.where(np.isnan(other), one, other)
    return np.sqrt((either[0] ** 2 + either[1] ** 2) / 2)
