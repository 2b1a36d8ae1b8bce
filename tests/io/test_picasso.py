"""Picasso tables are read back, and real ones are read."""

import json

import h5py
import numpy as np
import pytest
import yaml

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, picasso
from support.exported_tables import METADATA, TOL_NM, UNKNOWN, linked, real_tables, table


def test_round_trip(tmp_path):
    picasso.write(table(), METADATA, tmp_path / "a.hdf5")
    back, sizes = picasso.read(tmp_path / "a.hdf5")
    assert sizes == METADATA
    np.testing.assert_allclose(back, table(), atol=TOL_NM, rtol=1e-6)


def test_linked_rows_and_unknown_values_come_back(tmp_path):
    picasso.write(linked(), METADATA, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        rows = file["locs"][:]
    assert all(np.isfinite(rows[name]).all() for name in rows.dtype.names)  # Picasso drops other rows
    np.testing.assert_array_equal(rows["len"], linked()["last_frame"] - linked()["frame"] + 1)
    np.testing.assert_allclose(rows["bg"], linked()["background"] * linked()["frames"])  # Picasso's is the sum
    back, _ = picasso.read(tmp_path / "a.hdf5")
    np.testing.assert_allclose(back[list(linked())], linked(), atol=TOL_NM, rtol=1e-6)


def test_a_table_without_depths_stays_one(tmp_path):
    flat = table(z=np.nan, z_sd=np.nan)
    picasso.write(flat, METADATA, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert not {"z", "lpz"} & set(file["locs"].dtype.names)
    assert picasso.read(tmp_path / "a.hdf5")[0][["z", "z_sd"]].isna().all().all()


def test_pixels_count_from_their_centres(tmp_path):
    picasso.write(table(x=50.0, y=150.0), METADATA, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        rows, inside = file["locs"][:], json.loads(file["metadata"].asstr()[()])
    assert rows.dtype == np.dtype([*picasso.COLUMNS.items(), ("probability", "<f4")])
    np.testing.assert_allclose(rows["x"], 0.0)
    np.testing.assert_allclose(rows["y"], 1.0)
    sidecar = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert inside == [sidecar]
    assert (sidecar["Width"], sidecar["Height"], sidecar["Frames"], sidecar["Pixelsize"]) == (64, 48, 20, 100.0)


def test_unknown_values_are_replaced(tmp_path):
    picasso.write(table(**UNKNOWN), METADATA, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        rows = file["locs"][:]
    assert all(np.isfinite(rows[name]).all() for name in rows.dtype.names)
    np.testing.assert_allclose(rows["lpx"], 0.25)
    back, _ = picasso.read(tmp_path / "a.hdf5")
    assert back[list(UNKNOWN)].isna().all().all()


def test_an_empty_table(tmp_path):
    picasso.write(localization_table.empty(), METADATA, tmp_path / "a.hdf5")
    assert len(picasso.read(tmp_path / "a.hdf5")[0]) == 0


def test_same_table_same_bytes(tmp_path):
    for name in "ab":
        picasso.write(table(), METADATA, tmp_path / name / "t.hdf5")
    assert (tmp_path / "a/t.hdf5").read_bytes() == (tmp_path / "b/t.hdf5").read_bytes()


def test_foreign_files_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("colour,size\n1,2\n")
    with pytest.raises(PlanelocError, match="not a Picasso"):
        picasso.read(tmp_path / "a.csv")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["locs"] = np.zeros(3, dtype=[("frame", "u4"), ("x", "f4"), ("y", "f4")])
    with pytest.raises(PlanelocError, match=r"b\.yaml: not found"):
        picasso.read(tmp_path / "b.hdf5")


@pytest.mark.parametrize(
    "locs",
    [
        np.zeros(3),
        np.zeros((), dtype=[("frame", "u4"), ("x", "f4"), ("y", "f4")]),
        np.zeros(3, dtype=[("frame", "u4"), ("x", "f4", (2,)), ("y", "f4")]),
        np.zeros(3, dtype=[("frame", "u4"), ("x", "S4"), ("y", "f4")]),
        None,
    ],
)
def test_other_contents_are_one_line(tmp_path, locs):
    with h5py.File(tmp_path / "a b.hdf5", "w") as file:
        if locs is None:
            file.create_group("locs")
        else:
            file["locs"] = locs
    with pytest.raises(PlanelocError, match=r"a b\.hdf5: not a Picasso table") as caught:
        picasso.read(tmp_path / "a b.hdf5")
    assert "\n" not in str(caught.value)


def test_python_objects_in_the_yaml_are_never_made(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["locs"] = np.zeros(1, dtype=[("frame", "u4"), ("x", "f4"), ("y", "f4")])
    trap = f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    sizes = "Width: 4\nHeight: 4\nFrames: 2\n"
    (tmp_path / "a.yaml").write_text(f"{sizes}Trap: {trap}\n---\nPixelsize: 100\nPair: !!python/tuple [1, 2]\n")
    rows, said = picasso.read(tmp_path / "a.hdf5")
    assert rows["x"].tolist() == [50.0] and said["frames"] == 2
    assert not (tmp_path / "made").exists()


def test_missing_metadata_are_named(tmp_path):
    with pytest.raises(PlanelocError, match="voxel_nm"):
        picasso.write(table(), {**METADATA, "voxel_nm": None}, tmp_path / "a.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_a_real_table():
    real, sizes = picasso.read(real_tables() / "raw_movie_locs.hdf5")
    assert (len(real), sizes["pixel_size_nm"], sizes["width_px"], sizes["frames"]) == (2399, 130.0, 32, 5000)
    assert real[["x", "y"]].to_numpy().max() < 32 * 130
    assert real["x"].iloc[0] == pytest.approx((25.577694 + 0.5) * 130, abs=0.01)
    assert real["z"].isna().all()
