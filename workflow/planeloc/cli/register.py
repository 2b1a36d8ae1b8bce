"""`planeloc register`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import BEADS, FIGURE, MICROSCOPE, QUALITY, output, stage_command
from planeloc.core import marks
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings


@stage_command(
    "register",
    RegisterSettings,
    BEADS,
    MICROSCOPE,
    output("--output", "Transform of every camera and its uncertainty (JSON).", marks.REGISTRATION),
    FIGURE,
    QUALITY,
)
def command(microscope: Path, **given: Any) -> None:
    """Determine the transforms between the cameras from images of the same beads."""
    register(microscope=read_microscope(microscope), **given)
