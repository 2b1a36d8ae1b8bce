"""The simulated acquisition: what is on disk is what the settings and the physics say."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from planeloc.cameras.microscope import read_microscope
from planeloc.core.errors import PlanelocError
from planeloc.simulation.microscope import (
    lamp_illumination,
)
from planeloc.simulation.settings import read_settings
from planeloc.simulation.simulate import simulate
from support.acquisitions import write_settings
from support.bead_stacks import gaussian_stack


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("acquisition")
    simulate(write_settings(folder), folder / "raw")
    return folder / "raw"


def test_files_read_back_with_axes_scale_and_camera_names(acquisition):
    microscope = read_microscope(acquisition / "microscope.yaml")
    assert microscope.planes == 4
    assert microscope.cameras[2].offset_counts == 104
    for plane in range(4):
        with tifffile.TiffFile(acquisition / f"movie_camera{plane}.ome.tif") as movie:
            assert movie.series[0].axes == "TYX"
            assert movie.series[0].shape == (40, 36, 40)
            assert movie.series[0].dtype == np.uint16
            assert 'PhysicalSizeX="0.192"' in movie.ome_metadata
            assert f'Name="camera {plane}"' in movie.ome_metadata
        with tifffile.TiffFile(acquisition / f"beads_camera{plane}.ome.tif") as beads:
            assert beads.series[0].axes == "ZYX"
            assert beads.series[0].shape == (7, 36, 40)
            assert 'PhysicalSizeZ="0.1"' in beads.ome_metadata


def test_truth_is_where_the_light_is(acquisition):
    truth = pd.read_csv(acquisition / "truth.csv")
    assert list(truth) == ["frame", "x_nm", "y_nm", "z_nm", "photons"]
    assert truth.photons.min() >= 100
    assert truth.frame.between(0, 39).all()
    assert truth.frame.is_monotonic_increasing
    movie = tifffile.imread(acquisition / "movie_camera0.ome.tif").astype(float)
    bright = truth[(truth.photons > 2500) & (truth.z_nm < -300)]  # near the reference camera's focus
    assert len(bright) > 10
    light = movie[bright.frame, (bright.y_nm // 192).astype(int), (bright.x_nm // 192).astype(int)]
    assert np.median(light) > 100 + 5 * movie.std()


def test_a_moved_sample_is_imaged_where_it_is_and_listed_at_its_mean_position(acquisition, tmp_path):
    """The same dyes are listed; the light has moved by whole pixels, there and back."""
    path = write_settings(tmp_path, sample_drift={"distance_nm": [4 * 192, 0, 0]}, inter_camera_drift={"largest_nm": 0})
    simulate(path, tmp_path / "raw")
    simulate(path, tmp_path / "raw")  # an earlier one is known by its files
    still, moved = (pd.read_csv(folder / "truth.csv") for folder in (acquisition, tmp_path / "raw"))
    assert still.equals(moved)
    drift = pd.read_csv(tmp_path / "raw" / "sample_drift.csv")
    assert list(drift) == ["frame", "x_nm", "y_nm", "z_nm"] and len(drift) == 40
    assert not (acquisition / "sample_drift.csv").exists()
    movie = tifffile.imread(tmp_path / "raw" / "movie_camera0.ome.tif").astype(float)
    bright = moved[(moved.photons > 2500) & (moved.z_nm < -300)]
    column = bright.x_nm + drift.x_nm.to_numpy()[bright.frame]
    far = np.abs(drift.x_nm.to_numpy()[bright.frame]) > 1.5 * 192
    light = movie[bright.frame, (bright.y_nm // 192).astype(int), (column // 192).astype(int)]
    beside = movie[bright.frame, (bright.y_nm // 192).astype(int), (bright.x_nm // 192).astype(int)]
    assert far.sum() > 5
    assert np.median(light[far]) > 100 + 5 * movie.std() > np.median(beside[far])


@pytest.mark.parametrize("gain", [1, 200])
def test_movies_of_the_cameras_are_written_if_asked_for(tmp_path, gain):
    """In the dark the offset and the read noise, in light the lamp; the data sheets are wrong as told."""
    movies = {"frames": 24, "photons": 1000, "sheet_offset_counts": 5, "sheet_gain": 1.25}
    sensor = {"electrons_per_count": 4, "read_noise_electrons": 12, "em_gain": gain}
    path = write_settings(tmp_path, frames=2, camera_movies=movies, sensor=sensor)
    simulate(path, tmp_path / "raw")
    simulate(path, tmp_path / "raw")  # an earlier one is known by its files
    lamp = lamp_illumination(read_settings(path))
    for plane, (epc, offset) in enumerate(((4, 100), (4, 100), (0.47, 104), (0.52, 98))):
        dark = tifffile.imread(tmp_path / "raw" / f"dark_camera{plane}.ome.tif").astype(float)
        bright = tifffile.imread(tmp_path / "raw" / f"bright_camera{plane}.ome.tif").astype(float)
        assert dark.shape == bright.shape == (24, 36, 40)
        assert dark.mean() == pytest.approx(offset, abs=0.3)
        assert dark.std() == pytest.approx(np.hypot(12 / epc, np.sqrt(1 / 12)), rel=0.02)
        assert bright.mean() - offset == pytest.approx(lamp[plane].mean() * gain / epc, rel=0.02)
        assert bright.max() < 65535
        without = tmp_path / "raw" / f"bright_without_em_camera{plane}.ome.tif"
        assert without.exists() == (gain > 1)
        if gain > 1:
            assert tifffile.imread(without).mean() - offset == pytest.approx(lamp[plane].mean() / epc, rel=0.02)
    declared = read_microscope(tmp_path / "raw" / "microscope.yaml").cameras[0]
    assert (declared.offset_counts, declared.electrons_per_count) == (105, 5)


def test_movies_of_the_cameras_change_nothing_else(tmp_path):
    for name, frames in (("without", 0), ("with", 4)):
        simulate(write_settings(tmp_path, frames=3, camera_movies={"frames": frames}), tmp_path / name)
    without, complete = folder_bytes(tmp_path / "without"), folder_bytes(tmp_path / "with")
    assert len(complete) == len(without) + 8
    assert all(complete[name] == without[name] for name in without if name != "simulation.json")


def folder_bytes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_same_seed_same_bytes_other_seed_other_movie(tmp_path):
    short = {"frames": 5, "beads": {"count": 2, "scan_range_nm": 100, "z_step_nm": 100}}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(write_settings(tmp_path, seed=seed, **short), tmp_path / name)
    a, b, c = (folder_bytes(tmp_path / name) for name in "abc")
    assert a == b
    assert a["movie_camera1.ome.tif"] != c["movie_camera1.ome.tif"]
    assert a["beads_camera1.ome.tif"] != c["beads_camera1.ome.tif"]


@pytest.mark.parametrize("depths", [(-185.0, 185.0), (-250.0, 0.0, 250.0)])
def test_two_and_three_planes(tmp_path, depths):
    cameras = [{"focus_nm": z} for z in depths]
    cameras[1]["view"] = {"mirrored": True}
    path = write_settings(tmp_path, cameras=cameras, frames=3, pixel_size_nm=120)
    simulate(path, tmp_path / "raw")
    assert len(list((tmp_path / "raw").glob("movie_camera*.ome.tif"))) == len(depths)
    assert read_microscope(tmp_path / "raw" / "microscope.yaml").planes == len(depths)


def test_an_earlier_simulation_is_replaced_but_nothing_else(tmp_path):
    path = write_settings(tmp_path, frames=2)
    simulate(path, tmp_path / "raw")
    simulate(path, tmp_path / "raw")
    (tmp_path / "precious").mkdir()
    whys = {"precious": "is not an acquisition", "raw": r"holds thesis\.tex"}
    for folder, why in whys.items():  # a note among the simulated files is precious, too
        note = tmp_path / folder / "thesis.tex"
        note.write_text("…", encoding="utf-8")
        with pytest.raises(PlanelocError, match=f"{folder}: {why}"):
            simulate(path, tmp_path / folder)
        assert note.exists()
    assert not list(tmp_path.glob(".partial*"))


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("planeloc.simulation.simulate._write_ground_truth", fail)
    with pytest.raises(RuntimeError):
        simulate(write_settings(tmp_path, frames=2), tmp_path / "raw")
    assert [p.name for p in tmp_path.iterdir()] == ["simulation.yaml"]


def test_too_many_beads_is_an_error(tmp_path):
    path = write_settings(tmp_path, beads={"count": 40, "apart_px": 30})
    with pytest.raises(PlanelocError, match="40 beads"):
        simulate(path, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_settings_are_recorded(acquisition):
    record = json.loads((acquisition / "simulation.json").read_text(encoding="utf-8"))
    assert record["settings"]["seed"] == 9
    assert record["maps"][0] == {"matrix": [[1, 0], [0, 1]], "shift_px": [0, 0]}
    assert np.linalg.det(record["maps"][2]["matrix"]) < 0


def test_stack_model_runs_from_a_file_next_to_the_settings(tmp_path):
    tifffile.imwrite(tmp_path / "bead.tif", gaussian_stack())
    psf = {"model": "stack", "file": "bead.tif", "pixel_size_nm": 65, "z_step_nm": 100, "offset_counts": 100}
    simulate(write_settings(tmp_path, psf=psf, frames=3), tmp_path / "raw")
    assert (tmp_path / "raw" / "movie_camera3.ome.tif").is_file()
    path = write_settings(tmp_path, psf=psf, frames=3, beads={"scan_range_nm": 2000})
    with pytest.raises(PlanelocError, match=r"bead\.tif: covers a defocus of .* lower beads: scan_range_nm"):
        simulate(path, tmp_path / "other")


def test_bad_bead_stacks_are_named(tmp_path):
    psf = {"model": "stack", "file": "bead.tif"}
    path = write_settings(tmp_path, psf=psf)
    with pytest.raises(PlanelocError, match=r"bead\.tif: bead scan not found"):
        simulate(path, tmp_path / "raw")
    (tmp_path / "bead.tif").write_text("not a TIFF", encoding="utf-8")
    with pytest.raises(PlanelocError, match=r"bead\.tif: cannot be read"):
        simulate(path, tmp_path / "raw")
    tifffile.imwrite(tmp_path / "bead.tif", np.zeros((9, 9), np.uint16))
    with pytest.raises(PlanelocError, match=r"bead\.tif: shape \(9, 9\)"):
        simulate(path, tmp_path / "raw")
