"""The configuration: checked, completed with the defaults, and turned into options of the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from runpy import run_path
from typing import Any

from preflight import schema as schemas
from preflight.errors import ConfigurationError, Mistakes
from preflight.experiment import Experiment, read_experiment
from preflight.views import check_views

# The condition of the filter is checked by the file of the package that reads it: see the docstring of `preflight`.
_EXPRESSION = Path(__file__).resolve().parents[1] / "planeloc" / "postprocessing" / "filter_expression.py"
_Expression, _ExpressionError = itemgetter("Expression", "ExpressionError")(run_path(str(_EXPRESSION)))

# The sample and calibration tables say more about a missing file themselves.
_FILES = (("simulation",), ("train", "start_from"))


def read_all(config: Mapping[str, Any], files: Iterable[str | Path]) -> tuple[dict[str, Any], Experiment]:
    """The complete configuration, and the samples and calibrations that it names; `files`: those it was read from.

    Raises
    ------
    ConfigurationError
        With all mistakes in the configuration and in the tables.
    """
    mistakes, complete, experiment, files = Mistakes(), {}, None, list(files)
    with mistakes:
        complete = complete_configuration(config, files)
    if complete or _names_tables(config):
        places = complete or schemas.with_defaults(config, schemas.read_schema("config"))
        with mistakes:
            experiment = read_experiment(places["samples"], places["calibrations"], simulated_folder(places))
    if complete and experiment:
        with mistakes:
            check_views(complete["views"], experiment.samples, schemas.YamlLines(files))
    mistakes.stop()
    return complete, experiment


def _names_tables(config: Mapping[str, Any]) -> bool:
    """Whether the tables that are meant are known, in a configuration with mistakes."""
    schema = schemas.read_schema("config")
    names = ("samples", "calibrations", "simulation", "pathvars")
    places = {key: config[key] for key in names if config.get(key) is not None}
    return set(config) <= set(schema["properties"]) and schemas.is_valid(schemas.with_defaults(places, schema), schema)


def simulated_folder(config: Mapping[str, Any]) -> str | None:
    """The folder that a simulation writes, with a slash at its end; None for real data."""
    return f"{config['pathvars']['results']}/acquisition/" if config["simulation"] else None


def complete_configuration(config: Mapping[str, Any], files: Iterable[str | Path]) -> dict[str, Any]:
    """Return `config` with every key that was left out; `files` are those it was read from.

    Raises
    ------
    ConfigurationError
        With all mistakes in it.
    """
    schema = schemas.read_schema("config")
    locate = schemas.YamlLines(files)
    complete = schemas.with_defaults(config, schema)
    mistakes = Mistakes()
    with mistakes:
        schemas.check(complete, schema, locate)
    if _value(complete, ("train", "start_from")) == "auto":
        rule = schema["properties"]["train"]["properties"]["start_from"]
        with mistakes:
            complete["train"]["start_from"] = schemas.said_by_extension(rule, str(complete["train"]["network"])) or ""
    for path in _FILES:
        with mistakes:
            _check_file(_value(complete, path), path, f"{locate(path)}: " if _value(config, path) else "")
    with mistakes:
        _check_expression(_value(complete, ("filter", "expression")), locate)
    mistakes.stop()
    return schemas.with_whole_numbers(complete, schema)


def _check_expression(given: Any, locate: schemas.Locate) -> None:
    if not isinstance(given, str) or not given.strip():
        return
    try:
        _Expression(given)
    except _ExpressionError as error:
        path = ("filter", "expression")
        raise ConfigurationError(f"{locate(path)}: {'.'.join(path)}: {error}") from None


def _check_file(named: Any, path: tuple[str, ...], where: str) -> None:
    if isinstance(named, str) and named and not Path(named).is_file():
        raise ConfigurationError(f"{where}{'.'.join(path)}: {named} not found; correct the path, or give '' for none")


def _value(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def export_endings(config: Mapping[str, Any], stage: str = "filter") -> dict[str, list[str]]:
    """What follows ``localizations`` in the names of the files that every exporter of a stage of a complete
    configuration writes.

    Raises
    ------
    ConfigurationError
        An exporter of another package cannot be loaded.
    """
    section = schemas.read_schema("config")["properties"][stage]["properties"]
    endings = {name: schemas.said_by_extension(section["exports"], name) for name in config[stage]["exports"]}
    return {name: [e if e == f".{name}" else f".{name}{e}" for e in said] for name, said in endings.items()}


def command_options(config: Mapping[str, Any], section: str, only: tuple[str, ...] = ()) -> str:
    """The command line options for a section of a complete configuration, or `only` for these keys of it.

    A section whose keys are names, such as the views, has options for each of them: ``views.NAME``.

    Defaults are left out, and the order is that of the names: what is written otherwise means the same, and repeats
    nothing.
    """
    words = []
    section, _, name = section.partition(".")
    rules, values = schemas.read_schema("config")["properties"][section], config[section]
    if name:
        rules, values = schemas.named_groups(rules), values[name]
    for key, value, rule in sorted(_settings(values, rules), key=itemgetter(0)):
        if (only and key not in only) or value == rule["default"] or not rule.get("option", True):
            continue
        option = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words.append(f"--{option}={value}")
    return shlex.join(words)


def _settings(group: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Name, value and rule of all settings of a group and of those within it: on the command line it has no groups."""
    for key, rule in schema["properties"].items():
        if "properties" in rule:
            yield from _settings(group[key], rule)
        else:
            yield key, group[key], rule
