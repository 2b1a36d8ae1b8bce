"""SMAP files are read back, by SciPy too; those of MATLAB 7.3 are read."""

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, matlab_5, other_programs, smap
from support.exported_tables import METADATA, TOL_NM, UNKNOWN, linked, table


def test_round_trip(tmp_path):
    smap.write(linked(), METADATA, tmp_path / "a b_sml.mat")
    back, said = smap.read(tmp_path / "a b_sml.mat")
    assert said == METADATA
    np.testing.assert_allclose(back[list(linked())], linked(), atol=TOL_NM, rtol=1e-6)


def test_what_smap_needs_is_there(tmp_path):
    smap.write(table(**UNKNOWN), METADATA, tmp_path / "a_sml.mat")
    content = loadmat(tmp_path / "a_sml.mat", squeeze_me=True, struct_as_record=False)
    assert content["fileformat"].name == "sml"
    loc, info = content["saveloc"].loc, content["saveloc"].file.info
    assert all(np.isfinite(getattr(loc, field)).all() for field in loc._fieldnames)
    assert (loc.locprecnm < 250).all()  # SMAP drops other rows
    assert (info.Width, info.Height, info.numberOfFrames) == (64, 48, 20)
    np.testing.assert_allclose(info.cam_pixelsize_um, 0.1)
    np.testing.assert_array_equal(loc.frame, table()["frame"] + 1)
    np.testing.assert_allclose(loc.xnm, table()["x"], rtol=1e-6)
    back, _ = smap.read(tmp_path / "a_sml.mat")
    assert back[list(UNKNOWN)].isna().all().all()


def test_equal_tables_give_equal_bytes_in_any_portions(tmp_path, monkeypatch):
    smap.write(linked(), METADATA, tmp_path / "a/t_sml.mat")
    monkeypatch.setattr(other_programs, "_ROWS_AT_ONCE", 7)
    smap.write(linked(), METADATA, tmp_path / "b/t_sml.mat")
    assert (tmp_path / "a/t_sml.mat").read_bytes() == (tmp_path / "b/t_sml.mat").read_bytes()


def test_an_empty_table(tmp_path):
    smap.write(localization_table.empty(), METADATA, tmp_path / "a_sml.mat")
    assert len(smap.read(tmp_path / "a_sml.mat")[0]) == 0


def test_a_table_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(smap, "_LARGEST_BYTES", 1000)
    with pytest.raises(PlanelocError, match="exceed the 2 GiB of a MATLAB file; export to parquet"):
        smap.write(table(), METADATA, tmp_path / "a_sml.mat")
    assert list(tmp_path.iterdir()) == []


def matlab_73(path, files=1):
    """A file as MATLAB 7.3 writes it: columns are rows of HDF5; the information of several files are references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        loc = file.create_group("saveloc/loc")
        loc["frame"], loc["xnm"], loc["ynm"] = np.array([[1.0, 3.0]]), np.array([[10.0, 20.0]]), np.array([[5.0, 6.0]])
        loc["locprecnm"] = np.array([[7.0, 8.0]], "f4")
        info = file.create_group("#refs#/a")
        info["cam_pixelsize_um"], info["Width"] = np.array([[0.1], [0.1]]), np.array([[64.0]])
        if files == 1:
            file["saveloc/file/info"] = info
        else:
            file["saveloc/file/info"] = np.array([[info.ref], [info.ref]], dtype=h5py.ref_dtype)


@pytest.mark.parametrize("files", [1, 2])
def test_matlab_7_3(tmp_path, files):
    matlab_73(tmp_path / "a_sml.mat", files)
    back, said = smap.read(tmp_path / "a_sml.mat")
    assert back["frame"].tolist() == [0, 2] and back["x"].tolist() == [10.0, 20.0]
    assert back["x_sd"].tolist() == back["y_sd"].tolist() == [7.0, 8.0]
    assert said == {"pixel_size_nm": 100.0, "width_px": 64}


def test_foreign_and_damaged_files_are_one_line(tmp_path):
    smap.write(table(), METADATA, tmp_path / "whole_sml.mat")
    whole = (tmp_path / "whole_sml.mat").read_bytes()
    (tmp_path / "half_sml.mat").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text_sml.mat").write_text("colour,size\n")
    (tmp_path / "empty_sml.mat").write_text("")
    savemat(tmp_path / "other_sml.mat", {"a": 1})
    savemat(tmp_path / "short_sml.mat", {"saveloc": {"loc": {"frame": [1, 2], "xnm": [1.0], "ynm": [1.0]}}})
    savemat(tmp_path / "words_sml.mat", {"saveloc": {"loc": {"frame": "one", "xnm": [1.0], "ynm": [1.0]}}})
    for name in ("half", "text", "empty", "other", "short", "words"):
        with pytest.raises(PlanelocError, match=rf"{name}_sml\.mat: not a localization file of SMAP") as caught:
            smap.read(tmp_path / f"{name}_sml.mat")
        assert "\n" not in str(caught.value)
    with pytest.raises(PlanelocError, match="no such file"):
        smap.read(tmp_path / "none_sml.mat")


def test_few_bytes_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    savemat(tmp_path / "t_sml.mat", {"saveloc": {"loc": {"xnm": np.zeros(500_000)}}}, do_compression=True)
    assert len(matlab_5.read_variables(tmp_path / "t_sml.mat", ["saveloc"])["saveloc"]["loc"]["xnm"]) == 500_000
    monkeypatch.setattr(matlab_5, "_ALWAYS_BYTES", 1_000_000)  # 4 MB in 4 kB
    with pytest.raises(ValueError, match="become more than 1000000"):
        matlab_5.read_variables(tmp_path / "t_sml.mat", ["saveloc"])


def test_a_compression_that_is_cut_short_is_refused(tmp_path):
    savemat(tmp_path / "t_sml.mat", {"x": np.random.default_rng(0).normal(size=1000)}, do_compression=True)
    content = bytearray((tmp_path / "t_sml.mat").read_bytes())[:-100]
    content[132:136] = (int.from_bytes(content[132:136], "little") - 100).to_bytes(4, "little")
    (tmp_path / "t_sml.mat").write_bytes(content)
    with pytest.raises(ValueError, match="cut short"):
        matlab_5.read_variables(tmp_path / "t_sml.mat", ["x"])
