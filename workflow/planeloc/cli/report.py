"""`planeloc report`: files for people, from the quality values of the stages."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import StageCommand, output
from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.reporting.quality_page import PageFiles, write_quality_page
from planeloc.reporting.summary import summary
from planeloc.reporting.verdicts import write_verdicts


@click.group("report")
def command() -> None:
    """Gather quality values: verdicts in one file, a page, a summary."""


def _named(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, Path]:
    """Files by the names before their equals signs."""
    files = {}
    for word in words:
        name, _, path = word.partition("=")
        if not path:
            raise click.BadParameter(f"{word!r} names no file; write STAGE=FILE", context, parameter)
        files[name] = Path(path)
    return files


_stages = click.argument("stages", metavar="STAGE=FILE...", nargs=-1, required=True, callback=_named)


@command.command("qc", cls=StageCommand)
@output("--output", "Verdicts (JSON).", marks.VERDICTS)
@_stages
def qc_command(output: Path, stages: dict[str, Path]) -> None:
    """Write a calibration's verdicts; print what did not pass."""
    click.echo(write_verdicts(output, stages))


@command.command("quality", cls=StageCommand)
@output("--output", "Page (HTML), in the folder of the sample.", marks.page("report"))
@output("--verdict", "The verdict for other programs (JSON).", marks.VERDICTS, required=False)
@_stages
def quality_command(output: Path, verdict: Path | None, stages: dict[str, Path]) -> None:
    """Write the quality page of a sample.

    STAGE=FILE is a file of quality values (JSON), or a table of localizations (HDF5) for the check of its network.
    figure:NAME=FILE is a figure (PNG), link:NAME=FILE a page beside this one, failed:STAGE=FILE the log of a stage that
    stopped.
    """
    files = {prefix: {} for prefix in ("", "figure", "link", "failed")}
    for name, path in stages.items():
        prefix, _, rest = name.rpartition(":")
        if prefix not in files:
            raise click.BadParameter(f"{name!r}: write STAGE, figure:NAME, link:NAME or failed:STAGE")
        files[prefix][rest] = path
    page = PageFiles(files[""], files["figure"], files["failed"], files["link"])
    said = write_quality_page(output, page, verdict)
    click.echo(f"{output.resolve().parent.name}: quality {said}; see {output}")


@command.command("summary")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("report", type=click.Path(path_type=Path))
def summary_command(folder: Path, report: Path) -> None:
    """Print the metrics of a sample and its files.

    FOLDER holds the files of the sample; REPORT is the report of the run.
    """
    if not (folder / "evaluation.json").is_file():
        raise PlanelocError(f"{folder}: holds no evaluation.json; run evaluate first")
    click.echo(summary(folder, report))
