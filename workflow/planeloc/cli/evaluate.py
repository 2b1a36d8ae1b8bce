"""`planeloc evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import figure_option, file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.settings import EvaluateSettings


@click.command("evaluate")
@file_option("--localizations", "Filtered table.")
@file_option("--truth", "Where the molecules were (CSV), if known.", required=False)
@file_option("--psf", "PSF from calibrate, to compare errors with the Cramér–Rao bound.", required=False)
@file_option("--microscope", "Microscope file (YAML), for the same.", required=False)
@file_option("--output", "Measures and verdicts (JSON).")
@figure_option
@provenance_option
@options(EvaluateSettings)
def command(
    localizations: Path,
    truth: Path | None,
    psf: Path | None,
    microscope: Path | None,
    output: Path,
    figure: Path,
    provenance: Path | None,
    settings: EvaluateSettings,
) -> None:
    """Measure a table, against the truth where it is known."""
    click.echo(evaluate(localizations, truth, output, figure, settings, psf, microscope))
    inputs = [path for path in (localizations, truth, psf, microscope) if path]
    write_record(provenance, "evaluate", settings, inputs, [output, figure])
