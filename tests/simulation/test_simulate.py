"""The simulated acquisition: what is on disk is what the settings and the physics say."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import read_microscope
from planeloc.core.errors import PlanelocError
from planeloc.simulation.config import AffineSettings, read_settings
from planeloc.simulation.imaging import MeasuredPSF
from planeloc.simulation.simulate import (
    Scene,
    bead_scene,
    build_instrument,
    camera_drift,
    camera_map,
    lamp_light,
    scan_positions,
    simulate,
)
from support.acquisitions import write_settings

TOL_WIDTH_NM = 8.0


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def data_folder() -> Path:
    if not os.environ.get("PLANELOC_TEST_DATA"):
        pytest.skip("PLANELOC_TEST_DATA is not set: no real data")
    return Path(os.environ["PLANELOC_TEST_DATA"])


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("acquisition")
    simulate(write_settings(folder), folder / "raw")
    return folder / "raw"


def still_instrument(tmp_path, **changes):
    settings = read_settings(write_settings(tmp_path, background_photons=0, **changes))
    return settings, build_instrument(settings)


def one_emitter(x_nm: float, y_nm: float, z_nm: float, photons: float = 1000.0) -> Scene:
    return Scene(np.zeros(1, np.int64), np.array([[x_nm, y_nm, z_nm]]), np.array([photons]))


def centroid_px(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()


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


def test_photons_are_conserved_over_the_planes(tmp_path):
    _, instrument = still_instrument(tmp_path)
    for z in (-700.0, 0.0, 650.0):
        expected = instrument.expected(one_emitter(3900, 3500, z), 0, 1, None)
        assert expected.sum() == pytest.approx(1000, rel=2e-3)


def test_brightness_of_the_cameras_sums_to_all_photons(tmp_path):
    _, instrument = still_instrument(tmp_path)
    shares = instrument.expected(one_emitter(3900, 3500, 0.0), 0, 1, None).sum(axis=(0, 2, 3)) / 1000
    assert shares == pytest.approx(np.array([1, 1.05, 0.95, 1]) / 4, rel=2e-3)


def test_cameras_see_the_emitter_where_their_maps_say_and_one_is_mirrored(tmp_path):
    settings, instrument = still_instrument(tmp_path)
    x_px, y_px = 15.3, 16.8
    expected = instrument.expected(one_emitter(192 * x_px, 192 * y_px, 0.0), 0, 1, None)[0]
    for image, to_camera in zip(expected, instrument.maps, strict=True):
        assert centroid_px(image) == pytest.approx(to_camera((x_px, y_px)), abs=0.01)
    assert [m.mirrored for m in instrument.maps] == [False, False, True, False]
    shift = settings.cameras[2].view.shift_px
    assert centroid_px(expected[2]) == pytest.approx((40 - x_px + shift[0], y_px + shift[1]), abs=0.15)


def test_drift_displaces_the_image_in_reference_nm(tmp_path):
    _, instrument = still_instrument(tmp_path)
    scene = one_emitter(3000, 3000, 0.0)
    drift = np.zeros((1, 4, 2))
    drift[0, 1:] = (48.0, -24.0)
    still, moved = (instrument.expected(scene, 0, 1, d)[0] for d in (None, drift))
    for plane, to_camera in enumerate(instrument.maps):
        step = centroid_px(moved[plane]) - centroid_px(still[plane])
        assert step == pytest.approx(to_camera.matrix @ drift[0, plane] / 192, abs=2e-3)


@pytest.mark.parametrize("gain", [1, 200])
def test_movies_of_the_cameras_are_written_if_asked_for(tmp_path, gain):
    """In the dark the offset and the read noise, in light the lamp; the data sheets are wrong as told."""
    movies = {"frames": 24, "photons": 1000, "sheet_offset_counts": 5, "sheet_gain": 1.25}
    sensor = {"electrons_per_count": 4, "read_noise_electrons": 12, "em_gain": gain}
    path = write_settings(tmp_path, frames=2, camera_movies=movies, sensor=sensor)
    simulate(path, tmp_path / "raw")
    simulate(path, tmp_path / "raw")  # an earlier one is known by its files
    lamp = lamp_light(read_settings(path))
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


def test_drift_is_bounded_slow_and_leaves_the_reference_alone(tmp_path, rng):
    settings = read_settings(write_settings(tmp_path, frames=600))
    drift = camera_drift(settings, rng)
    assert drift.shape == (600, 4, 2)
    assert not drift[:, 0].any()
    assert not drift[0].any()
    farthest = np.abs(drift[:, 1:]).max(axis=0)
    assert np.all((farthest >= 24) & (farthest <= 48))
    assert np.abs(np.diff(drift, axis=0)).max() < 3  # nm per frame


def test_width_follows_the_paper(tmp_path):
    """Integrated over the pixel, w0 = 121 nm becomes the 133 nm of the paper's Table 1."""
    settings, instrument = still_instrument(tmp_path)
    image = instrument.expected(one_emitter(3900, 3500, settings.cameras[0].focus_nm), 0, 1, None)[0, 0]
    columns = (np.arange(40) + 0.5) * 192
    variance = (image.sum(axis=0) * (columns - 3900) ** 2).sum() / image.sum()
    assert np.sqrt(variance) == pytest.approx(133.1, abs=1.0)


