"""`planeloc import`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from planeloc.cli.options import PROVENANCE, File, StageCommand, output
from planeloc.core import marks
from planeloc.core.provenance import write_provenance
from planeloc.io.importers import IMPORTERS, format_of, import_table

_LOG = logging.getLogger(__name__)


@click.command("import", cls=StageCommand)
@click.argument("file", type=click.Path(path_type=Path))
@File("--like", "A planeloc table of the same movie, which gives the metadata.", required=False)
@output("--output", "Localization table (HDF5).", marks.table("import"))
@PROVENANCE
@click.option("--format", "name", metavar="NAME", help=f"One of {', '.join(IMPORTERS.names())}; else by the file name.")
@click.option("--pixel-size-nm", type=click.FloatRange(min=0, min_open=True), metavar="nm", help="Camera pixel in the "
              "sample, where no file states it.")  # fmt: skip
def command(
    file: Path, like: Path | None, output: Path, provenance: Path | None, name: str | None, pixel_size_nm: float | None
) -> None:
    """Read a table of localizations that another program wrote or changed."""
    name = name or format_of(file)
    rows = import_table(file, name, output, like, pixel_size_nm)
    _LOG.info(f"{output}: {rows:,} localizations")
    if provenance:
        settings = {"format": name, "pixel_size_nm": pixel_size_nm}
        write_provenance(provenance, "import", settings, [file, *([like] if like else [])], [output])
