"""What runs again: every rule carries the version of its stage, which is raised by hand when results may change.

Snakemake notices a changed command, not a changed library, and a hash of the library would repeat everything after a
corrected message. The versions are read as text: the package itself may live only in a container.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

PRODUCT = Path(__file__).resolve().parents[1] / "planeloc" / "stage_versions.toml"


def stage_version(stage: str, table: Path = PRODUCT) -> int:
    """The version of a stage; raises `KeyError` where the table has none of that name."""
    return _versions(table)[stage]


@cache
def _versions(table: Path) -> dict[str, int]:
    return tomllib.loads(table.read_text(encoding="utf-8"))