@pytest.mark.parametrize("gain", [1.0, 300.0])
def test_background_and_noise_are_what_the_camera_says(tmp_path, gain):
    """Photon transfer: mean and variance of an image without emitters."""
    settings = read_settings(write_settings(tmp_path, background_photons=20, sensor={"em_gain": gain}))
    instrument = build_instrument(settings)
    dark = Scene(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    expected = instrument.expected(dark, 0, 300, None)
    assert expected[:, 0].mean() == pytest.approx(20 * 4 / 4, rel=0.01)
    camera: Camera = instrument.cameras[2]
    counts = camera.expose(expected[:, 2], np.random.default_rng(0))
    photons = camera.photons(counts)
    assert photons.mean() == pytest.approx(expected[:, 2].mean(), rel=0.02)
    shot = expected[:, 2].mean() * (1.0 if gain == 1 else 2.0)
    quantization = camera.photons_per_count**2 / 12
    variance = shot + camera.read_noise_photons() ** 2 + quantization
    assert photons.var(axis=0).mean() == pytest.approx(variance, rel=0.03)


def test_background_has_a_gentle_slope_that_follows_the_sample(tmp_path):
    settings = read_settings(write_settings(tmp_path, background_photons=10, background_gradient=0.4))
    background = build_instrument(settings).background
    assert background[0, -1, -1] / background[0, 0, 0] == pytest.approx(1.2 / 0.8, rel=0.05)
    assert background[2, -1, 0] > background[2, 0, -1]  # the mirrored camera


@pytest.mark.parametrize(("scan", "direction"), [("objective", -1), ("sample", 1)])
def test_bead_scan_moves_the_beads_as_documented(tmp_path, rng, scan, direction):
    settings = read_settings(write_settings(tmp_path, beads={"scan": scan}))
    scan_nm = scan_positions(settings)
    assert scan_nm.tolist() == [-300, -200, -100, 0, 100, 200, 300]
    beads = bead_scene(settings, scan_nm, rng)
    z = beads.positions_nm[:, 2].reshape(7, 4)
    assert np.diff(z, axis=0) == pytest.approx(np.full((6, 4), direction * 100.0))
    assert np.abs(z[3]).max() <= 10 * (1 + 2 * 3 / 40)  # the tilt, a little beyond the sensor too


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
    for folder in ("precious", "raw"):  # a note among the simulated files is precious, too
        note = tmp_path / folder / "thesis.tex"
        note.write_text("…", encoding="utf-8")
        with pytest.raises(PlanelocError, match=f"{folder}: holds other files"):
            simulate(path, tmp_path / folder)
        assert note.exists()
    assert not list(tmp_path.glob(".partial*"))


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("planeloc.simulation.simulate._write_truth", fail)
    with pytest.raises(RuntimeError):
        simulate(write_settings(tmp_path, frames=2), tmp_path / "raw")
    assert [p.name for p in tmp_path.iterdir()] == ["simulation.yaml"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": 3}, "unknown key 'frame'"),
        ({"frames": 0}, "frames: 0 is below its minimum"),
        ({"frames": "many"}, "frames is 'many', but must be a whole number"),
        ({"frames": True}, "frames is True"),
        ({"exposure_s": "1e-3"}, "exposure_s is '1e-3', but must be a finite number"),
        ({"blinking": {"mean_on": 1}}, "blinking: unknown key 'mean_on'"),
        ({"camera_movies": {"dimmest": 2}}, "camera_movies: setting dimmest: 2.0 is above its maximum"),
        ({"beads": {"scan": "up"}}, "beads: setting scan: 'up' is not one of objective, sample"),
        ({"sensor": {"gain": 1}}, ": sensor: unknown key 'gain'"),
        ({"sensor": None}, "sensor: expected keys and values"),
        ({"cameras": [{"focus_nm": 0}]}, "at least 2"),
        ({"cameras": [{"focus_nm": 0}, 7]}, r"cameras\[1\]: expected keys"),
        ({"cameras": [{"focus_nm": 100}, {"focus_nm": 200}]}, "opposite values"),
        ({"cameras": [{"view": {"mirrored": True}}, {}]}, "first camera is the reference"),
        ({"cameras": [{}, {"view": {"shift_px": [1]}}]}, r"cameras\[1\]: view: shift_px must be a list of 2"),
        ({"border_px": 20}, "leaves nothing of the field"),
        ({"psf": {"model": "stack"}}, "psf: file is missing"),
        ({"beads": {"photons_least": 1e9}}, "photons_least is above photons"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, message):
    path = write_settings(tmp_path, **changes)
    with pytest.raises(PlanelocError, match=message) as caught:
        read_settings(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unreadable_settings_are_named(tmp_path):
    with pytest.raises(PlanelocError, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("frames: [1", encoding="utf-8")
    with pytest.raises(PlanelocError, match="not valid YAML"):
        read_settings(broken)
    broken.write_text("", encoding="utf-8")
    with pytest.raises(PlanelocError, match="expected keys and values"):
        read_settings(broken)


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


# --- point spread function from a bead stack ---


def gaussian_stack(slices=41, size=31, step_nm=100.0, fine_nm=65.0, centre=(15.9, 15.2)):
    """A bead whose squared width is 120² (1 + (Δz/350)²), offset 100, in focus at slice 20.3."""
    at = np.arange(size) + 0.5
    stack = np.empty((slices, size, size))
    for i in range(slices):
        width = 120 * np.sqrt(1 + ((i - 20.3) * step_nm / 350) ** 2) / fine_nm
        profiles = [np.exp(-0.5 * ((at - c) / width) ** 2) / (width * np.sqrt(2 * np.pi)) for c in centre]
        stack[i] = 100 + 20 + 500_000 * np.outer(profiles[1], profiles[0])
    return np.rint(stack).astype(np.uint16)


def measured(stack, offset_counts, mirrored=(False, False)):
    return MeasuredPSF.from_stack(stack, offset_counts, 65.0, 100.0, 192.0, (-200.0, 200.0), (0.5, 0.5), mirrored)


def width_nm(image, centre_px, pixel_nm=192.0):
    """Width along x within 4 px of the centre, pixel integration taken off."""
    near = np.abs(np.arange(image.shape[1]) + 0.5 - centre_px[0]) < 4
    profile = image.sum(axis=0)[near]
    at = (np.arange(image.shape[1]) + 0.5)[near]
    middle = (profile * at).sum() / profile.sum()
    return pixel_nm * np.sqrt((profile * (at - middle) ** 2).sum() / profile.sum() - 1 / 12)


def test_measured_psf_keeps_focus_position_width_and_light():
    psf = measured(gaussian_stack(), 100.0)
    assert psf.focus_slice == pytest.approx(20.3, abs=0.15)
    assert psf.centre_px == pytest.approx((15.9, 15.2), abs=0.05)
    points = np.full((3, 2, 2), 10.37)
    images, corners = psf.windows(points, np.array([-200.0, 200.0, 0.0]), np.full(3, 1000.0))
    assert images.sum(axis=(2, 3)) == pytest.approx(np.full((3, 2), 500.0), rel=1e-3)
    at = points[0, 0] - corners[0, 0]
    assert centroid_px(images[0, 0]) == pytest.approx(at, abs=0.05)
    assert width_nm(images[0, 0], at) == pytest.approx(120, abs=TOL_WIDTH_NM)
    assert width_nm(images[2, 0], at) == pytest.approx(120 * np.sqrt(1 + (200 / 350) ** 2), abs=TOL_WIDTH_NM)


def test_measured_psf_defocus_runs_with_the_scan():
    """Slices above focus belong to Δz = d − z > 0 when the objective is scanned upwards."""
    stack = gaussian_stack()
    stack[27:, :, :8] += 3000  # a mark on one side of focus
    psf = measured(stack, 100.0)
    images, _ = psf.windows(np.full((2, 2, 2), 10.5), np.array([-1100.0, 700.0]), np.full(2, 1.0))
    marked = images[0, 0]  # Δz = −200 + 1100 = 900
    plain = images[1, 0]  # Δz = −200 − 700 = −900
    assert centroid_px(marked)[0] < centroid_px(plain)[0] - 0.5


def test_mirrored_camera_sees_the_measured_psf_mirrored():
    stack = gaussian_stack()
    stack[:, 10:20, 20:24] += 2000  # a lobe on the right
    images, _ = measured(stack, 100.0, (False, True)).windows(np.full((1, 2, 2), 10.5), np.zeros(1), np.ones(1))
    psf = measured(stack, 100.0)
    straight = dataclasses.replace(psf, plane_depths_nm=(200.0, 200.0))
    expected, _ = straight.windows(np.full((1, 2, 2), 10.5), np.zeros(1), np.ones(1))
    assert images[0, 1] == pytest.approx(expected[0, 0][:, ::-1], abs=1e-9)


def test_measured_psf_fades_smoothly_to_nothing():
    images, _ = measured(gaussian_stack(), 100.0).windows(np.full((1, 2, 2), 10.2), np.zeros(1), np.ones(1))
    assert images.min() >= 0
    rim = np.concatenate([images[0, 0, 0], images[0, 0, -1], images[0, 0, :, 0], images[0, 0, :, -1]])
    assert rim.max() < 1e-6


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
    with pytest.raises(PlanelocError, match=r"bead\.tif: bead stack not found"):
        simulate(path, tmp_path / "raw")
    (tmp_path / "bead.tif").write_text("not a TIFF", encoding="utf-8")
    with pytest.raises(PlanelocError, match=r"bead\.tif: cannot be read"):
        simulate(path, tmp_path / "raw")
    tifffile.imwrite(tmp_path / "bead.tif", np.zeros((9, 9), np.uint16))
    with pytest.raises(PlanelocError, match=r"bead\.tif: shape \(9, 9\)"):
        simulate(path, tmp_path / "raw")


def test_real_bead_in_focus_has_its_measured_width(data_folder):
    """The 180 nm bead's own Gaussian fit: w0 129 nm at 195 nm pixels, 116 nm at its own 65 nm ones."""
    stack = tifffile.imread(data_folder / "beads" / "bead180_oil.tif")
    psf = measured(stack, 104.2)
    assert psf.focus_slice == pytest.approx(21, abs=1.5)
    assert psf.defocus_range_nm[0] < -1900
    images, corners = psf.windows(np.full((1, 2, 2), 10.5), np.array([-200.0]), np.full(1, 1000.0))
    at = np.full(2, 10.5) - corners[0, 0]
    image = images[0, 0]
    assert centroid_px(image) == pytest.approx(at, abs=0.2)
    profile = image[int(at[1])]  # through the core: rings weigh little
    middle = int(at[0])
    ratio = profile[middle] / profile[[middle - 1, middle + 1]].mean()
    assert 192 / np.sqrt(2 * np.log(ratio)) == pytest.approx(129, abs=10)


def test_stretch_and_turn_are_small_numbers_of_the_right_size(tmp_path):
    """0.001 rad over 20 px is 0.02 px; 1 ‰ likewise."""
    turned = camera_map(AffineSettings(rotation_mrad=1.0), (40, 40))
    assert turned((40.0, 20.0)) == pytest.approx((40.0, 20.02), abs=1e-4)
    stretched = camera_map(AffineSettings(stretch_permille=(1.0, 0.0)), (40, 40))
    assert stretched((40.0, 20.0)) == pytest.approx((40.02, 20.0), abs=1e-9)
