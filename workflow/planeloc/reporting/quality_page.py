"""All quality values that concern a sample, on one page: verdicts, what to do, values with their units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planeloc.core.files import read_json
from planeloc.core.quality_labels import NOTHING, PER_CAMERA, label, quantity
from planeloc.reporting.html import write_page
from planeloc.reporting.verdicts import worst


def write_quality_page(output: Path, stages: Mapping[str, Path]) -> str:
    """Write the page of the sample whose folder `output` lies in.

    Parameters
    ----------
    output : the HTML page.
    stages : quality file (JSON) of every stage by its name, in the order of the page.

    Returns
    -------
    The worst verdict: pass, warn or fail.
    """
    read = {name: read_json(path) for name, path in stages.items()}
    shown = [_stage(name, content) for name, content in read.items()]
    verdict = worst(stage["verdict"] for stage in shown)
    values = {"sample": output.resolve().parent.name, "verdict": verdict, "stages": shown}
    write_page(output, "quality.html.j2", values)
    return verdict


def _stage(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of one stage."""
    checks = [
        {**check, "label": label(check["name"]), "value": quantity(check["name"], check["value"])}
        | {"threshold": f"{check.get('side', '')} {quantity(check['name'], check['threshold'])}".strip()}
        for check in content.get("checks", [])
    ]
    single, tables = {}, {}
    for key, value in content.get("values", {}).items():
        if isinstance(value, list):
            single |= {f"{key} {index}": entry for index, entry in enumerate(value)}
        elif match := PER_CAMERA.fullmatch(key):
            what, index, rest = match.groups()
            tables.setdefault(what, {}).setdefault(int(index), {})[rest] = value
        else:
            single[key] = value
    return {
        "title": name.replace("_", " ").capitalize(),
        "verdict": worst(check["verdict"] for check in checks),
        "checks": checks,
        "values": _rows([single]),
        "tables": {what: _per_camera(what, columns) for what, columns in tables.items()},
    }


def _per_camera(what: str, columns: Mapping[int, Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Heading and rows of a table with a column for every plane or camera."""
    numbers = sorted(columns)
    return [f"{what} {index}" for index in numbers], _rows([columns[index] for index in numbers])


def _rows(columns: list[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Label and texts of every quantity; a standard deviation stands behind its value."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    deviations = {name: sd for name in names if (sd := _deviation(name)) in names}
    rows = []
    for name in names:
        if name not in deviations.values():
            sd = deviations.get(name, "")
            # What the reference camera cannot have, such as a shift, is not missing there.
            texts = [quantity(name, c[name], c.get(sd)) if name in c else NOTHING for c in columns]
            rows.append((label(name), texts))
    return rows


def _deviation(name: str) -> str:
    """The name of a value's standard deviation: depth_sd_nm of depth_nm, asymmetry_sd of asymmetry."""
    unit = name.rpartition("_")[2]
    return f"{name.removesuffix(f'_{unit}')}_sd_{unit}" if unit in ("nm", "px", "counts") else f"{name}_sd"
