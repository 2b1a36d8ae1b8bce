"""The PSF against what physics says of it, not against itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.psf import Emitters, paper_psf, read_psf, write_psf

FLUX_TOLERANCE = 4e-4  # sampling a spot 0.69 px wide aliases 2 exp(−2π² 0.69²) of its light on each axis


def images(psf, x, y, z, photons=1000.0, shape=(31, 31)):
    values = (torch.tensor([v], dtype=torch.float64) for v in (x, y, z, photons))
    return psf.expected_photons(Emitters(*values), shape)[0]


def test_paper_peak_and_flux_follow_from_table_1():
    """physics: a' = 5e7 gives a peak of 450 counts and 1,356 counts in all on the plane in focus."""
    psf = paper_psf()
    photons = 4 * 5.0e7 / 192.0**2
    image = images(psf, 15.5 * 192, 15.5 * 192, -600.0, photons)
    assert image[0].max().item() == pytest.approx(5.0e7 / (2 * math.pi * 133.0**2), rel=1e-12)
    assert image[0].sum().item() == pytest.approx(1356.3, rel=1e-3)


@pytest.mark.parametrize("pixel_integration", [False, True])
@pytest.mark.parametrize("z", [-600.0, 0.0, 350.0])
def test_light_is_conserved_on_every_plane(pixel_integration, z):
    psf = replace(paper_psf(), pixel_integration=pixel_integration, brightness=(0.1, 0.2, 0.3, 0.4))
    image = images(psf, 5890.0, 5850.0, z, 1000.0, (61, 61))
    expected = 1000 * torch.tensor(psf.brightness, dtype=torch.float64)
    assert torch.allclose(image.sum(dim=(1, 2)), expected, rtol=FLUX_TOLERANCE)


def test_integrated_pixel_equals_numerical_integral():
    psf = replace(paper_psf(), pixel_integration=True)
    fine = replace(paper_psf(), pixel_size_nm=192.0 / 24)  # midpoint rule on 24 × 24 samples
    coarse = images(psf, 400.0, 500.0, 100.0, shape=(5, 5))
    dense = images(fine, 400.0, 500.0, 100.0, shape=(120, 120)).reshape(4, 5, 24, 5, 24).sum(dim=(2, 4))
    assert torch.allclose(coarse, dense, rtol=2e-3, atol=1e-6)


def test_gradients_agree_with_differences():
    psf = replace(paper_psf(), asymmetry=0.1, quartic=0.02, pixel_integration=True)

    def image(*parameters):
        return psf.expected_photons(Emitters(*parameters), (7, 7))

    parameters = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (650.0, 700.0, 120.0, 900.0)]
    assert torch.autograd.gradcheck(image, parameters, eps=1e-3, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pixel_integration", [False, True])
@pytest.mark.parametrize("z", [-1300.0, -100.0, 250.0])
def test_analytic_derivatives_agree_with_differences(pixel_integration, z):
    """Also where a curve that turns down is held positive (z = −1300)."""
    psf = replace(paper_psf(), asymmetry=-0.3, quartic=0.01, pixel_integration=pixel_integration)
    at = [torch.tensor([v], dtype=torch.float64) for v in (650.0, 700.0, z, 900.0)]
    _, derivatives = psf.expected_photons_and_derivatives(Emitters(*at), (7, 7))
    for k in range(4):
        step = [torch.zeros(1, dtype=torch.float64) for _ in at]
        step[k] += 1e-3
        moved = (Emitters(*(a + sign * s for a, s in zip(at, step, strict=True))) for sign in (1, -1))
        upper, lower = (psf.expected_photons(emitters, (7, 7)) for emitters in moved)
        torch.testing.assert_close(derivatives[..., k], (upper - lower) / 2e-3, atol=1e-7, rtol=1e-6)


def test_plane_shift_moves_the_image_and_background_adds():
    psf = paper_psf()
    position = (torch.tensor([1000.0]), torch.tensor([900.0]), torch.tensor([0.0]), torch.tensor([1.0]))
    shift = torch.zeros(1, 4, 2)
    shift[0, 2] = torch.tensor([192.0, -384.0])
    still = psf.expected_photons(Emitters(*position), (12, 12))
    moved = psf.expected_photons(Emitters(*position, shift), (12, 12))
    assert torch.allclose(moved[0, 2, :-2, 1:], still[0, 2, 2:, :-1], atol=1e-7)
    assert torch.equal(moved[0, 1], still[0, 1])
    level = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    brighter = psf.expected_photons(Emitters(*position, background=level), (12, 12))
    assert torch.allclose(brighter - still, level[..., None, None].expand_as(still))


def test_round_trip(tmp_path):
    psf = replace(paper_psf(), quartic=0.01)
    write_psf(tmp_path / "psf.h5", psf, {"beads": 3})
    assert read_psf(tmp_path / "psf.h5") == psf


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "psf.h5").write_bytes(b"no HDF5")
    with pytest.raises(PlanelocError, match=r"psf\.h5: not a planeloc PSF"):
        read_psf(tmp_path / "psf.h5")
    with pytest.raises(PlanelocError, match="no such file"):
        read_psf(tmp_path / "absent.h5")


def test_width_curve_is_equation_5():
    psf = replace(paper_psf(), asymmetry=0.2, quartic=0.05)
    u = np.array([-1.5, 0.0, 2.0])
    expected = 133.0**2 * (1 + u**2 + 0.2 * u**3 + 0.05 * u**4)
    assert psf.squared_width(302.0 * u) == pytest.approx(expected)
