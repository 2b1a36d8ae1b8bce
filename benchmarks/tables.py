"""Generate the tables of the documents from files of results.

    python benchmarks/tables.py           rewrite the marked parts of all documents
    python benchmarks/tables.py --check   exit with code 1 if a document is not current

A marked part begins with ``<!-- table: NAME -->`` and ends with ``<!-- end -->``. Below each table stands where
its numbers come from. Numbers transcribed from earlier documents are kept as text, with the digits that were printed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ("benchmarks/results", "reproduction/benchmarks/results", "resources")
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
    """A table of a document, made of the rows of a result file of `RESULTS` that `of` selects."""

    file: str
    columns: tuple[Column, ...]
    of: Callable[[Row], bool] = lambda row: True
    once: str = ""  # key whose repeated values are left out
    source: str = ""  # where numbers come from, for a file that does not say it

    @property
    def path(self) -> Path:
        """The result file."""
        return next(path for folder in RESULTS if (path := ROOT / folder / f"{self.file}.json").exists())

    def text(self, document: Path) -> str:
        """The table and its source, as they stand in a document."""
        content = json.loads(self.path.read_text(encoding="utf-8"))
        if "results" not in content:  # of a study: rows by name
            content = {"results": [{"name": name, **row} for name, row in content.items()]}
        lines = [[column.header for column in self.columns], ["---"] * len(self.columns)]
        before = None
        for row in filter(self.of, content["results"]):
            shown = {**row, self.once: None} if self.once and row[self.once] == before else row
            before = row.get(self.once)
            lines.append([column.cell(shown) for column in self.columns])
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        link = os.path.relpath(self.path, document.parent)
        said = self.source or source(content["measurement"])
        return f"{rows}\n\n*[{self.path.name}]({link}): {said}*"


def source(measurement: dict[str, Any]) -> str:
    """Where numbers come from, in a sentence."""
    processor = measurement["processor"]
    machine = processor.get("stated") or f"{processor['model']}, {', '.join(processor['instruction_sets'])}"
    said = "transcribed; stated by" if measurement.get("transcribed") else "measured at"
    note = f" {measurement['note']}" if "note" in measurement else ""
    return f"{said} commit {measurement['commit'][:7]}, {measurement['date'][:10]}; {machine}.{note}"


_ERRORS = (
    Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
    Column("rms normalised error x, y, z", "normalised_error_x normalised_error_y normalised_error_z", ".2f"),
    Column("frames/s", "frames_per_s", ".0f"),
)
_ACCURACY = (Column("recall", "recall"), Column("precision", "precision"), _ERRORS[0])
_SIDE_BY_SIDE = (Column("molecules", "case"), Column("method", "way"), Column("Jaccard", "jaccard", ".3f"), *_ERRORS)
_LINKING = (
    Column("method", "method"),
    Column("true links found", "links_found", ".4f"),
    Column("false links", "false_links", ".4f"),
    Column("expected", "expected_false_links", ".4f"),
    Column("RMSE before: lateral, axial, nm", "rmse_lateral_before_nm rmse_axial_before_nm", ".1f"),
    Column("after", "rmse_lateral_after_nm rmse_axial_after_nm", ".1f"),
)
_MOVIE = (
    Column("frames", "frames"),
    Column("localizations", "localizations"),
    *_ACCURACY,
    Column("conversion", "conversion"),
    Column("localization", "localization"),
    Column("memory of the largest worker", "memory"),
)


def _side_by_side(drift: bool, light: float) -> Table:
    return Table(
        "networks_side_by_side",
        _SIDE_BY_SIDE,
        lambda row: row["inter_camera_drift"] == drift and row["light"] == light,
        "case",
    )


TABLES = {
    "side_by_side_drift": _side_by_side(True, 1.0),
    "side_by_side_no_drift": _side_by_side(False, 1.0),
    "side_by_side_dim": _side_by_side(True, 0.25),
    "kinds": Table(
        "networks_side_by_side",
        _SIDE_BY_SIDE[:4] + _SIDE_BY_SIDE[5:],
        lambda row: (
            row["inter_camera_drift"]
            and row["light"] == 1.0
            and row["case"] in ("10 in 64×64", "3 in 16×16")
            and row["way"] in ("regression, refined", "upsampling, refined")
        ),
        "case",
    ),
    "demo": Table(
        "demo",
        (
            Column("method", "method"),
            Column("localizations", "localizations", ",.0f"),
            Column("recall", "recall", ".3f"),
            Column("precision", "precision", ".3f"),
            Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
        ),
    ),
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
            Column("refinement, network, registration: % of the workers' time", "time_shares"),
        ),
    ),
    "whole_movie_steps": Table(
        "whole_movie_steps",
        (
            Column("step", "step"),
            Column("seconds", "seconds", ".1f"),
            Column("frames/s", "frames_per_s", ".1f"),
            Column("MB: command, largest worker", "command_mb largest_worker_mb", ".0f"),
            Column("recall, precision", "recall precision", ".3f"),
            Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
        ),
    ),
    "scaling": Table(
        "scaling",
        (
            Column("movie", "movie"),
            Column("ms per frame", "frame_ms", ".1f"),
            Column("reading", "reading", ".1f"),
            Column("registration", "registration", ".1f"),
            Column("candidates", "candidates", ".1f"),
            Column("network", "network", ".1f"),
            Column("maxima", "maxima", ".1f"),
            Column("refinement", "refinement", ".1f"),
            Column("memory, MB more", "grown_mb", ".0f"),
        ),
    ),
    "regression_network": Table(
        "regression_network",
        (
            Column("molecules in 256×256", "molecules"),
            Column("share of tiles with light", "tiles", ".2f"),
            Column("whole frame: 10⁹ multiplications", "whole_gmac", ".2f"),
            Column("floor, ms", "whole_floor_ms", ".1f"),
            Column("ms", "whole_ms", ".1f"),
            Column("on tiles: 10⁹ multiplications", "tiled_gmac", ".2f"),
            Column("floor, ms", "tiled_floor_ms", ".1f"),
            Column("ms", "tiled_ms", ".1f"),
        ),
    ),
    "multi_emitter_fit": Table(
        "multi_emitter_fit",
        (
            Column("field and molecules", "field"),
            Column("compiled, ms per molecule", "compiled_ms", ".3f"),
            Column("in PyTorch", "pytorch_ms", ".3f"),
            Column("ratio", "ratio", ".1f"),
            Column("floor", "floor_ms", ".3f"),
            Column("compiled over the floor", "over_floor", ".1f"),
            Column("compiled, ms per frame", "frame_ms", ".1f"),
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
    "camera_drift": Table(
        "camera_drift",
        (
            Column("molecules", "molecules"),
            Column("drift", "drift"),
            Column("bound", "bound_lateral_nm", ".1f"),
            Column("every frame alone", "today_lateral_nm", ".1f"),
            Column("whole movie", "movie_lateral_nm", ".1f"),
            Column("rms normalised error x, y", "movie_normalised_error_x movie_normalised_error_y", ".2f"),
            Column("of most", "movie_normalised_error_of_most", ".2f"),
            Column("ten frames around a jump, elsewhere", "movie_near_jump_nm movie_far_from_jump_nm", ".1f"),
        ),
        once="molecules",
    ),
    "sample_drift": Table(
        "sample_drift",
        (
            Column("table", "structure"),
            Column("drift", "drift"),
            Column("localizations", "rows", ",d"),
            Column("method", "method"),
            Column("before, nm: lateral, axial", "before_lateral_nm before_axial_nm", ".1f"),
            Column("residual, nm: lateral, axial", "residual_lateral_nm residual_axial_nm", ".2f"),
            Column("two thirds of the frames", "two_thirds_lateral_nm two_thirds_axial_nm", ".2f"),
            Column("bound", "bound_lateral_nm bound_axial_nm", ".2f"),
            Column("rms normalised error x, y, z", "normalised_error_x normalised_error_y normalised_error_z", ".2f"),
            Column("corrected", "corrected"),
            Column("CPU s", "cpu_s", ".0f"),
            Column("peak memory, MB", "memory_mb", ",.0f"),
        ),
    ),
    "long_movie": Table(
        "long_movie",
        (
            Column("corrected", "corrected"),
            Column("localizations", "localizations", ",.0f"),
            Column("recall, precision", "recall precision", ".3f"),
            Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
            Column("FRC, nm", "frc_nm", ".1f"),
            Column("FSC, nm", "fsc_nm", ".1f"),
            Column("FRC of unlinked rows, split at random, nm", "frc_naive_nm", ".1f"),
            Column("NeNA, nm", "nena_lateral_nm", ".1f"),
            Column("sample drift that is left, nm: lateral, axial", "drift_left_lateral_nm drift_left_axial_nm", ".1f"),
        ),
    ),
    "linking": Table(
        "linking",
        (
            Column("molecules", "table"),
            Column("localizations per frame and µm²", "density", ".2f"),
            Column("frames on", "on_frames", ".0f"),
            Column("missed, shared", "missed shared", ".2f"),
            *_LINKING,
            Column("rms normalised error x, y, z", "merged_rms_x merged_rms_y merged_rms_z", ".2f"),
            Column("CPU s", "cpu_s", ".1f"),
        ),
        lambda row: "density" in row,
    ),
    "linking_movies": Table(
        "linking",
        (
            Column("movie", "table"),
            *_LINKING,
            Column("rms normalised error x, y, z", "merged_rms_x merged_rms_y merged_rms_z", ".2f"),
            Column("robust", "merged_robust_x merged_robust_y merged_robust_z", ".2f"),
            Column("rms, isolated", "merged_alone_rms_x merged_alone_rms_y merged_alone_rms_z", ".2f"),
            Column("of single localizations: rms", "single_rms_x single_rms_y single_rms_z", ".2f"),
            Column("rms, isolated", "single_alone_rms_x single_alone_rms_y single_alone_rms_z", ".2f"),
        ),
        lambda row: "density" not in row,
        once="table",
    ),
    "resolution": Table(
        "resolution",
        (
            Column("table", "table"),
            Column("rows after linking", "molecules", ",d"),
            Column("expected FRC, nm", "expected_nm", ".1f"),
            Column("linked: FRC, sd", "frc_nm frc_sd_nm", ".1f"),
            Column("Picasso, linked", "picasso_linked_frc_nm", ".1f"),
            Column("before linking: blocks of time", "blocks_nm", ".1f"),
            Column("random", "naive_nm", ".1f"),
            Column("Picasso", "picasso_frc_nm", ".1f"),
            Column("rms precision, nm: true", "true_rms_nm", ".2f"),
            Column("stated", "stated_rms_nm", ".2f"),
            Column("NeNA", "nena_nm", ".2f"),
            Column("Picasso's NeNA", "picasso_nena_nm", ".2f"),
            Column("measured / stated", "ratio", ".3f"),
        ),
        lambda row: row["kind"] == "known",
    ),
    "resolution_thresholds": Table(
        "resolution_thresholds",
        (
            Column("what is changed", "kind"),
            Column("true / stated precision", "scale", ".2f"),
            Column("blinks per nm", "per_nm", ".3f"),
            Column("drift left, nm", "drift_nm", ".0f"),
            Column("value that is judged", "ratio", ".2f"),
            Column("FRC, nm", "frc_nm", ".1f"),
            Column("times the best", "worse", ".2f"),
            Column("pairs lost by linking", "lost", ".1%"),
        ),
        once="kind",
    ),
    "whole_movie_accuracy": Table("whole_movie_accuracy", _MOVIE),
    "paper_network_movie": Table("paper_network_movie", _MOVIE),
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
                "Gaussian beads: spacing, over its bound",
                "gaussian_spacing_nm_spline gaussian_spacing_over_bound",
                ".2f",
            ),
            Column("images, Gaussian model", "gaussian_images_gaussian"),
            Column("images, spline", "gaussian_images_spline"),
            Column("aberrated beads: spacing", "pupil_spacing_nm_spline", ".1f"),
            Column("images, Gaussian model", "pupil_images_gaussian"),
            Column("images, spline", "pupil_images_spline"),
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
            Column("inter-camera drift, nm rms", "inter_camera_drift_nm"),
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
    "architecture": Table(
        "architecture",
        (
            Column("variant", "name"),
            Column("parameters", "parameters", ","),
            Column("ms per image", "milliseconds_per_image", ".1f"),
            Column("loss", "validation_loss", ".2f"),
            Column("lateral, nm", "lateral_nm", ".1f"),
            Column("axial, nm", "axial_nm", ".1f"),
        ),
        source="written by `reproduction/benchmarks/architecture.py`; commit 02f513e, 2026-11-25; processor not named.",
    ),
    "noise_readings": Table(
        "noise_readings",
        (
            Column("reading", "reading"),
            Column("least mean axial error", "axial_nm"),
            Column("the same, in voxels, if molecules lie in the centre of their voxels", "axial_centres_voxels"),
        ),
    ),
    "information_limits": Table(
        "information_limits",
        (
            Column("what is known", "known"),
            Column("lateral, nm", "lateral_nm"),
            Column("axial, nm", "axial_nm"),
            Column("in the middle of the window: lateral, nm", "middle_lateral_nm"),
            Column("axial, nm", "middle_axial_nm"),
        ),
    ),
    "one_molecule": Table(
        "one_molecule",
        (
            Column("lateral, axial", "estimator"),
            Column("paper", "paper_lateral_nm paper_axial_nm"),
            Column("voxel to voxel", "voxel_lateral_nm voxel_axial_nm"),
            Column("position to position", "mean_lateral_nm mean_axial_nm"),
            Column("RMSE", "rmse_lateral_nm rmse_axial_nm"),
            Column("over the limit (normal prior)", "over_limit_lateral over_limit_axial"),
            Column("s per frame", "s_per_frame"),
            Column("paper", "paper_s_per_frame"),
        ),
    ),
}


def current(document: Path) -> str:
    """The text of a document with all of its tables generated again."""

    def part(mark: re.Match[str]) -> str:
        return f"<!-- table: {mark['name']} -->\n{TABLES[mark['name']].text(document)}\n<!-- end -->"

    return MARK.sub(part, document.read_text(encoding="utf-8"))


def documents() -> list[Path]:
    """All documents that hold a generated table."""
    paths = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "reproduction" / "README.md"]
    return [path for path in paths if MARK.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    old = [path for path in documents() if current(path) != path.read_text(encoding="utf-8")]
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path}: run python benchmarks/tables.py" for path in old) or 0)
    for path in old:
        path.write_text(current(path), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
