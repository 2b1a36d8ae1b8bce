"""The table of localizations: what goes in comes out, and equal tables are equal files."""

import resource

import h5py
import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.io.localization_table import COLUMNS, LocalizationsWriter

METADATA = {"frames": 7, "pixel_size_nm": 100.0, "voxel_nm": [25.0, 25.0, 50.0]}


def some_table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    table = pd.DataFrame({name: random.uniform(0, 5000, rows) for name in COLUMNS})
    return table.assign(frame=np.sort(random.integers(0, 7, rows)), x_sd=np.nan)


def test_round_trip(tmp_path):
    table = some_table(1000)
    localization_table.write(tmp_path / "a.h5", table, METADATA)
    back, metadata = localization_table.read(tmp_path / "a.h5")
    assert metadata == METADATA
    assert list(back.columns) == list(COLUMNS)
    assert back["frame"].dtype == np.int64
    np.testing.assert_allclose(back.to_numpy(), table[list(COLUMNS)].to_numpy(), rtol=1e-6)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["localizations/x"].attrs["units"] == "nm"


@pytest.mark.parametrize("portion", [1 << 16, 50_000, 999, 200_000])
def test_bytes_do_not_depend_on_the_portions(tmp_path, portion):
    table = some_table(150_000)
    localization_table.write(tmp_path / "whole.h5", table, METADATA)
    with LocalizationsWriter(tmp_path / "portions.h5", METADATA) as writer:
        for start in range(0, len(table), portion):
            writer.append(table.iloc[start : start + portion])
    assert writer.rows == len(table)
    assert (tmp_path / "whole.h5").read_bytes() == (tmp_path / "portions.h5").read_bytes()


def test_empty_table(tmp_path):
    localization_table.write(tmp_path / "a.h5", localization_table.empty(), METADATA)
    table, _ = localization_table.read(tmp_path / "a.h5")
    assert len(table) == 0
    with LocalizationsWriter(tmp_path / "b.h5", METADATA):
        pass
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_added_columns_are_kept_in_their_order(tmp_path):
    table = some_table(30).assign(frames=3, goodness_of_fit=1.5, last_frame=9)
    localization_table.write(tmp_path / "a.h5", table, METADATA)
    back, _ = localization_table.read(tmp_path / "a.h5")
    assert list(back.columns) == [*COLUMNS, "goodness_of_fit", "last_frame", "frames"]
    assert back["frames"].dtype == np.int64 and (back["frames"] == 3).all() and (back["goodness_of_fit"] == 1.5).all()


def test_an_added_column_of_integers_must_be_given(tmp_path):
    with (
        pytest.raises(PlanelocError, match="last_frame"),
        LocalizationsWriter(tmp_path / "a.h5", METADATA, added=["last_frame"]) as writer,
    ):
        writer.append(some_table(3))


def test_missing_optional_columns_are_nan(tmp_path):
    localization_table.write(tmp_path / "a.h5", some_table(3)[["frame", "x", "y", "z"]], METADATA)
    table, _ = localization_table.read(tmp_path / "a.h5")
    assert table["photons"].isna().all()


def test_unknown_column_leaves_no_file(tmp_path):
    with pytest.raises(PlanelocError, match="colour"):
        localization_table.write(tmp_path / "a.h5", some_table(3).assign(colour=1), METADATA)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_leaves_what_was_there(tmp_path):
    localization_table.write(tmp_path / "a.h5", some_table(3), METADATA)
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(RuntimeError), LocalizationsWriter(tmp_path / "a.h5", METADATA) as writer:
        writer.append(some_table(5))
        raise RuntimeError
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk: the same failed write, without a disk to fill."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            localization_table.write(tmp_path / "a.h5", some_table(70_000), METADATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_ours(tmp_path):
    (tmp_path / "text.h5").write_text("frame,x\n")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["locs"] = 1
    for name, message in (("none.h5", "no such file"), ("text.h5", "not a readable"), ("other.h5", "not a planeloc")):
        with pytest.raises(PlanelocError, match=message):
            localization_table.read(tmp_path / name)


def test_a_damaged_column_is_an_error(tmp_path):
    localization_table.write(tmp_path / "a.h5", some_table(1000), METADATA)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    with h5py.File(tmp_path / "a.h5") as file:
        offset = file["localizations/x"].id.get_chunk_info(0).byte_offset
    content[offset + 100] ^= 0xFF
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(PlanelocError, match="not a readable"):
        localization_table.read(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["a.csv", "a.hdf5", "picasso.h5", "a.mat"])
def test_a_table_of_another_program_is_to_be_imported(tmp_path, name):
    path = tmp_path / name
    if path.suffix in (".hdf5", ".h5"):
        with h5py.File(path, "w") as file:
            file["locs"] = np.zeros(3)
    else:
        path.write_text("frame,x [nm]\n1,2\n")
    with pytest.raises(PlanelocError, match=r"not a planeloc localization table; .*`planeloc import .*"):
        localization_table.read(path)
