"""`planeloc update-registration`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.registration.settings import UpdateRegistrationSettings
from planeloc.registration.update_registration import update_registration


@stage_command(
    "update-registration",
    UpdateRegistrationSettings,
    File("--movie", "Manifest of the movie."),
    File("--registration", "Transforms from register."),
    File("--synchronization", "Frames of the cameras from synchronize; a camera out of step would look displaced."),
    output("--output", "Transforms to use for this movie (JSON).", marks.REGISTRATION),
    FIGURE,
    QUALITY,
)
def command(movie: Path, registration: Path, **given: Any) -> Used:
    """Compare the transforms of the beads with a movie, and update those that no longer hold."""
    return Used(update_registration(movie, registration, **given))
