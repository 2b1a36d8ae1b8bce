"""Verdicts, the quality page and the summary, from quality values that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planeloc.cli.main import planeloc
from planeloc.core.errors import PlanelocError
from planeloc.reporting.html import sentence
from planeloc.reporting.quality_page import write_quality_page
from planeloc.reporting.verdicts import gather, worst, write_verdicts

GOOD = {"name": "recall", "value": 0.9, "threshold": 0.7, "verdict": "pass", "advice": "raise the light"}
BAD = {"name": "bead_motion_nm", "value": 31.2, "threshold": 15.0, "verdict": "warn", "advice": "fix the <beads>"}
UNKNOWN = {"name": "residual_px", "value": None, "threshold": 0.15, "verdict": "fail", "advice": "look"}
VALUES = {
    "waist_nm": 133.5,
    "waist_sd_nm": 0.0727,
    "recall": 0.938,
    "unknown_nm": None,
    "per_plane": [1.0, 2.0],
    "plane_0_depth_nm": -600.9,
    "plane_1_depth_nm": 1199.7,
    "plane_1_depth_sd_nm": 1.21,
    "plane_1_mirrored": 1.0,
}


def quality_file(folder: Path, name: str, *checks: dict, values: dict | None = None) -> Path:
    path = folder / f"{name}.quality.json"
    path.write_text(json.dumps({"values": values or {}, "checks": checks}))
    return path


def test_the_worst_verdict_counts_and_only_failures_keep_their_advice(tmp_path: Path) -> None:
    stages = {
        "calibration": {"values": {"a": 1.0}, "checks": [GOOD, BAD]},
        "registration": {"values": {}, "checks": [UNKNOWN]},
    }
    content = gather(stages)
    assert content["verdict"] == "fail"
    assert [content["stages"][name]["verdict"] for name in stages] == ["warn", "fail"]
    assert [check["advice"] for check in content["stages"]["calibration"]["checks"]] == ["", BAD["advice"]]
    assert content["stages"]["calibration"]["values"] == {"a": 1.0}
    assert worst([]) == "pass"


def test_warnings_are_printed_with_value_threshold_and_advice(tmp_path: Path) -> None:
    stages = {"calibration": quality_file(tmp_path, "psf", GOOD, BAD, UNKNOWN)}
    text = write_verdicts(tmp_path / "qc.json", stages)
    assert text.splitlines() == [
        "calibration: fail",
        "warn: calibration: motion of individual beads 31.2 nm (threshold 15 nm): fix the <beads>",
        "fail: calibration: residual (rms) not measured (threshold 0.150 px): look",
    ]
    assert json.loads((tmp_path / "qc.json").read_text())["verdict"] == "fail"


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The text of a page of two stages, without its style."""
    stages = {
        "calibration": quality_file(tmp_path, "psf", GOOD, BAD, values=VALUES),
        "evaluation": quality_file(tmp_path, "evaluation", GOOD),
    }
    assert write_quality_page(tmp_path / "cells" / "quality.html", stages) == "warn"
    return (tmp_path / "cells" / "quality.html").read_text(encoding="utf-8").partition("</style>")[2]


def test_the_page_says_what_to_do_first(page: str) -> None:
    assert "<h1>Quality of cells" in page
    todo = page.partition('<ul class="todo">')[2].partition("</ul>")[0]
    assert "Calibration: motion of individual beads</b> is 31.2 nm (limit 15 nm)." in todo
    assert "Fix the &lt;beads&gt;." in todo
    assert "raise the light" not in page.lower()


def test_values_have_units_and_standard_deviations(page: str) -> None:
    assert '<tr><td>waist, w₀</td><td class="number">133.500 ± 0.073 nm</td></tr>' in page
    assert '<tr><td>recall</td><td class="number">93.8 %</td></tr>' in page
    assert '<tr><td>unknown</td><td class="number">not measured</td></tr>' in page
    assert "per plane 1" in page
    assert '<td>depth</td><td class="number">−601 nm</td><td class="number">1,199.7 ± 1.2 nm</td>' in page


def test_what_only_some_planes_have_is_not_missing_from_the_others(page: str) -> None:
    assert '<td>mirrored</td><td class="number">—</td><td class="number">yes</td>' in page


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "<script" not in page and "http" not in page


def test_a_page_without_warnings_says_so(tmp_path: Path) -> None:
    write_quality_page(tmp_path / "quality.html", {"movie": quality_file(tmp_path, "movie", GOOD)})
    assert "All checks passed." in (tmp_path / "quality.html").read_text(encoding="utf-8")


def test_sentences() -> None:
    assert sentence("look at  the movie") == "Look at the movie."
    assert sentence("is it dark?") == "Is it dark?"
    assert sentence("") == ""


def test_commands(tmp_path: Path) -> None:
    file = quality_file(tmp_path, "psf", GOOD, BAD)
    runner = CliRunner()
    result = runner.invoke(planeloc, ["report", "qc", "--output", f"{tmp_path}/qc.json", f"calibration={file}"])
    assert result.output.startswith("calibration: warn\n")
    result = runner.invoke(planeloc, ["report", "quality", "--output", f"{tmp_path}/q.html", f"calibration={file}"])
    assert result.output == "quality: warn\n"
    refused = runner.invoke(planeloc, ["report", "qc", "--output", f"{tmp_path}/qc.json", str(file)])
    assert refused.exit_code == 2 and "write STAGE=FILE" in refused.output
    damaged = runner.invoke(planeloc, ["report", "qc", "--output", f"{tmp_path}/qc.json", f"a={tmp_path}/no.json"])
    assert isinstance(damaged.exception, PlanelocError) and "no.json" in str(damaged.exception)


def test_summary_of_a_sample(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    arguments = ["report", "summary", str(folder), "report.html"]
    assert "run evaluate first" in str(CliRunner().invoke(planeloc, arguments).exception)
    folder.mkdir()
    values = {"recall": 0.93781, "rmse_lateral_nm": 19.66, "jaccard": None}
    (folder / "evaluation.json").write_text(json.dumps({"values": values}))
    lines = CliRunner().invoke(planeloc, arguments).output.split("\n")
    assert lines[1:3] == ["recall        0.938", "RMSE lateral  19.7 nm"]
    assert lines[4:7] == [
        f"picture       {folder}/depth.png",
        f"table         {folder}/localizations.filtered.h5",
        "report        report.html",
    ]
