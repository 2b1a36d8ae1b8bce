"""The verdicts on a calibration in one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from planeloc.core.checks import Check
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import VERDICTS

_VERDICTS = ("pass", "warn", "fail")  # from good to bad


def write_verdicts(output: Path, stages: Mapping[str, Path]) -> str:
    """Gather the quality values of some stages and write them with their verdicts.

    Parameters
    ----------
    output : JSON, ``{"verdict": the worst, "stages": {stage: {"verdict", "values", "checks"}}}``.
    stages : quality file of every stage by its name.

    Returns
    -------
    The verdict, and a line with advice for every check that did not pass.
    """
    content = gather({name: read_json(path) for name, path in stages.items()})
    write_json(output, content, VERDICTS)
    return "\n".join([f"{output.resolve().parent.name}: calibration {content['verdict']}", *_warnings(content)])


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; no verdicts pass."""
    return max(verdicts, key=_VERDICTS.index, default="pass")


def gather(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of the file from the quality values of the stages."""
    judged = {
        name: {
            "verdict": worst(check["verdict"] for check in stage["checks"]),
            "values": stage["values"],
            "checks": [
                {**check, "advice": "" if check["verdict"] == "pass" else check["advice"]} for check in stage["checks"]
            ],
        }
        for name, stage in stages.items()
    }
    return {"verdict": worst(stage["verdict"] for stage in judged.values()), "stages": judged}


def _warnings(content: Mapping[str, Any]) -> list[str]:
    return [
        f"{check['verdict']}: {name}: {Check(**check).text}: {check['advice']}"
        for name, stage in content["stages"].items()
        for check in stage["checks"]
        if check["verdict"] != "pass"
    ]
