"""Parquet tables are read back; without pyarrow, one line says how to get it."""

import importlib.util

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, parquet
from support.exported_tables import METADATA, linked, table

needs_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")


@needs_pyarrow
def test_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 20)
    parquet.write(linked(), METADATA, tmp_path / "a b.parquet")
    back, said = parquet.read(tmp_path / "a b.parquet")
    assert said == METADATA and list(back) == list(linked())
    np.testing.assert_allclose(back, linked(), rtol=1e-7)


@needs_pyarrow
def test_units_are_in_the_schema(tmp_path):
    import pyarrow.parquet

    parquet.write(table(), METADATA, tmp_path / "a.parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "a.parquet")
    assert schema.field("x").metadata[b"units"] == b"nm"
    assert str(schema.field("frame").type) == "int32" and str(schema.field("x").type) == "float"


@needs_pyarrow
def test_an_empty_table(tmp_path):
    parquet.write(localization_table.empty(), METADATA, tmp_path / "a.parquet")
    assert len(parquet.read(tmp_path / "a.parquet")[0]) == 0


@needs_pyarrow
def test_foreign_and_damaged_files_are_one_line(tmp_path):
    import pyarrow.parquet

    parquet.write(table(), METADATA, tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.parquet").write_text("colour,size\n")
    for name, columns in {"other": {"a": [1]}, "words": {"frame": ["one"], "x": [1.0], "y": [1.0]}}.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}.parquet")
    for name in ("half", "text", "other", "words"):
        with pytest.raises(PlanelocError, match=rf"{name}\.parquet: not a Parquet table of localizations") as caught:
            parquet.read(tmp_path / f"{name}.parquet")
        assert "\n" not in str(caught.value)


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for act in (lambda: parquet.write(table(), METADATA, tmp_path / "a.parquet"), lambda: parquet.read("a.parquet")):
        with pytest.raises(PlanelocError, match=r"Parquet needs pyarrow .* install it: pip install 'pyarrow"):
            act()
    assert list(tmp_path.iterdir()) == []
