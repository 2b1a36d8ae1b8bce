"""`planeloc register`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import (
    beads_option,
    figure_option,
    file_option,
    microscope_option,
    provenance_option,
    quality_option,
    write_record,
)
from planeloc.core.settings import options
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings


@click.command("register")
@beads_option
@microscope_option
@file_option("--output", "Map of every camera and how well it is known (JSON).")
@figure_option
@quality_option
@provenance_option
@options(RegisterSettings)
def command(
    beads: tuple[Path, ...],
    microscope: Path,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: RegisterSettings,
) -> None:
    """Find how the cameras' fields lie on each other, from images of the same beads."""
    register(list(beads), read_microscope(microscope), output, figure, quality, settings)
    write_record(provenance, "register", settings, [*beads, microscope], [output, figure, quality])
