"""The measured PSF keeps focus, position, width and photons of the bead."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc.psf.single_bead import SingleBeadPSF
from support.bead_stacks import centroid_px, gaussian_stack

TOL_WIDTH_NM = 8.0


@pytest.fixture
def data_folder() -> Path:
    if not os.environ.get("PLANELOC_TEST_DATA"):
        pytest.skip("PLANELOC_TEST_DATA is not set: no real data")
    return Path(os.environ["PLANELOC_TEST_DATA"])


def measured(stack, offset_counts, mirrored=(False, False)):
    return SingleBeadPSF.from_stack(stack, offset_counts, 65.0, 100.0, 192.0, (-200.0, 200.0), (0.5, 0.5), mirrored)


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
