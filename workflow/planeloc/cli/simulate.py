"""`planeloc simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import File, StageCommand, output
from planeloc.core import marks
from planeloc.simulation.simulate import simulate


@click.command("simulate", cls=StageCommand)
@File("--settings", "What to simulate (YAML).")
@output("--output", "Folder for the camera files, the microscope file and the ground truth.", marks.SIMULATION)
def command(settings: Path, output: Path) -> None:
    """Simulate an acquisition: camera files as a microscope writes them, and the ground truth."""
    simulate(settings, output)
