"""JSON Schema with messages that a microscopist understands, and with the line of the file that is to be corrected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from preflight.errors import ConfigurationError, unreadable

# YAML has .inf and .nan, which no setting can mean; JSON Schema, made for JSON, would take them for numbers.
_CHECKER = Draft202012Validator.TYPE_CHECKER
_Validator = extend(
    Draft202012Validator,
    type_checker=_CHECKER.redefine("number", lambda _, value: _CHECKER.is_type(value, "number") and _finite(value)),
)

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"

_TYPE_NAMES = {
    "object": "a group of keys, indented below it",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
}

Locate = Callable[[tuple], str]


@cache
def read_schema(name: str) -> dict[str, Any]:
    """The schema ``workflow/schemas/{name}.schema.yaml``, read once, with the choices that installed packages add."""
    schema = yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))
    _add_entry_points(schema)
    return schema


def _add_entry_points(rule: Mapping[str, Any]) -> None:
    """Allow the names of the entry points that a rule mentions, in place."""
    if "entryPoints" in rule:
        rule["enum"].extend(entry.name for entry in entry_points(group=rule["entryPoints"]))
    items = [rule["items"]] if "items" in rule else []
    for part in (*items, *rule.get("properties", {}).values()):
        _add_entry_points(part)


def said_by_extension(rule: Mapping[str, Any], name: str) -> Any:
    """What an exporter or kind of network says of itself; None if it is unknown. Only other packages' are imported."""
    group, attribute, known = rule["extensions"].values()
    if name in known:
        return known[name]
    for entry in entry_points(group=group, name=name):
        try:
            return getattr(entry.load(), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"{name} of {entry.module} cannot be loaded ({error}); update it") from None
    return None


