"""Generate the tables of the documents from the files in benchmarks/results.

    python benchmarks/tables.py           rewrite the marked parts of all documents
    python benchmarks/tables.py --check   exit with code 1 if a document is not current

A marked part begins with ``<!-- table: NAME -->`` and ends with ``<!-- end -->``. Below each table stands where
its numbers come from. Numbers transcribed from earlier documents are kept as text, with the digits that were printed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results")
MARK = re.compile(r"<!-- table: (?P<name>\w+) -->\n.*?<!-- end -->", re.DOTALL)

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table: header, key or keys of a row, and the format of its numbers."""

    header: str
    keys: str
    form: str = ""

    def cell(self, row: Row) -> str:
        values = [row.get(key) for key in self.keys.split()]
        return ", ".join(v if isinstance(v, str) else format(v, self.form) for v in values if v is not None)


@dataclass(frozen=True)
class Table:
    """A table of a document, made of the rows of a result file that `of` selects."""

    file: str
    columns: tuple[Column, ...]
    of: Callable[[Row], bool] = lambda row: True
    once: str = ""  # key whose repeated values are left out

    def text(self, measured: dict[str, Any]) -> str:
        lines = [[column.header for column in self.columns], ["---"] * len(self.columns)]
        before = None
        for row in filter(self.of, measured["results"]):
            shown = {**row, self.once: None} if self.once and row[self.once] == before else row
            before = row.get(self.once)
            lines.append([column.cell(shown) for column in self.columns])
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\n*{source(measured['measurement'], self.file)}*"


def source(measurement: dict[str, Any], file: str) -> str:
    """Where numbers come from, in a sentence."""
    processor = measurement["processor"]
    machine = processor.get("stated") or f"{processor['model']}, {', '.join(processor['instruction_sets'])}"
    said = "transcribed; stated by" if measurement.get("transcribed") else "measured at"
    note = f" {measurement['note']}" if "note" in measurement else ""
    link = f"[{file}.json](../benchmarks/results/{file}.json)"
    return f"{link}: {said} commit {measurement['commit'][:7]}, {measurement['date'][:10]}; {machine}.{note}"


_ERRORS = (
    Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
    Column("rms normalised error x, y, z", "pull_x pull_y pull_z", ".2f"),
    Column("frames/s", "frames_per_s", ".0f"),
)
_SIDE_BY_SIDE = (Column("molecules", "case"), Column("method", "way"), Column("Jaccard", "jaccard", ".3f"), *_ERRORS)


def _side_by_side(drift: bool, light: float) -> Table:
    return Table(
        "networks_side_by_side",
        _SIDE_BY_SIDE,
        lambda row: row["drift"] == drift and row["light"] == light,
        "case",
    )


