"""Tables for other programs, read back and compared with real tables of theirs."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from planeloc.core.errors import PlanelocError
from planeloc.io import exports, localization_table

METADATA = {
    "frames": 20,
    "width_px": 64,
    "height_px": 48,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
}
TOL_NM = 1e-3


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(1)
    rows = 50
    return localization_table.empty().reindex(range(rows)).assign(
        frame=np.sort(random.integers(0, 20, rows)),
        x=random.uniform(100, 6400, rows),
        y=random.uniform(100, 4800, rows),
        z=random.uniform(-800, 800, rows),
        photons=random.uniform(500, 5000, rows),
        background=4.0,
        probability=0.9,
        x_sd=8.0,
        y_sd=8.0,
        z_sd=20.0,
    )  # fmt: skip


def real_tables() -> Path:
    folder = os.environ.get("PLANELOC_TEST_DATA")
    if not folder:
        pytest.skip("PLANELOC_TEST_DATA is not set")
    return Path(folder) / "tables"


def test_picasso_round_trip(tmp_path, table):
    exports.write_picasso(tmp_path / "a.hdf5", table, METADATA)
    back, sizes = exports.read_picasso(tmp_path / "a.hdf5")
    assert sizes == {key: METADATA[key] for key in ("frames", "width_px", "height_px", "pixel_size_nm")}
    columns = [name for name in table.columns if name != "probability"]
    np.testing.assert_allclose(back[columns], table[columns], atol=TOL_NM, rtol=1e-6)
    assert back["probability"].isna().all()


def test_picasso_counts_pixels_from_their_centres(tmp_path, table):
    exports.write_picasso(tmp_path / "a.hdf5", table.assign(x=50.0, y=150.0), METADATA)
    with h5py.File(tmp_path / "a.hdf5") as file:
        rows, inside = file["locs"][:], json.loads(file["metadata"].asstr()[()])
    assert rows.dtype == np.dtype(list(exports.PICASSO_COLUMNS.items()))
    np.testing.assert_allclose(rows["x"], 0.0)
    np.testing.assert_allclose(rows["y"], 1.0)
    sidecar = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert inside == [sidecar]
    assert (sidecar["Width"], sidecar["Height"], sidecar["Frames"], sidecar["Pixelsize"]) == (64, 48, 20, 100.0)


def test_unknown_values_stay_out_of_exports(tmp_path, table):
    unknown = table.assign(photons=np.nan, background=np.nan, x_sd=np.nan, y_sd=np.nan, z_sd=np.nan)
    exports.write_picasso(tmp_path / "a.hdf5", unknown, METADATA)
    exports.write_thunderstorm(tmp_path / "a.csv", unknown, METADATA)
    with h5py.File(tmp_path / "a.hdf5") as file:
        rows = file["locs"][:]
    assert all(np.isfinite(rows[name]).all() for name in rows.dtype.names)
    np.testing.assert_allclose(rows["lpx"], 0.25)
    assert "nan" not in (tmp_path / "a.csv").read_text()


def test_thunderstorm_round_trip(tmp_path, table):
    exports.write_thunderstorm(tmp_path / "a.csv", table, METADATA)
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert header == (
        '"id","frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]",'
        '"offset [photon]","bkgstd [photon]","uncertainty_xy [nm]"'
    )
    assert pd.read_csv(tmp_path / "a.csv")["frame"].min() == table["frame"].min() + 1
    back = exports.read_thunderstorm(tmp_path / "a.csv")
    columns = ["frame", "x", "y", "z", "photons", "background", "x_sd", "y_sd"]
    np.testing.assert_allclose(back[columns], table[columns], atol=TOL_NM)


def test_empty_tables(tmp_path):
    exports.write_picasso(tmp_path / "a.hdf5", localization_table.empty(), METADATA)
    exports.write_thunderstorm(tmp_path / "a.csv", localization_table.empty(), METADATA)
    assert len(exports.read_picasso(tmp_path / "a.hdf5")[0]) == 0
    assert len(exports.read_thunderstorm(tmp_path / "a.csv")) == 0


def test_same_table_same_bytes(tmp_path, table):
    for name in "ab":
        exports.write_picasso(tmp_path / name / "t.hdf5", table, METADATA)
    assert (tmp_path / "a/t.hdf5").read_bytes() == (tmp_path / "b/t.hdf5").read_bytes()


def test_foreign_files_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("colour,size\n1,2\n")
    with pytest.raises(PlanelocError, match=r"a\.csv: not a ThunderSTORM"):
        exports.read_thunderstorm(tmp_path / "a.csv")
    with pytest.raises(PlanelocError, match="not a Picasso"):
        exports.read_picasso(tmp_path / "a.csv")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["locs"] = np.zeros(3, dtype=[("frame", "u4"), ("x", "f4"), ("y", "f4")])
    with pytest.raises(PlanelocError, match=r"b\.yaml: not found"):
        exports.read_picasso(tmp_path / "b.hdf5")


def test_missing_metadata_are_named(tmp_path, table):
    with pytest.raises(PlanelocError, match="voxel_nm"):
        exports.write_picasso(tmp_path / "a.hdf5", table, {**METADATA, "voxel_nm": None})
    assert list(tmp_path.iterdir()) == []


def test_a_real_picasso_table():
    table, sizes = exports.read_picasso(real_tables() / "raw_movie_locs.hdf5")
    assert (len(table), sizes["pixel_size_nm"], sizes["width_px"], sizes["frames"]) == (2399, 130.0, 32, 5000)
    assert table[["x", "y"]].to_numpy().max() < 32 * 130
    assert table["x"].iloc[0] == pytest.approx((25.577694 + 0.5) * 130, abs=0.01)
    assert table["z"].isna().all()


def test_a_real_thunderstorm_table_with_older_names():
    table = exports.read_thunderstorm(real_tables() / "locan_Thunderstorm_dstorm_data.csv")
    assert table["frame"].iloc[0] == 2000
    assert table["x"].iloc[0] == pytest.approx(1320.1096)
    assert table["x_sd"].iloc[0] == pytest.approx(22.93255)
    assert table["photons"].iloc[0] == pytest.approx(296.55844)