def with_defaults(values: Mapping[str, Any] | None, schema: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the schema's defaults filled in. A group whose keys are all commented out is an empty group."""
    filled = dict(values or {})
    for key, rule in schema.get("properties", {}).items():
        if "properties" in rule:
            given = filled.get(key)
            if given is None or isinstance(given, Mapping):
                filled[key] = with_defaults(given, rule)
        elif named := named_groups(rule):
            if filled.get(key) is None or isinstance(filled[key], Mapping):
                groups = (filled.get(key) or {}).items()
                filled[key] = {
                    name: with_defaults(group, named) if group is None or isinstance(group, Mapping) else group
                    for name, group in groups
                }
        elif "default" in rule:
            filled.setdefault(key, rule["default"])
    return filled


def named_groups(rule: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of every group in a section whose keys are names that the user gives; None for other sections."""
    named = rule.get("additionalProperties")
    return named if isinstance(named, Mapping) else None


def with_whole_numbers(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value`, or all values of a group, with numbers such as 2.0e+5 as whole numbers, where the schema has these."""
    if "properties" in schema:
        return {key: with_whole_numbers(each, schema["properties"][key]) for key, each in value.items()}
    if named := named_groups(schema):
        return {name: with_whole_numbers(each, named) for name, each in value.items()}
    return int(value) if schema["type"] == "integer" else value


def is_valid(values: Any, schema: Mapping[str, Any]) -> bool:
    """Whether there are no mistakes."""
    return _Validator(schema).is_valid(values)


def check(values: Any, schema: Mapping[str, Any], locate: Locate) -> None:
    """Raise `ConfigurationError` with all mistakes; `locate` turns the path of a key into "file:line"."""
    errors = list(_Validator(schema).iter_errors(values))
    # What looks as if it were missing may be what is misspelt beside it.
    # A word to choose that is no text is one mistake, not two.
    causes = {(tuple(error.absolute_path), error.validator) for error in errors}
    lines = []
    for error in errors:
        cause = {"required": "additionalProperties", "type": "enum"}.get(error.validator)
        if (tuple(error.absolute_path), cause) not in causes:
            lines += _explain(error, locate, schema)
    if lines:
        raise ConfigurationError(*lines)


def _finite(value: float) -> bool:
    return -math.inf < value < math.inf


def _explain(error: ValidationError, locate: Locate, schema: Mapping[str, Any]) -> list[str]:
    """One line for every mistake that an error stands for."""
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = [(*path, key) for key in error.instance if key not in known]
        return [f"{locate(place)}: {_unknown_key(place, known, schema)}" for place in unknown]
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return [
            f"{locate(path)}: {_dotted((*path, key))} is missing; add it: {_described(error.schema, key)}"
            for key in missing
        ]
    return [f"{locate(path)}: {_dotted(path)} is {_shown(error.instance)}; {_remedy(error)}"]


def _unknown_key(path: tuple, known: Iterable[str], schema: Mapping[str, Any]) -> str:
    """What to do with a key that is unknown, also if it once was known or resembles one that was."""
    name, moved = _dotted(path), schema.get("moved", {})
    if why := schema.get("removed", {}).get(name):
        return f"{name} was removed: {why}; delete it"
    if new := moved.get(name):
        renamed = new.startswith(f"{path[0]}.") and not new.endswith(f".{path[-1]}")
        return f"{name} is now {new}; {'rename' if renamed else 'move'} it"
    if elsewhere := _elsewhere(path[-1], schema):
        return f"unknown key {name}; {elsewhere}"
    section = _dotted(path[:-1]) + "."
    within = [new.removeprefix(section) for new in moved.values() if new.startswith(section)]
    grouped = {new.rpartition(".")[2]: new for new in within}
    close = difflib.get_close_matches(str(path[-1]), [*known, *grouped], n=1)
    if close and close[0] in grouped:
        return f"unknown key {name}; did you mean {grouped[close[0]]}?"
    return unknown_name(f"key {name}", path[-1], known)


def _elsewhere(key: Any, schema: Mapping[str, Any]) -> str:
    """Where a key belongs that another section, or the microscope file, has under the same name; empty: nowhere."""
    sections = {name: rule["properties"] for name, rule in schema["properties"].items() if "properties" in rule}
    if places := [f"{name}.{key}" for name, keys in sections.items() if key in keys]:
        return f"did you mean {' or '.join(places)}?"
    microscope = read_schema("microscope")["properties"]
    if "cameras" in sections and key in {*microscope, *microscope["cameras"]["items"]["properties"]} - {"name"}:
        return "it belongs in the microscope file"
    return ""


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """ "unknown key 'treshold'; did you mean 'threshold'?", or the list of what is known."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"unknown {what}; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}")


def _described(schema: Mapping[str, Any], key: str) -> str:
    """What to write for a key that is missing."""
    rule = schema.get("properties", {}).get(key, {})
    return rule.get("remedy", rule.get("description", "see docs/configuration.md")).rstrip(".")


def _dotted(path: Iterable[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "the file"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."


def _remedy(error: ValidationError) -> str:
    value, limit = error.instance, error.validator_value
    unit = f" {error.schema['unit']}" if "unit" in error.schema else ""
    match error.validator:
        case "type" if "errorHint" in error.schema:
            return error.schema["errorHint"]
        case "type":
            return f"give {_TYPE_NAMES[limit]}{_number_hint(value, limit)}"
        case "enum":
            return f"choose one of {', '.join(_shown(choice) for choice in limit)}"
        case "minimum":
            return f"give {limit}{unit} or more"
        case "maximum":
            return f"give {limit}{unit} or less"
        case "anyOf":  # a value that leaves the choice to the stage, or one within bounds
            return f"{_remedy(error.context[-1])}, or {limit[0]['const']}"
        case "minItems":
            return f"give at least {limit} entries"
        case "pattern" | "minLength":
            return error.schema.get("errorHint", "see docs/configuration.md for what it may be")
        case _:
            return f"{error.message}; see docs/configuration.md"


def _number_hint(value: Any, wanted: str) -> str:
    """YAML 1.1 reads 1e-4 as text: only 1.0e-4 is a number to it."""
    if isinstance(value, float) and not _finite(value):
        return " that is finite"
    if not isinstance(value, str) or wanted not in ("number", "integer"):
        return ""
    try:
        number = float(value)
    except ValueError:
        return " (decimal point, no unit)"
    if wanted == "integer" and number.is_integer():
        return f": write it as {int(number)}"
    return f": write it as {number!r}" if "e" not in repr(number) else ": write it as 1.0e-4, not 1e-4"


class YamlLines:
    """Where every key of some YAML files stands. Files are given in the order they were merged; the last one wins."""

    def __init__(self, files: Iterable[str | Path]):
        self._files = [(str(file), _lines_of(Path(file))) for file in files]

    def __call__(self, path: tuple) -> str:
        """Name "file:line" of the key at `path`, or of the closest group above it; --config if it stands in no file."""
        words = tuple(map(str, path))
        for depth in range(len(words), 0, -1):
            for name, lines in reversed(self._files):
                if line := lines.get(words[:depth]):
                    return f"{name}:{line}"
        return "--config" if path or not self._files else self._files[-1][0]


_TAG = "tag:yaml.org,2002:"
_TAGS = {f"{_TAG}{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")}
_NUMBERS = {f"{_TAG}int", f"{_TAG}float"}
_LONGEST_NUMBER = 50  # letters
_MOST_LINES = 100_000


def _lines_of(path: Path) -> dict[tuple[str, ...], int]:
    """The line of every key and of every entry of a list, by its path in words."""
    try:
        with path.open(encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: no such file; start in the folder that has it, or give --configfile"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(
            f"{path}{line}: not valid YAML ({error.problem}); indent with spaces, write 'key: value'"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{path}: nested too deeply; write its keys as in config/README.md") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(f"{path}: not a text file in UTF-8; save it again as plain text") from None
    lines: dict[tuple[str, ...], int] = {}
    if mistakes := [f"{path}:{mistake}" for mistake in _find_lines(root, (), lines)]:
        raise ConfigurationError(*mistakes)
    return lines


def _find_lines(
    node: yaml.Node | None, path: tuple[str, ...], lines: dict[tuple[str, ...], int], above: tuple[yaml.Node, ...] = ()
) -> Iterator[str]:
    """Fill `lines` with what is below a node, and yield the mistakes; `above` are the nodes that hold it.

    YAML silently takes the last of two equal keys; the user meant one of them, and cannot see which. A group that is
    named again by an alias may contain itself, or grow beyond all memory.
    """
    if node is None:
        return
    line = node.start_mark.line + 1
    if node.tag not in _TAGS:
        yield f"{line}: the tag {node.tag.removeprefix(_TAG)} has no meaning here; remove it"
        return
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            yield f"{line}: a number of {len(node.value):,} digits; correct it"
        return
    if any(node is other for other in above):
        yield f"{line}: contains itself by an alias (*); write it out"
        return
    if len(lines) > _MOST_LINES:
        yield f"{line}: grows beyond {_MOST_LINES:,} entries by aliases (*); write it out"
        return
    parts: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.SequenceNode):
        parts = [(str(index), entry, entry) for index, entry in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        parts = [(key.value, key, value) for key, value in node.value]
    seen: dict[str, int] = {}
    for name, start, value in parts:
        line = start.start_mark.line + 1
        if name in seen:
            yield f"{line}: key {name} was already given in line {seen[name]}; remove one"
        lines[(*path, name)] = seen[name] = line
        yield from _find_lines(value, (*path, name), lines, (*above, node))
