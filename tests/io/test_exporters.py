"""An exporter is one new module and an entry point, in any package."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from planeloc.cli.filter import command
from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.io.exporters import EXPORTERS, parse_export
from support.exported_tables import METADATA, table
from support.plugins import install

TOY = """
name, endings = "toy", (".xyz",)

def write(table, metadata, path):
    path.write_text("".join(f"{x:.0f} {y:.0f}\\n" for x, y in table[["x", "y"]].to_numpy()))
"""


def test_a_toy_exporter_from_outside_writes_the_filtered_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, "planeloc.exporters", "toy", TOY)
    assert EXPORTERS.names() == ["picasso", "thunderstorm", "smap", "parquet", "toy"]
    localization_table.write(tmp_path / "in.h5", table(), METADATA)
    names = {"localizations": "in.h5", "output": "out.h5"}
    arguments = [f"--{option}={tmp_path / name}" for option, name in names.items()]
    arguments += [f"--export=toy={tmp_path / 'out.xyz'}", f"--export=thunderstorm={tmp_path / 'out.csv'}"]
    arguments += [f"--provenance={tmp_path / 'run.json'}"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "out.xyz").read_text().count("\n") == len(table())
    assert (tmp_path / "out.csv").read_text().count("\n") == len(table()) + 1
    assert "out.xyz" in (tmp_path / "run.json").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("csv", "write NAME=PATH, where NAME is one of picasso, thunderstorm, smap, parquet"),
        ("matlab=a.mat", "'matlab' is not known; use one of picasso, thunderstorm, smap, parquet, or install"),
        ("picasso=a.csv", r"picasso reads files called \*\.hdf5; rename a\.csv"),
    ],
)
def test_a_wrong_export_is_one_line(text: str, message: str) -> None:
    with pytest.raises(PlanelocError, match=message) as caught:
        parse_export(text)
    assert "\n" not in str(caught.value)


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, "planeloc.exporters", "broken", "import no_such_library\n")
    with pytest.raises(PlanelocError, match=r"toy_broken cannot be loaded \(No module named 'no_such"):
        EXPORTERS.load("broken")
    assert EXPORTERS.load("picasso").name == "picasso"
