"""Verdicts and the summary, from quality values that are made up."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from planeloc.cli.main import planeloc
from planeloc.core.errors import PlanelocError
from planeloc.reporting.html import sentence
from planeloc.reporting.verdicts import gather, worst, write_verdicts

GOOD = {"name": "recall", "value": 0.9, "threshold": 0.7, "verdict": "pass", "advice": "raise the light"}
BAD = {"name": "bead_motion_nm", "value": 31.2, "threshold": 15.0, "verdict": "warn", "advice": "fix the <beads>"}
UNKNOWN = {"name": "residual_px", "value": None, "threshold": 0.15, "verdict": "fail", "advice": "look"}


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
        f"{tmp_path.name}: calibration fail",
        "warn: calibration: motion of individual beads 31.2 nm (threshold 15 nm): fix the <beads>",
        "fail: calibration: residual (rms) not measured (threshold 0.150 px): look",
    ]
    assert json.loads((tmp_path / "qc.json").read_text())["verdict"] == "fail"


def test_sentences() -> None:
    assert sentence("look at  the movie") == "Look at the movie."
    assert sentence("is it dark?") == "Is it dark?"
    assert sentence("") == ""


def test_commands(tmp_path: Path) -> None:
    file = quality_file(tmp_path, "psf", GOOD, BAD)
    runner = CliRunner()
    result = runner.invoke(planeloc, ["report", "qc", "--output", f"{tmp_path}/qc.json", f"calibration={file}"])
    assert result.output.startswith(f"{tmp_path.name}: calibration warn\n")
    result = runner.invoke(planeloc, ["report", "quality", "--output", f"{tmp_path}/q.html", f"calibration={file}"])
    assert result.output == f"{tmp_path.name}: quality warn; see {tmp_path}/q.html\n"
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
    assert lines[4:9] == [
        f"begin with    {folder}/quality.html",
        f"3D view       {folder}/view_3d.html",
        f"picture       {folder}/depth.png",
        f"table         {folder}/localizations.filtered.h5",
        "report        report.html",
    ]
    (folder / "verdict.json").write_text(json.dumps({"verdict": "warn", "why": "1 of 2 checks gives a warning."}))
    lines = CliRunner().invoke(planeloc, arguments).output.split("\n")
    assert lines[1] == "verdict       warn: 1 of 2 checks gives a warning."
