"""The configuration: checked, completed with the defaults, and its file names looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from preflight import schema as schemas
from preflight.errors import ConfigurationError

# The weights that come with planeloc, by kind of network: what `train: start_from: auto` means.
_SHIPPED = {
    "regression": "resources/regression.safetensors",
    "upsampling": "resources/quadplane.safetensors",
}

# The sheets say more about a missing file themselves.
_FILES = (("simulation",), ("train", "start_from"))


def complete_configuration(config: Mapping[str, Any], files: Iterable[str | Path]) -> dict[str, Any]:
    """Return `config` with every key that was left out; `files` are those it was read from.

    Raises `ConfigurationError` for the first mistake.
    """
    schema = schemas.read_schema("config")
    locate = schemas.YamlLines(files)
    complete = schemas.with_defaults(config, schema)
    schemas.check(complete, schema, locate)
    if complete["train"]["start_from"] == "auto":
        complete["train"]["start_from"] = _SHIPPED[complete["train"]["network"]]
    for path in _FILES:
        named = _value(complete, path)
        if named and not Path(named).is_file():
            where = f"{locate(path)}: " if _value(config, path) else ""
            raise ConfigurationError(
                f"{where}{'.'.join(path)}: {named} not found; correct the path, or give '' for none"
            )
    return complete


def _value(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
