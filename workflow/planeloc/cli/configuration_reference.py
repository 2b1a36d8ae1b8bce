"""Schemas and reference of the configuration, made from the settings of the stages.

``python -m planeloc.cli.configuration_reference`` writes ``workflow/schemas/config.schema.yaml``,
``workflow/schemas/microscope.schema.yaml`` and ``docs/configuration.md`` of the checkout that it runs in. The workflow
reads these schemas, since it must start where the package lives only in a container.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

from planeloc.cameras import microscope
from planeloc.cameras.camera import Camera
from planeloc.core.settings import THRESHOLDS
from planeloc.simulation.settings import SimulationSettings

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMAS = Path("workflow") / "schemas"
BASE = SCHEMAS / "config.base.yaml"
REFERENCE = Path("docs") / "configuration.md"

_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_NOTE = "# Written by `make reference`; edit the settings of the stages or {base} instead.\n"
Schema = dict[str, Any]


def settings_of(section: Mapping[str, Any]) -> type | None:
    """The dataclass that a section of the base schema names."""
    module, _, name = section.get("settings", "").rpartition(".")
    return getattr(import_module(module), name) if module else None


def config_schema() -> Schema:
    """The schema of config.yaml; `moved` holds the new place of every setting that once had another."""
    schema = _base()
    moved: dict[str, str] = {}
    for name, section in schema["properties"].items():
        if "type" in section:
            continue
        cls, advanced = settings_of(section), section.get("advanced", False)
        properties = dict(section.get("properties", {}))
        if cls:
            fields = [field for field in dataclasses.fields(cls) if not field.metadata["command_line_only"]]
            kinds = typing.get_type_hints(cls)
            rules = {f.name: _rule(f, kinds[f.name], advanced=advanced) for f in fields}
            limits = {f.name: rules.pop(f.name) for f in fields if f.metadata["group"]}
            properties |= rules
            if limits:
                properties[THRESHOLDS] = _group("Thresholds of the quality values.", limits)
            moved |= _moved(name, fields)
        schema["properties"][name] = _group(section["description"], properties)
    return {**schema, "moved": schema.get("moved", {}) | moved}


def _moved(section: str, fields: Iterable[dataclasses.Field]) -> Iterator[tuple[str, str]]:
    """Old and new place of the settings of a section, with the names of the sections before the names."""
    for field in fields:
        group = field.metadata["group"]
        place = ".".join(filter(None, (section, group, field.name)))
        for name in (*([field.name] if group else []), *field.metadata["was"]):
            yield f"{section}.{name}", place
        for name in field.metadata["was"] if group else ():
            yield f"{section}.{group}.{name}", place


def _group(description: str, properties: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "default": {},
        "additionalProperties": False,
        "properties": properties,
    }


def _rule(field: dataclasses.Field, kind: type, *, advanced: bool = False) -> Schema:
    """The schema of one setting."""
    about = field.metadata
    added = {entry.name for entry in entry_points(group=about["entry_points"])} if about["entry_points"] else set()
    rule = {
        "description": about["help"],
        "type": _TYPES[kind],
        "enum": [choice for choice in about["choices"] if choice not in added] if about["choices"] else None,
        "entryPoints": about["entry_points"] or None,
        "minimum": about["minimum"],
        "maximum": about["maximum"],
        "default": field.default,
        "unit": about["unit"] or None,
        "advanced": about["advanced"] or advanced or None,
    }
    return {key: value for key, value in rule.items() if value is not None}


def microscope_schema() -> Schema:
    """The schema of the microscope file, from the dataclasses that hold its content."""
    own = _properties(microscope.Microscope, microscope.REQUIRED, "pixel_size_nm", "layout")
    name = {"description": "Name used in figures; the file's name if left out.", "type": "string", "default": ""}
    cameras = _entries("One entry per camera, the reference camera first.", Camera, microscope.REQUIRED_OF_CAMERAS)
    regions = _entries(
        "With layout regions, one rectangle of the sensor per camera; all of the same size.",
        microscope.Region,
        microscope.REQUIRED_OF_REGIONS,
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Microscope",
        "description": "What cannot be measured from beads. The order of the cameras is the order of the planes.",
        "type": "object",
        "additionalProperties": False,
        "required": [*microscope.REQUIRED, "cameras"],
        "properties": {
            "name": name,
            **own,
            "cameras": {**cameras, "minItems": 2},
            "regions": {**regions, "default": []},
        },
    }


def _entries(description: str, cls: type, required: Mapping[str, str]) -> Schema:
    """The schema of a list, every entry of which becomes a dataclass."""
    return {
        "description": description,
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": list(required),
            "properties": _properties(cls, required),
        },
    }


def _properties(cls: type, required: Mapping[str, str], *only: str) -> Schema:
    """The schemas of a dataclass's fields, or `only` of these; what is required has no default."""
    kinds = typing.get_type_hints(cls)
    rules = {f.name: _rule(f, kinds[f.name]) for f in dataclasses.fields(cls) if not only or f.name in only}
    for name, remedy in required.items():
        if name in rules:
            del rules[name]["default"]
            rules[name]["remedy"] = remedy
    return rules


