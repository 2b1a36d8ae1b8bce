"""Exports are replaced by later ones of the same exporter, and by nothing else."""

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io.exporters import EXPORTERS, parse_export
from support.exported_tables import METADATA, table


@pytest.mark.parametrize("name", ["picasso", "thunderstorm", "smap", "parquet"])
@pytest.mark.parametrize("columns", [{}, {"probability": float("nan")}])
def test_an_export_is_replaced_by_the_next(name, columns, tmp_path):
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    exporter = EXPORTERS.load(name)
    path = tmp_path / f"a{exporter.endings[0]}"
    for rows in (50, 0, 50):
        exporter.write(table(**columns).iloc[:rows], METADATA, path)
        assert parse_export(f"{name}={path}") == (name, path)


def test_a_table_that_thunderstorm_wrote_is_not_replaced(tmp_path):
    """The same columns in the same order: only planeloc's own tell the two apart."""
    path = tmp_path / "a.csv"
    EXPORTERS.load("thunderstorm").write(table(), METADATA, path)
    header = path.read_text().splitlines()[0]
    theirs = ",".join(header.split(",")[:12])
    assert header.startswith(theirs) and theirs.endswith('"uncertainty_z [nm]"')
    path.write_text(f"{theirs}\n" + ",".join("1" * 12) + "\n")
    with pytest.raises(PlanelocError, match="is not a table for ThunderSTORM that planeloc made"):
        parse_export(f"thunderstorm={path}")


def test_an_exporter_that_says_nothing_of_its_files_replaces_none(tmp_path, monkeypatch):
    class Toy:
        name, endings = "toy", (".xyz",)

    monkeypatch.setattr(type(EXPORTERS), "load", lambda *_: Toy)
    assert parse_export(f"toy={tmp_path / 'a.xyz'}")
    (tmp_path / "a.xyz").write_text("1 2 3")
    with pytest.raises(PlanelocError, match="would be lost"):
        parse_export(f"toy={tmp_path / 'a.xyz'}")