TABLES = {
    "side_by_side_drift": _side_by_side(True, 1.0),
    "side_by_side_no_drift": _side_by_side(False, 1.0),
    "side_by_side_dim": _side_by_side(True, 0.25),
    "sparse_and_dense": Table(
        "sparse_and_dense",
        (
            Column("molecules per frame", "molecules"),
            Column("photons", "photons"),
            Column("recall, dense", "recall_dense", ".4f"),
            Column("recall, sparse", "recall_sparse", ".4f"),
            Column("found by dense and missed by sparse", "missed"),
            Column("frames/s, dense", "frames_per_s_dense", ".2f"),
            Column("frames/s, sparse", "frames_per_s_sparse", ".1f"),
        ),
    ),
    "whole_movie": Table(
        "whole_movie",
        (
            Column("processor", "processor"),
            Column("start to end", "seconds"),
            Column("frames/s, total", "frames_per_s", ".1f"),
            Column("frames/s, once running", "frames_per_s_running", ".1f"),
        ),
    ),
    "large_tables": Table(
        "large_tables",
        (
            Column("rows", "rows", ",d"),
            Column("stage", "stage"),
            Column("s", "seconds", ".1f"),
            Column("CPU s", "cpu_s", ".1f"),
            Column("CPU µs per row", "cpu_us_per_row", ".1f"),
            Column("peak memory, MB", "memory_mb", ",.0f"),
        ),
        once="rows",
    ),
    "upsampling_speed": Table(
        "upsampling_speed",
        (
            Column("network", "network"),
            Column("frames/s", "frames_per_s", ".3f"),
            Column("peak memory", "peak_memory"),
            Column("recall", "recall", ".4f"),
            Column("precision", "precision", ".4f"),
        ),
    ),
    "psf_model_bias": Table(
        "psf_model_bias",
        (
            Column("model", "model"),
            Column("worst of all depths: lateral", "worst_lateral_nm", ".1f"),
            Column("axial", "worst_axial_nm", ".1f"),
            Column("rms lateral", "rms_lateral_nm", ".1f"),
            Column("rms axial", "rms_axial_nm", ".1f"),
        ),
    ),
    "registration": Table(
        "registration",
        (
            Column("plane", "plane"),
            Column("rms error over the field, nm (median)", "error_nm", ".2f"),
            Column("rms, over the Cramér–Rao bound", "over_bound", ".2f"),
        ),
        lambda row: row["condition"] == "blind",
    ),
    "psf_calibration": Table(
        "psf_calibration",
        (
            Column("beads", "beads"),
            Column("photons", "photons"),
            Column("step", "step_nm"),
            Column(
                "Gaussian world: spacing, over its bound",
                "gaussian_spacing_nm_spline gaussian_spacing_over_bound",
                ".2f",
            ),
            Column("images: Gaussian", "gaussian_images_gaussian"),
            Column("spline", "gaussian_images_spline"),
            Column("pupil with aberrations: spacing", "pupil_spacing_nm_spline", ".1f"),
            Column("images: Gaussian", "pupil_images_gaussian"),
            Column("spline", "pupil_images_spline"),
        ),
    ),
    "training_length": Table(
        "training_length",
        (
            Column("planes", "planes"),
            Column("starts from", "start"),
            Column("images", "images"),
            Column("minutes", "minutes"),
            Column("validation", "validation"),
            Column("ten molecules", "ten"),
            Column("three per 16×16", "three"),
        ),
        once="planes",
    ),
    "measured_photons": Table(
        "measured_photons",
        (
            Column("true photons", "photons"),
            Column("background", "background"),
            Column("true 5 %, 95 %", "true"),
            Column("found 5 %, 95 %", "found"),
            Column("detection limit", "limit"),
        ),
        once="photons",
    ),
    "regression_variants": Table(
        "regression_variants",
        (
            Column("variant", "variant"),
            Column("batch, learning rate", "batch_rate"),
            Column("Jaccard", "jaccard"),
            Column("lateral, axial RMSE, nm", "rmse_nm"),
            Column("rms normalised error x, y, z", "normalised_errors"),
            Column("inter-camera drift, nm rms", "drift_nm"),
        ),
    ),
    "regression_width": Table(
        "regression_width",
        (
            Column("channels", "channels"),
            Column("multiplications per 256×256 frame", "multiplications"),
            Column("loss after 8,000, 16,000", "loss"),
            Column("Jaccard", "jaccard"),
            Column("lateral, axial RMSE, nm", "rmse_nm"),
            Column("ms per image", "ms_per_image"),
        ),
    ),
}


def measured(table: Table) -> dict[str, Any]:
    """The result file of a table."""
    return json.loads((RESULTS / f"{table.file}.json").read_text(encoding="utf-8"))


def current(document: str) -> str:
    """A document with all of its tables generated again."""

    def part(mark: re.Match[str]) -> str:
        table = TABLES[mark["name"]]
        return f"<!-- table: {mark['name']} -->\n{table.text(measured(table))}\n<!-- end -->"

    return MARK.sub(part, document)


def documents() -> list[Path]:
    """All documents that hold a generated table."""
    return [path for path in sorted((ROOT / "docs").rglob("*.md")) if MARK.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    old = [path for path in documents() if current(text := path.read_text(encoding="utf-8")) != text]
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path}: run python benchmarks/tables.py" for path in old) or 0)
    for path in old:
        path.write_text(current(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
