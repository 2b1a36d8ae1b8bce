"""`planeloc simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option
from planeloc.simulation.simulate import simulate


@click.command("simulate")
@file_option("--settings", "What to simulate (YAML).")
@file_option("--output", "Folder for the camera files, the microscope file and the truth.")
def command(settings: Path, output: Path) -> None:
    """Write an acquisition as a microscope would leave it, with the truth beside it."""
    simulate(settings, output)
