"""Schemas and reference of the configuration, made from the settings of the stages.

``make reference`` runs this script: it writes ``config.schema.yaml`` and ``microscope.schema.yaml`` beside it and
``docs/configuration.md``. The workflow reads these schemas, since it must start where the package lives only in a
container.
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
from jinja2 import Environment, FileSystemLoader

from planeloc.cameras import microscope
from planeloc.cameras.camera import Camera
from planeloc.core.settings import THRESHOLDS
from planeloc.diagnostics import depth_ambiguity
from planeloc.io.exporters import EXPORTERS
from planeloc.networks import training_match
from planeloc.networks.kinds import NETWORK_KINDS
from planeloc.simulation.settings import SimulationSettings

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = Path("workflow") / "schemas"
BASE = SCHEMAS / "config.base.yaml"
REFERENCE = Path("docs") / "configuration.md"

_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_NOTE = "# Written by `make reference`; edit the settings of the stages or {base} instead.\n"
Schema = dict[str, Any]


def config_schema() -> Schema:
    """The schema of config.yaml; `moved` holds the new place of every setting that once had another."""
    schema = _base()
    for name, section in schema["properties"].items():
        if "type" in section:
            continue
        if "entries" in section:
            schema["properties"][name] = _named_groups(section)
            continue
        rules, limits = dict(section.get("properties", {})), {}
        for rule in rules.values():
            if extensions := rule.get("extensions"):
                extensions["known"] = _known(**extensions)
                rule.get("items", {})["enum"] = list(extensions["known"])
        fields = _settings_of(section)
        for field, kind in fields:
            (limits if field.metadata["group"] else rules)[field.name] = _rule(field, kind)
        if limits:
            rules[THRESHOLDS] = _group("Thresholds of the quality values.", limits)
        schema["properties"][name] = _group(section["description"], rules)
        schema["moved"] |= _moved(name, (field for field, _ in fields))
    return schema


def _named_groups(section: Mapping[str, Any]) -> Schema:
    """The schema of a section whose keys are names that the user gives, each of a group with the same settings."""
    entries = section["entries"]
    rules = dict(entries["properties"]) | {field.name: _rule(field, kind) for field, kind in _settings_of(entries)}
    group = _group(entries["description"], rules)
    return {"description": section["description"], "type": "object", "default": {}, "additionalProperties": group}


def _known(group: str, attribute: str) -> dict[str, Any]:
    """An attribute of planeloc's own exporters or kinds of network by name, for a workflow without the package."""
    (registry,) = (each for each in (EXPORTERS, NETWORK_KINDS) if each.group == group)
    values = {name: getattr(registry.load(name), attribute) for name in registry.built_in}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _base() -> Schema:
    return yaml.safe_load((REPOSITORY / BASE).read_text(encoding="utf-8"))


def _settings_of(section: Mapping[str, Any]) -> list[tuple[dataclasses.Field, type]]:
    """Fields and types of the dataclass that a section of the base schema names, if it names one."""
    module, _, name = section.get("settings", "").rpartition(".")
    fields = _fields(getattr(import_module(module), name)) if module else []
    return [(field, kind) for field, kind in fields if not field.metadata["command_line_only"]]


def _fields(cls: type) -> list[tuple[dataclasses.Field, type]]:
    kinds = typing.get_type_hints(cls)
    return [(field, kinds[field.name]) for field in dataclasses.fields(cls)]


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


def _rule(field: dataclasses.Field, kind: type) -> Schema:
    """The schema of one setting."""
    about = field.metadata
    added = {entry.name for entry in entry_points(group=about["entry_points"])} if about["entry_points"] else set()
    bounds = {name: about[name] for name in ("minimum", "maximum") if about[name] is not None}
    rule = {
        "description": about["help"],
        "type": "array" if typing.get_origin(kind) is tuple else _TYPES.get(kind, "string"),
        "enum": [choice for choice in about["choices"] if choice not in added] if about["choices"] else None,
        "entryPoints": about["entry_points"] or None,
        **(bounds if about["automatic"] is None else {"anyOf": [{"const": about["automatic"]}, bounds]}),
        **dict(zip(("pattern", "errorHint"), about["pattern"] or (), strict=False)),
        "default": field.default,
        "unit": about["unit"] or None,
        "advanced": about["advanced"] or None,
    }
    return {key: value for key, value in rule.items() if value is not None}


