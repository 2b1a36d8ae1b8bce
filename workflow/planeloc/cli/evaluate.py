"""`planeloc evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from planeloc.cli.options import FIGURE, File, output, stage_command
from planeloc.core import marks
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.settings import EvaluateSettings


@stage_command(
    "evaluate",
    EvaluateSettings,
    File("--localizations", "Filtered localization table."),
    File("--truth", "Ground-truth positions (CSV), if known.", required=False),
    File("--psf", "PSF from calibrate, to compare errors with the Cramér–Rao bound.", required=False),
    File("--microscope", "Microscope file (YAML), for the same comparison.", required=False),
    File("--registration", "Transforms, for the bound of molecules that not all cameras see.", required=False),
    output("--output", "Metrics and verdicts (JSON).", marks.METRICS),
    FIGURE,
)
def command(localizations: Path, **given: Any) -> None:
    """Assess localizations, and compare them with the ground truth where it is known."""
    click.echo(evaluate(localizations, **given))