def reference(config: Schema, scope: Schema) -> str:
    """docs/configuration.md: the settings that matter first, then the others, the thresholds and the other files."""
    sections = {name: rule for name, rule in config["properties"].items() if "properties" in rule}
    files = {name: rule for name, rule in config["properties"].items() if "properties" not in rule}
    text = [
        "<!-- Written by `make reference`; edit the settings of the stages instead. -->",
        "# Configuration reference",
        "Every key of `config.yaml`, of a microscope file and of a simulation file. Each has a default unless it is "
        "required; write down only what you change. [config/README.md](../config/README.md) explains the files, and "
        "the sample and calibration tables.",
        "A key of a section is an option of the command of that name: `threshold` under `localize:` is `planeloc "
        "localize --threshold`. A change repeats the steps that depend on it, and no others.",
        "## Settings that matter",
        *_tables({"": files, **{n: s["properties"] for n, s in sections.items()}}, sections, advanced=False),
        "## Advanced settings",
        *_tables({"": files, **{n: s["properties"] for n, s in sections.items()}}, sections, advanced=True),
        "## Thresholds",
        "Thresholds of the quality values, under `thresholds:` of their section, such as\n\n"
        "```yaml\ncalibrate:\n  thresholds:\n    step_warn: 0.4\n```\n\n"
        "The run warns, or stops, when the quality value is above or below its threshold. `evaluate` does not stop the "
        "run; its verdict is `fail`.",
    ]
    base = _base()["properties"]
    for name, section in sections.items():
        if THRESHOLDS in section["properties"]:
            fields = {f.name: f for f in dataclasses.fields(settings_of(base[name]))}
            limits = section["properties"][THRESHOLDS]["properties"]
            text += [f"### `{name}`: thresholds", _threshold_table(limits, fields)]
    text += [
        "## Microscope file",
        f"{scope['description']} Keys without a default are required.",
        _table({key: rule for key, rule in scope["properties"].items() if "items" not in rule}),
        "Each entry of `cameras`:",
        _table(scope["properties"]["cameras"]["items"]["properties"]),
        "Each entry of `regions`, in camera pixels counted from the upper left:",
        _table(scope["properties"]["regions"]["items"]["properties"]),
        "## Simulation file",
        "What `simulation:` names, for `planeloc simulate`.",
        _table(dict(_flat(SimulationSettings))),
    ]
    return "\n\n".join(text) + "\n"


def _base() -> Schema:
    return yaml.safe_load((REPOSITORY / BASE).read_text(encoding="utf-8"))


def _tables(groups: Mapping[str, Schema], sections: Schema, *, advanced: bool) -> Iterator[str]:
    """A heading and a table for every section that has settings of this rank."""
    for name, rules in groups.items():
        listed = {
            key: rule for key, rule in rules.items() if key != THRESHOLDS and rule.get("advanced", False) == advanced
        }
        if listed:
            if name:
                yield f"### `{name}`" + (": advanced" if advanced else "")
                yield sections[name]["description"]
            yield _table(listed)


def _table(rules: Mapping[str, Schema]) -> str:
    rows = ["| key | default | unit | may be | meaning |", "|---|---|---|---|---|"]
    for key, rule in rules.items():
        default = _shown(rule["default"]) if "default" in rule else "required"
        rows.append(f"| `{key}` | {default} | {rule.get('unit', '')} | {_range(rule)} | {rule['description']} |")
    return "\n".join(rows)


def _threshold_table(limits: Mapping[str, Schema], fields: Mapping[str, dataclasses.Field]) -> str:
    """One row for a quality value, with its threshold for a warning and the one for a failure."""
    rows: list[dict[str, str]] = []
    for key, rule in limits.items():
        about = fields[key].metadata
        what, direction = about["when"].split()
        cell = f"`{key}`: {_shown(rule['default'])}"
        quantity, _, only = about["quantity"].partition(" (model ")
        row = next((r for r in rows if r["quantity"] == quantity and r["direction"] == direction), None)
        if row is None:
            rows.append(row := {"quantity": quantity, "direction": direction, "unit": rule.get("unit", "")})
        row[what] = cell + (f" (model {only}" if only else "")
    beyond = "fail" if any("fail" in row for row in rows) else "stop"
    lines = [f"| quality value | unit | when | warns | {beyond}s |", "|---|---|---|---|---|"]
    for row in rows:
        quantity = row["quantity"][:1].upper() + row["quantity"][1:]
        cells = (quantity, row["unit"], row["direction"], row.get("warn", ""), row.get(beyond, ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _flat(cls: type, before: str = "") -> Iterator[tuple[str, Schema]]:
    """Every setting of nested dataclasses, with the names of the sections before its own."""
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = kinds[field.name]
        items = [item for item in typing.get_args(kind) if dataclasses.is_dataclass(item)]
        if dataclasses.is_dataclass(kind):
            yield from _flat(kind, f"{before}{field.name}.")
        elif items:
            yield from _flat(items[0], f"{before}{field.name}[].")
        else:
            yield f"{before}{field.name}", _rule(field, kind if kind in _TYPES else str)


def _shown(value: Any) -> str:
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return f"`{value}`" if isinstance(value, str) else str(value)


def _range(rule: Schema) -> str:
    if "enum" in rule:
        return ", ".join(f"`{choice}`" for choice in rule["enum"])
    least, most = rule.get("minimum"), rule.get("maximum")
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    if least is not None:
        return f"{least:g} or more"
    if most is not None:
        return f"{most:g} or less"
    return {"boolean": "`true`, `false`", "string": "text"}.get(rule["type"], rule["type"])


def files() -> dict[Path, str]:
    """What the committed files must hold, by their path in the repository."""
    config, scope = config_schema(), microscope_schema()
    return {
        SCHEMAS / "config.schema.yaml": _NOTE.format(base=BASE) + _dump(config),
        SCHEMAS / "microscope.schema.yaml": _NOTE.format(base="of cameras/") + _dump(scope),
        REFERENCE: reference(config, scope),
    }


def _dump(schema: Schema) -> str:
    return yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=116, default_flow_style=None)


if __name__ == "__main__":
    for path, text in files().items():
        (REPOSITORY / path).write_text(text, encoding="utf-8")