def microscope_schema() -> Schema:
    """The schema of the microscope file, from the dataclasses that hold its content."""
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
            **_properties(microscope.Microscope, microscope.REQUIRED, "pixel_size_nm", "layout"),
            "cameras": {**cameras, "minItems": 2},
            "regions": {**regions, "default": []},
        },
    }


def _entries(description: str, cls: type, required: Mapping[str, str]) -> Schema:
    """The schema of a list, every entry of which becomes a dataclass."""
    items = {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": _properties(cls, required),
    }
    return {"description": description, "type": "array", "items": items}


def _properties(cls: type, required: Mapping[str, str], *only: str) -> Schema:
    """The schemas of a dataclass's fields, or `only` of these; what is required has no default."""
    rules = {field.name: _rule(field, kind) for field, kind in _fields(cls) if not only or field.name in only}
    for name in required.keys() & rules:
        del rules[name]["default"]
        rules[name]["remedy"] = required[name]
    return rules


def reference(config: Schema, scope: Schema) -> str:
    """docs/configuration.md: the settings that matter first, then the others, the thresholds and the other files."""
    environment = Environment(loader=FileSystemLoader(REPOSITORY / SCHEMAS), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"of_rank": _of_rank, "default_of": _default_of, "range_of": _range_of}
    limits = {name: _limits(_settings_of(section)) for name, section in _base()["properties"].items()}
    groups = {key: _settings_in(rule) for key, rule in config["properties"].items()}
    tables = {"": {key: rule for key, rule in config["properties"].items() if not groups[key]}}
    tables |= {key: rules for key, rules in groups.items() if rules}
    return environment.get_template("configuration.md.j2").render(
        sections=config["properties"],
        tables=tables,
        limits={name: rows for name, rows in limits.items() if rows},
        match=training_match,
        ambiguity=depth_ambiguity,
        microscope=scope,
        own={key: rule for key, rule in scope["properties"].items() if "items" not in rule},
        simulation=dict(_flat(SimulationSettings)),
    )


def _settings_in(section: Schema) -> Schema:
    """The settings of a section, or of every group of it if their names are given by the user."""
    named = section.get("additionalProperties")
    return section.get("properties", named["properties"] if isinstance(named, dict) else {})


def _limits(fields: Iterable[tuple[dataclasses.Field, type]]) -> list[dict[str, str]]:
    """One row for a quality value, with its threshold for a warning and the one that stops the run or fails."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for field, _ in fields:
        about = field.metadata
        if about["group"]:
            what, direction = about["when"].split()
            quantity, _, only = about["quantity"].partition(" (model ")
            row = {"quantity": quantity[:1].upper() + quantity[1:], "unit": about["unit"], "direction": direction}
            cell = f"`{field.name}`: {_shown(field.default)}" + (f" (model {only}" if only else "")
            rows.setdefault((quantity, direction), row)[what] = cell
    return list(rows.values())


def _of_rank(rules: Mapping[str, Schema], advanced: bool) -> dict[str, Schema]:
    """The rules of one rank, without the thresholds."""
    return {key: r for key, r in rules.items() if key != THRESHOLDS and r.get("advanced", False) == advanced}


def _flat(cls: type, before: str = "") -> Iterator[tuple[str, Schema]]:
    """Every setting of nested dataclasses, with the names of the sections before its own."""
    for field, kind in _fields(cls):
        items = [item for item in typing.get_args(kind) if dataclasses.is_dataclass(item)]
        if dataclasses.is_dataclass(kind):
            yield from _flat(kind, f"{before}{field.name}.")
        elif items:
            yield from _flat(items[0], f"{before}{field.name}[].")
        else:
            yield f"{before}{field.name}", _rule(field, kind)


def _default_of(rule: Schema) -> str:
    return _shown(rule["default"]) if "default" in rule else "required"


def _shown(value: Any) -> str:
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return f"`{value}`" if isinstance(value, str) else str(value)


def _range_of(rule: Schema) -> str:
    if "items" in rule:
        return f"list of {_range_of(rule['items'])}"
    if "enum" in rule:
        return ", ".join(f"`{choice}`" for choice in rule["enum"])
    if "anyOf" in rule:
        automatic, bounds = rule["anyOf"]
        return f"{automatic['const']:g}, or {_range_of({**bounds, 'type': rule['type']})}"
    least, most = rule.get("minimum"), rule.get("maximum")
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    if least is not None:
        return f"{least:g} or more"
    if most is not None:
        return f"{most:g} or less"
    return {"boolean": "`true`, `false`", "string": "text", "array": "two numbers"}.get(rule["type"], rule["type"])


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
