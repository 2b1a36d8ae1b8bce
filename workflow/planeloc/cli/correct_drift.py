"""`planeloc correct-drift`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planeloc.cli.options import FIGURE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks
from planeloc.postprocessing.correct_drift import correct_drift
from planeloc.postprocessing.settings import CorrectDriftSettings


@stage_command(
    "correct-drift",
    CorrectDriftSettings,
    File("--localizations", "Localization table from localize."),
    output("--output", "Localization table without the drift of the sample (HDF5).", marks.table),
    output("--trajectory", "Sample drift and its standard deviation at every frame (CSV).", marks.TRAJECTORY),
    FIGURE,
    QUALITY,
)
def command(localizations: Path, **given: Any) -> Used:
    """Estimate the drift of the sample from the localizations, and take it out of them.

    Where the localizations show no significant drift, the table stays as it is.
    """
    return Used(correct_drift(localizations, **given))
