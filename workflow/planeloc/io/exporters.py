"""Exporters: one module per table format of another program, found by name. The way back: `planeloc.io.importers`.

To add a format, write one module with the attributes of `Exporter` and list it in the entry-point group
``planeloc.exporters`` of your package. ``filter: exports`` and ``planeloc filter --export NAME=PATH`` then accept it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from planeloc.core.errors import PlanelocError
from planeloc.core.marks import Kind, refuse_foreign
from planeloc.core.registry import Registry


class Exporter(Protocol):
    """What a module or object must have to be an exporter."""

    name: str  # in the setting `exports` and on the command line
    endings: tuple[str, ...]  # of the files that it writes; the first is that of the given path: (".csv",)
    kinds: tuple[Kind, ...]  # how its files are recognised, in the same order; without it, no file is ever replaced

    def write(self, table: pd.DataFrame, metadata: Mapping[str, Any], path: Path) -> None:
        """Write a table of localizations (`planeloc.io.localization_table.COLUMNS`) and its metadata to `path`."""


EXPORTERS = Registry(
    "exporter",
    "planeloc.exporters",
    {
        "picasso": "planeloc.io.picasso",
        "thunderstorm": "planeloc.io.thunderstorm",
        "smap": "planeloc.io.smap",
        "parquet": "planeloc.io.parquet",
    },
)


def parse_export(text: str) -> tuple[str, Path]:
    """Exporter and file of ``NAME=PATH``.

    Raises
    ------
    PlanelocError : name or file name is not accepted, or another file would be lost.
    """
    name, separator, path = text.partition("=")
    if not separator or not path:
        raise PlanelocError(f"--export {text}: write NAME=PATH, where NAME is one of {', '.join(EXPORTERS.names())}")
    exporter = EXPORTERS.load(name)
    ending = exporter.endings[0]
    if not path.endswith(ending):
        raise PlanelocError(f"--export {text}: {name} reads files called *{ending}; rename {path}")
    unknown = Kind(f"a file of the exporter {name}", (b"no file has this mark",))
    kinds = getattr(exporter, "kinds", (unknown,) * len(exporter.endings))
    for other, kind in zip(exporter.endings, kinds, strict=True):
        refuse_foreign(path.removesuffix(ending) + other, kind)
    return name, Path(path)
