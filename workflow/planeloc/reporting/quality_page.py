"""The quality page of a sample: one verdict, picture, numbers that matter, what to do; then every stage, folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import VERDICTS
from planeloc.core.quality_labels import NOTHING, PER_CAMERA, label, quantity
from planeloc.io.localization_table import read_metadata
from planeloc.reporting.filter_check import filter_checks, filter_values
from planeloc.reporting.html import embedded, write_page
from planeloc.reporting.key_numbers import key_numbers, verdict_of
from planeloc.reporting.network_check import network_checks
from planeloc.reporting.sections import CAPTIONS, LINKS, PICTURE, SECTIONS, Caption, caption_of, section_of, words
from planeloc.reporting.shown_checks import ShownCheck, overall, shown, stage_verdict

_TABLES = (".h5", ".hdf5")


@dataclass(frozen=True)
class PageFiles:
    """What a page is made from, by name.

    Attributes
    ----------
    stages : quality files (JSON); a table of localizations (HDF5) stands for the check of its network, and as "filter"
        for what the filter removed.
    figures : PNG
    failures : log files of stages that stopped with an error
    links : pages (HTML) in the folder of the page
    """

    stages: Mapping[str, Path]
    figures: Mapping[str, Path] = field(default_factory=dict)
    failures: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, Path] = field(default_factory=dict)


def write_quality_page(output: Path, files: PageFiles, verdict_file: Path | None = None) -> str:
    """Write the page of the sample whose folder `output` lies in, and its verdict for other programs.

    Parameters
    ----------
    verdict_file : JSON with ``sample``, ``verdict``, ``why`` and ``localizations`` (None if unknown), to write.

    Returns
    -------
    The verdict on the sample: pass, warn, fail, or unknown if no check could be made.
    """
    checks, values, verdicts = _read(files)
    captions = {name: found for name in files.figures if (found := caption_of(name))}
    figures = {name: _figure(files.figures[name], captions.get(name)) for name in _ordered(files.figures, CAPTIONS)}
    of_section = {name: captions[name].section if name in captions else name for name in figures}
    names = _ordered({*checks, *of_section.values()} - {""}, SECTIONS)
    sections = [
        _section(
            name,
            checks.get(name, []),
            values.get(name, {}),
            [figure for key, figure in figures.items() if of_section[key] == name],
        )
        for name in names
    ]
    verdict, why = overall([check for name in names for check in checks.get(name, [])])
    content = {
        "sample": output.resolve().parent.name,
        "verdict": verdict,
        "why": why,
        "picture": figures.get(PICTURE),
        "numbers": key_numbers({name: {**of, **verdicts.get(name, {})} for name, of in values.items()}),
        "links": [(LINKS.get(name, words(name)), path.name) for name, path in files.links.items()],
        "sections": sections,
    }
    write_page(output, "quality.html.j2", content)
    if verdict_file:
        short = {name: content[name] for name in ("sample", "verdict", "why")}
        counted = (values.get(stage, {}).get("localizations") for stage in ("evaluation", "linking"))
        count = next((number for number in counted if number is not None), None)
        write_json(verdict_file, short | {"localizations": None if count is None else int(count)}, VERDICTS)
    return verdict


def _ordered(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """Names in the order of some; others follow, sorted."""
    places = {name: number for number, name in enumerate(order)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def _read(
    files: PageFiles,
) -> tuple[dict[str, list[ShownCheck]], dict[str, Mapping[str, Any]], dict[str, Mapping[str, str]]]:
    """Checks, values and verdicts of every stage."""
    checks, values, verdicts = {}, {}, {}
    for name, path in files.stages.items():
        if path.suffix in _TABLES:
            metadata = read_metadata(path)[0]
            if name == "filter":
                checks[name], values[name] = filter_checks(metadata), filter_values(metadata)
            else:
                checks[name] = network_checks(metadata)
            continue
        content = read_json(path)
        if not isinstance(content, dict):
            raise PlanelocError(f"{path}: not a file of quality values; run its stage again")
        checks[name] = [shown(check) for check in content.get("checks", [])]
        values[name] = content.get("values", {})
        verdicts[name] = {verdict_of(check["name"]): check["verdict"] for check in content.get("checks", [])}
    for name, path in files.failures.items():
        advice = f"It said: {_last_words(path)}. What follows this step is missing, or of an earlier run"
        stopped = ShownCheck("completed", "no, it stopped with an error", "", "fail", advice)
        checks.setdefault(name, []).insert(0, stopped)
    return checks, values, verdicts


def _last_words(log: Path) -> str:
    """The error in the log of a stage that stopped: its last message, or that of Python where it was not expected."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    unexpected = any(line.startswith("Traceback ") for line in lines)
    said = [line.removeprefix("planeloc: ") for line in lines if line.startswith("planeloc: ") or unexpected]
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    return last.rstrip(".") or f"nothing; see {log}"


def _figure(path: Path, caption: Caption | None) -> dict[str, str]:
    """A figure as the template shows it; the first sentence of the caption describes it to those who do not see it."""
    text = caption.text if caption else words(path.stem)
    return {"data": embedded(path), "caption": text, "alt": f"{path.name}: {text.partition('. ')[0].rstrip('.')}"}


def _section(
    name: str, checks: list[ShownCheck], values: Mapping[str, Any], figures: list[dict[str, str]]
) -> dict[str, Any]:
    """What the template shows of one stage."""
    single, tables = {}, {}
    for key, value in values.items():
        if isinstance(value, list):
            single |= {f"{key} {index}": entry for index, entry in enumerate(value)}
        elif match := PER_CAMERA.fullmatch(key):
            what, index, rest = match.groups()
            tables.setdefault(what, {}).setdefault(int(index), {})[rest] = value
        else:
            single[key] = value
    return {
        "title": section_of(name).title,
        "about": section_of(name).about,
        "verdict": stage_verdict(checks) if checks else "",
        "checks": checks,
        "figures": figures,
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
