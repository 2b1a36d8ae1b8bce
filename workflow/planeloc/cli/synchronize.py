"""`planeloc synchronize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import synchronize


@stage_command(
    "synchronize",
    SynchronizeSettings,
    File("--movie", "Manifest of the movie."),
    File("--registration", "Transforms from register."),
    output("--output", "Frame of every camera that shows each moment (JSON).", marks.SYNCHRONIZATION),
    FIGURE,
    QUALITY,
)
def command(movie: Path, registration: Path, **given: Any) -> Used:
    """Check that all cameras show the same moment in a frame, and put them in step.

    From the first frame to the last. The counts of the movie stay as they are; `localize --synchronization` uses the
    result.
    """
    return Used(synchronize(movie, registration, **given))
