"""The versions of the stages, which decide what runs again: see ``planeloc/stage_versions.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


def stage_version(stage: str) -> int:
    """The version of the results of a stage, named as on the command line.

    Raises
    ------
    KeyError : no such stage.
    """
    return _versions()[stage]


@cache
def _versions() -> dict[str, int]:
    return tomllib.loads(files("planeloc").joinpath("stage_versions.toml").read_text(encoding="utf-8"))
