"""`planeloc train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train


@stage_command(
    "train",
    TrainSettings,
    File("--psf", "PSF from calibrate; without it, that of the paper's microscope.", required=False),
    File("--microscope", "Microscope file (YAML); without it, that of the movie or the paper's.", required=False),
    File("--registration", "Transforms from register, with their uncertainty.", required=False),
    File(
        "--start-from", "Weights to use if they fit the microscope; if not, training starts from them.", required=False
    ),
    File(
        "--movie",
        "Manifest of a movie in which photon counts and background are measured; may be repeated.",
        required=False,
        multiple=True,
    ),
    File(
        "--synchronization",
        "Frames of the cameras from synchronize, of every movie in the same order.",
        required=False,
        multiple=True,
    ),
    output("--output", "Weights (safetensors).", marks.WEIGHTS),
    output("--record", "Record of the training (JSON).", marks.TRAINING),
    FIGURE,
)
def command(movie: tuple[Path, ...], synchronization: tuple[Path, ...], **given: Any) -> Used:
    """Use the given network if it fits the microscope; otherwise train one."""
    return Used(train(movies=list(movie), synchronization=synchronization, **given))
