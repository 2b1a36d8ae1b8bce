"""The verdicts on a calibration in one file: qc.py QC.json STAGE=QUALITY.json [STAGE=QUALITY.json ...].

{"verdict": the worst of all, "stages": {stage: {"verdict", "values", "checks"}}}; every check has its value, the
threshold and a verdict. Warnings are printed, each with its advice. Standard library only, so that it runs under any
Python 3.11.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_VERDICTS = ("pass", "warn", "fail")  # from good to bad


def worst(verdicts: list[str]) -> str:
    """The worst of some verdicts; none at all pass."""
    return max(verdicts, key=_VERDICTS.index, default="pass")


def gathered(stages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of qc.json from the quality files of the stages."""
    judged = {
        name: {
            "verdict": worst([check["verdict"] for check in stage["checks"]]),
            "values": stage["values"],
            "checks": [
                {**check, "advice": "" if check["verdict"] == "pass" else check["advice"]} for check in stage["checks"]
            ],
        }
        for name, stage in stages.items()
    }
    return {"verdict": worst([stage["verdict"] for stage in judged.values()]), "stages": judged}


def warnings(content: dict[str, Any]) -> list[str]:
    """A line for every check that did not pass."""
    return [
        f"{check['verdict']}: {name}: {check['name'].replace('_', ' ')} {_number(check['value'])} "
        f"(threshold {_number(check['threshold'])}): {check['advice']}"
        for name, stage in content["stages"].items()
        for check in stage["checks"]
        if check["verdict"] != "pass"
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def main(arguments: list[str]) -> None:
    target, *named = arguments
    stages = {}
    for argument in named:
        name, _, path = argument.partition("=")
        stages[name] = json.loads(Path(path).read_text(encoding="utf-8"))
    content = gathered(stages)
    Path(target).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print("\n".join([f"calibration: {content['verdict']}", *warnings(content)]))


if __name__ == "__main__":
    main(sys.argv[1:])
