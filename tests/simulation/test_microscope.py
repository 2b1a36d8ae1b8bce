"""The simulated microscope images emitters as the settings and the physics say."""

import numpy as np
import pytest

from planeloc.cameras.camera import Camera
from planeloc.simulation.microscope import (
    build_microscope,
    camera_transform,
)
from planeloc.simulation.scenes import SimulatedScene
from planeloc.simulation.settings import AffineSettings, read_settings
from support.acquisitions import write_settings
from support.bead_stacks import centroid_px


def microscope_without_background(tmp_path, **changes):
    settings = read_settings(write_settings(tmp_path, background_photons=0, **changes))
    return settings, build_microscope(settings)


def one_emitter(x_nm: float, y_nm: float, z_nm: float, photons: float = 1000.0) -> SimulatedScene:
    return SimulatedScene(np.zeros(1, np.int64), np.array([[x_nm, y_nm, z_nm]]), np.array([photons]))


def test_photons_are_conserved_over_the_planes(tmp_path):
    _, microscope = microscope_without_background(tmp_path)
    for z in (-700.0, 0.0, 650.0):
        expected = microscope.expected(one_emitter(3900, 3500, z), 0, 1, None)
        assert expected.sum() == pytest.approx(1000, rel=2e-3)


def test_brightness_of_the_cameras_sums_to_all_photons(tmp_path):
    _, microscope = microscope_without_background(tmp_path)
    shares = microscope.expected(one_emitter(3900, 3500, 0.0), 0, 1, None).sum(axis=(0, 2, 3)) / 1000
    assert shares == pytest.approx(np.array([1, 1.05, 0.95, 1]) / 4, rel=2e-3)


def test_cameras_see_the_emitter_where_their_transforms_say_and_one_is_mirrored(tmp_path):
    settings, microscope = microscope_without_background(tmp_path)
    x_px, y_px = 15.3, 16.8
    expected = microscope.expected(one_emitter(192 * x_px, 192 * y_px, 0.0), 0, 1, None)[0]
    for image, to_camera in zip(expected, microscope.transforms, strict=True):
        assert centroid_px(image) == pytest.approx(to_camera((x_px, y_px)), abs=0.01)
    assert [m.mirrored for m in microscope.transforms] == [False, False, True, False]
    shift = settings.cameras[2].view.shift_px
    assert centroid_px(expected[2]) == pytest.approx((40 - x_px + shift[0], y_px + shift[1]), abs=0.15)


def test_drift_displaces_the_image_in_reference_nm(tmp_path):
    _, microscope = microscope_without_background(tmp_path)
    scene = one_emitter(3000, 3000, 0.0)
    drift = np.zeros((1, 4, 2))
    drift[0, 1:] = (48.0, -24.0)
    still, moved = (microscope.expected(scene, 0, 1, d)[0] for d in (None, drift))
    for plane, to_camera in enumerate(microscope.transforms):
        step = centroid_px(moved[plane]) - centroid_px(still[plane])
        assert step == pytest.approx(to_camera.matrix @ drift[0, plane] / 192, abs=2e-3)


def test_width_follows_the_paper(tmp_path):
    """Integrated over the pixel, w0 = 121 nm becomes the 133 nm of the paper's Table 1."""
    settings, microscope = microscope_without_background(tmp_path)
    image = microscope.expected(one_emitter(3900, 3500, settings.cameras[0].focus_nm), 0, 1, None)[0, 0]
    columns = (np.arange(40) + 0.5) * 192
    variance = (image.sum(axis=0) * (columns - 3900) ** 2).sum() / image.sum()
    assert np.sqrt(variance) == pytest.approx(133.1, abs=1.0)


@pytest.mark.parametrize("gain", [1.0, 300.0])
def test_background_and_noise_are_what_the_camera_says(tmp_path, gain):
    """Photon transfer: mean and variance of an image without emitters."""
    settings = read_settings(write_settings(tmp_path, background_photons=20, sensor={"em_gain": gain}))
    microscope = build_microscope(settings)
    dark = SimulatedScene(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    expected = microscope.expected(dark, 0, 300, None)
    assert expected[:, 0].mean() == pytest.approx(20 * 4 / 4, rel=0.01)
    camera: Camera = microscope.cameras[2]
    counts = camera.expose(expected[:, 2], np.random.default_rng(0))
    photons = camera.photons(counts)
    assert photons.mean() == pytest.approx(expected[:, 2].mean(), rel=0.02)
    shot = expected[:, 2].mean() * (1.0 if gain == 1 else 2.0)
    quantization = camera.photons_per_count**2 / 12
    variance = shot + camera.read_noise_photons() ** 2 + quantization
    assert photons.var(axis=0).mean() == pytest.approx(variance, rel=0.03)


def test_background_has_a_gentle_slope_that_follows_the_sample(tmp_path):
    settings = read_settings(write_settings(tmp_path, background_photons=10, background_gradient=0.4))
    background = build_microscope(settings).background
    assert background[0, -1, -1] / background[0, 0, 0] == pytest.approx(1.2 / 0.8, rel=0.05)
    assert background[2, -1, 0] > background[2, 0, -1]  # the mirrored camera


def test_stretch_and_turn_are_small_numbers_of_the_right_size(tmp_path):
    """0.001 rad over 20 px is 0.02 px; 1 ‰ likewise."""
    turned = camera_transform(AffineSettings(rotation_mrad=1.0), (40, 40))
    assert turned((40.0, 20.0)) == pytest.approx((40.0, 20.02), abs=1e-4)
    stretched = camera_transform(AffineSettings(stretch_permille=(1.0, 0.0)), (40, 40))
    assert stretched((40.0, 20.0)) == pytest.approx((40.02, 20.0), abs=1e-9)
