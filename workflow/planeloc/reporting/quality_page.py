"""All quality values that concern a sample, on one page: verdicts, what to do, values with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planeloc.core.files import read_json
from planeloc.reporting.html import number, write_page
from planeloc.reporting.verdicts import worst

_UNITS = ("nm", "px", "counts", "electrons", "photons")
_SHARES = {"recall", "precision", "jaccard", "flicker", "light_faded"}
_PER_CAMERA = re.compile(r"(plane|camera)_(\d+)_(.+)")
_LABELS = {  # of names that a sentence would not use
    "light_faded": "photobleaching during the scan",
    "common_motion_nm": "lateral stage drift",
    "bead_motion_nm": "motion of single beads",
    "own_motion_nm": "motion of single beads",
    "map_sd_nm": "standard deviation of the transform",
    "corner_sd_nm": "standard deviation of the transform in the corners",
    "leave_one_out_nm": "leave-one-out error",
    "leave_one_out_px": "leave-one-out error",
    "rival_match": "second-best match of the beads, relative",
    "rival": "second-best match of the beads, relative",
    "chance_matches": "matches expected by chance",
    "chance": "matches expected by chance",
    "jaccard": "Jaccard index",
    "step_of_the_focus_nm": "focus displacement per slice",
    "unexplained_by_model": "relative residual of the PSF model",
    "unexplained_by_gaussian": "relative residual of the Gaussian model",
    "unexplained_by_spline": "relative residual of the spline model",
    "light_in_the_dark_counts": "light in the dark movie",
    "dark_off_the_line_counts": "distance of the dark movie from the photon transfer line",
    "planes_in_order": "planes in order of depth",
    **{f"pull_{axis}": f"normalised error along {axis}" for axis in "xyz"},
}
_WORDS = {"rmse": "RMSE", "sd": "standard deviation", "em": "EM", "psf": "PSF", "share": "fraction", "map": "transform"}


def write_quality_page(output: Path, stages: Mapping[str, Path]) -> str:
    """Write the page of the sample whose folder `output` lies in.

    Parameters
    ----------
    output : the HTML page.
    stages : quality file (JSON) of every stage by its name, in the order of the page.

    Returns
    -------
    str
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
        {**check, "label": label(check["name"])}
        | {key: quantity(check["name"], check[key]) for key in ("value", "threshold")}
        for check in content.get("checks", [])
    ]
    single, tables = {}, {}
    for key, value in content.get("values", {}).items():
        if isinstance(value, list):
            single |= {f"{key} {index}": entry for index, entry in enumerate(value)}
        elif match := _PER_CAMERA.fullmatch(key):
            what, index, rest = match.groups()
            tables.setdefault(what, {}).setdefault(int(index), {})[rest] = value
        else:
            single[key] = value
    return {
        "title": name.capitalize(),
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
            texts = [_with_deviation(name, column.get(name), column.get(sd)) for column in columns]
            rows.append((label(name), texts))
    return rows


def _deviation(name: str) -> str:
    """The name of a value's standard deviation: depth_sd_nm of depth_nm, asymmetry_sd of asymmetry."""
    unit = name.rpartition("_")[2]
    return f"{name.removesuffix(f'_{unit}')}_sd_{unit}" if unit in ("nm", "px", "counts") else f"{name}_sd"


def _with_deviation(name: str, value: Any, deviation: Any) -> str:
    text = quantity(name, value)
    if value is None or deviation is None:
        return text
    unit = _unit(name)
    return f"{text.removesuffix(f' {unit}')} ± {number(deviation, 2) if deviation else 0} {unit}".rstrip()


def label(name: str) -> str:
    """A quality value's name as a microscopist would call it, without its unit."""
    if match := _PER_CAMERA.fullmatch(name):
        return f"{match[1]} {match[2]}: {label(match[3])}"
    if name in _LABELS:
        return _LABELS[name]
    words = name.split("_")
    if len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    return " ".join(_WORDS.get(word, word) for word in words)


def quantity(name: str, value: Any) -> str:
    """A value with its unit, which its name ends with."""
    if value is None:
        return "not measured"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    unit = _unit(name)
    value = 100 * value if unit == "%" and not name.startswith("efficiency") else value
    text = f"{value:,.0f}".replace("-", "−") if value == round(value) else number(value)
    return f"{text} {unit}".strip()


def _unit(name: str) -> str:
    words = name.split("_")
    if name in _SHARES or name.startswith(("efficiency", "unexplained")) or {"share", "fraction"} & set(words):
        return "%"
    return words[-1] if words[-1] in _UNITS and len(words) > 1 else ""
