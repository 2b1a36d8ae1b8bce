"""`planeloc import`: a table that another program wrote or changed becomes planeloc's."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.cli.import_ import command
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.io import localization_table, picasso, smap, thunderstorm
from planeloc.io.importers import IMPORTERS, format_of, import_table
from support.exported_tables import METADATA, linked, real_tables, table
from support.plugins import install

WHOLE = {**METADATA, "depth_range_nm": [-800.0, 800.0], "plane_depths_nm": [-600.0, 600.0]}
FORMATS = {"picasso": (picasso, "a.hdf5"), "thunderstorm": (thunderstorm, "a.csv"), "smap": (smap, "a_sml.mat")}


@pytest.mark.parametrize("name", FORMATS)
def test_out_and_back_by_the_command(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "names with spaces"
    module, file = FORMATS[name]
    module.write(linked(), WHOLE, folder / file)
    localization_table.write(tmp_path / "like.h5", table(), {**WHOLE, "threshold": 0.3})
    arguments = [str(folder / file), f"--like={tmp_path / 'like.h5'}", f"--output={folder / 'back.h5'}"]
    result = CliRunner().invoke(command, [*arguments, f"--provenance={tmp_path / 'run.json'}"], catch_exceptions=False)
    assert result.exit_code == 0
    back, metadata = localization_table.read(folder / "back.h5")
    np.testing.assert_allclose(back, linked(), atol=1.1e-3, rtol=1e-6)
    assert list(back) == list(linked())
    record = metadata.pop("import")
    assert metadata == {**WHOLE, "threshold": 0.3}
    assert (record["format"], record["file"], record["rows"]) == (name, file, 50)
    assert set(read_json(tmp_path / "run.json")["inputs"]) == {str(folder / file), str(tmp_path / "like.h5")}


def test_a_file_of_planeloc_needs_no_model(tmp_path: Path) -> None:
    for name in ("picasso", "smap"):
        module, file = FORMATS[name]
        module.write(table(), WHOLE, tmp_path / file)
        import_table(tmp_path / file, name, tmp_path / "back.h5")
        _, metadata = localization_table.read(tmp_path / "back.h5")
        assert {key: metadata[key] for key in WHOLE} == WHOLE


def test_a_foreign_file_gets_metadata_from_its_rows(tmp_path: Path) -> None:
    thunderstorm.write(table(), WHOLE, tmp_path / "a.csv")
    with pytest.raises(PlanelocError, match="states no pixel size; give --like"):
        import_table(tmp_path / "a.csv", "thunderstorm", tmp_path / "back.h5")
    import_table(tmp_path / "a.csv", "thunderstorm", tmp_path / "back.h5", pixel_size_nm=100.0)
    back, metadata = localization_table.read(tmp_path / "back.h5")
    low, high = metadata["depth_range_nm"]
    assert low <= back["z"].min() and back["z"].max() < high
    assert metadata["width_px"] * 100 >= back["x"].max() and metadata["frames"] == back["frame"].max() + 1


def test_rows_are_sorted_by_frame_and_otherwise_stay(tmp_path: Path) -> None:
    rows = table().sample(frac=1, random_state=1, ignore_index=True)
    picasso.write(rows, WHOLE, tmp_path / "a.hdf5")
    import_table(tmp_path / "a.hdf5", "picasso", tmp_path / "back.h5")
    expected = rows.sort_values("frame", kind="stable", ignore_index=True)
    np.testing.assert_allclose(localization_table.read(tmp_path / "back.h5")[0], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"pixel_size_nm": 65.0}, "its pixels are 100 nm, those of .* 65 nm"), ({"frames": 3}, "of a movie of 3 frames")],
)
def test_a_model_of_another_movie_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    picasso.write(table(), WHOLE, tmp_path / "a.hdf5")
    localization_table.write(tmp_path / "like.h5", table(), {**WHOLE, **changes})
    with pytest.raises(PlanelocError, match=message):
        import_table(tmp_path / "a.hdf5", "picasso", tmp_path / "back.h5", tmp_path / "like.h5")
    assert not (tmp_path / "back.h5").exists()


@pytest.mark.parametrize(("which", "value"), [(3, np.nan), (slice(None), np.nan), (3, np.inf)])
def test_rows_without_a_position_are_refused(tmp_path: Path, which: int | slice, value: float) -> None:
    picasso.write(table(), WHOLE, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        rows = file["locs"][:]
        rows["x"][which] = value
        file["locs"][:] = rows
    with pytest.raises(PlanelocError, match="rows without a position"):
        import_table(tmp_path / "a.hdf5", "picasso", tmp_path / "back.h5")


def test_a_toy_importer_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = """
import numpy as np
from planeloc.io import localization_table

name, endings = "toy", (".xyz",)

def read(path, pixel_size_nm=None):
    numbers = np.loadtxt(path, ndmin=2)
    table = localization_table.blank(len(numbers))
    table["frame"], table["x"], table["y"] = numbers.T
    return table, {"frames": 9}
"""
    install(tmp_path / "site", monkeypatch, "planeloc.importers", "toy", toy)
    (tmp_path / "a.xyz").write_text("1 10 20\n2 30 40\n")
    arguments = [str(tmp_path / "a.xyz"), "--format=toy", "--pixel-size-nm=100", f"--output={tmp_path / 'a.h5'}"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    back, metadata = localization_table.read(tmp_path / "a.h5")
    assert back["x"].tolist() == [10.0, 30.0] and metadata["frames"] == 9
    assert IMPORTERS.names()[-1] == "toy"


def test_the_name_says_the_format(tmp_path: Path) -> None:
    names = {"a.hdf5": "picasso", "A.CSV": "thunderstorm", "a_sml.mat": "smap", "a.parquet": "parquet"}
    assert {name: format_of(tmp_path / name) for name in names} == names
    with pytest.raises(PlanelocError, match="give --format picasso, thunderstorm, smap, parquet"):
        format_of(tmp_path / "a.xyz")


def test_real_tables(tmp_path: Path) -> None:
    rows = import_table(real_tables() / "raw_movie_locs.hdf5", "picasso", tmp_path / "a.h5")
    flat, metadata = localization_table.read(tmp_path / "a.h5")
    assert rows == len(flat) == 2399 and metadata["pixel_size_nm"] == 130
    assert (flat["z"] == 0).all() and flat["z_sd"].isna().all()  # it is of one plane
    older = real_tables() / "locan_Thunderstorm_dstorm_data.csv"
    assert import_table(older, "thunderstorm", tmp_path / "b.h5", pixel_size_nm=130.0) > 0


@given(data=st.binary(max_size=600), name=st.sampled_from([*FORMATS]), whole=st.booleans(), cut=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_one_line_or_a_table(tmp_path_factory, data, name, whole, cut) -> None:
    """Random bytes, and files with random bytes written over a part of them."""
    module, file = FORMATS[name]
    path = tmp_path_factory.mktemp("damaged") / file
    if whole:
        module.write(linked(), WHOLE, path)
        content = bytearray(path.read_bytes())
        start = int(cut * len(content))
        content[start : start + len(data)] = data
        path.write_bytes(content)
    else:
        path.write_bytes(data)
    try:
        module.read(path)
    except PlanelocError as error:
        assert "\n" not in str(error)
