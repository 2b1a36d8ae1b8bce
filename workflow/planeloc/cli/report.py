"""`planeloc report`: files for people, from the quality values of the stages."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import file_option
from planeloc.core.errors import PlanelocError


@click.group("report")
def command() -> None:
    """Gather quality values: verdicts in one file, a page, a summary."""


def _named(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, Path]:
    """Files by the names before their equals signs."""
    pairs = [word.partition("=") for word in words]
    wrong = next((word for word, (_, _, path) in zip(words, pairs, strict=True) if not path), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} names no file; write STAGE=FILE", context, parameter)
    return {name: Path(path) for name, _, path in pairs}


_stages = click.argument("stages", metavar="STAGE=FILE...", nargs=-1, required=True, callback=_named)


@command.command("qc")
@file_option("--output", "Verdicts (JSON).")
@_stages
def qc_command(output: Path, stages: dict[str, Path]) -> None:
    """Write a calibration's verdicts; print what did not pass."""
    from planeloc.reporting.verdicts import write_verdicts

    click.echo(write_verdicts(output, stages))


@command.command("quality")
@file_option("--output", "Page (HTML), in the folder of the sample.")
@_stages
def quality_command(output: Path, stages: dict[str, Path]) -> None:
    """Write all quality values that concern a sample onto one page."""
    from planeloc.reporting.quality_page import write_quality_page

    click.echo(f"quality: {write_quality_page(output, stages)}")


@command.command("summary")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("report", type=click.Path(path_type=Path))
def summary_command(folder: Path, report: Path) -> None:
    """Print the metrics of a sample and its files.

    FOLDER holds the files of the sample; REPORT is the report of the run.
    """
    from planeloc.reporting.summary import summary

    if not (folder / "evaluation.json").is_file():
        raise PlanelocError(f"{folder}: holds no evaluation.json; run evaluate first")
    click.echo(summary(folder, report))
