"""What the verbs of the command line share: files as options, and the record of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from planeloc.core.provenance import write_provenance

FILE = click.Path(path_type=Path)


def file_option(name: str, help: str, *, required: bool = True, multiple: bool = False) -> Callable:
    """An option that names a file, or several if it may be repeated."""
    return click.option(name, type=FILE, help=help, required=required, multiple=multiple)


beads_option = file_option("--beads", "Bead stack; repeat the option for each camera, in plane order.", multiple=True)
figure_option = file_option("--figure", "Figure (PNG).")
microscope_option = file_option("--microscope", "Microscope file (YAML).")
provenance_option = file_option("--provenance", "Record of this run (JSON).", required=False)
quality_option = file_option("--quality", "Quality values and verdicts (JSON).")


def write_record(
    path: Path | None,
    stage: str,
    settings: Any,
    inputs: list[Path],
    outputs: list[Path],
    used: dict[str, Any] | None = None,
    known: dict[str, str] | None = None,
) -> None:
    """Write the provenance of a run to `path`, if one is asked for; `settings` is a dataclass or a mapping."""
    if path:
        values = asdict(settings) if is_dataclass(settings) else settings
        write_provenance(path, stage, values, list(inputs), outputs, used, known)
