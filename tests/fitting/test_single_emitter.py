"""Fits of emitters on all planes: they reach the Cramér–Rao bound, and the bound is what theory and scatter say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc import psf as psf_models
from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.single_emitter import EmitterWindows, fit_emitters
from planeloc.psf import Emitters
from planeloc.psf.fisher_information import bound, fisher_information
from support.bead_scans import PSF

SHAPE = (13, 13)
TOL_BOUND = 0.12  # of the scatter over the bound, 300 emitters


def emitters(number: int = 300, seed: int = 0, photons: float = 4000.0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    lateral = 192.0 * (6.5 + random.uniform(-0.5, 0.5, (number, 2)))
    return torch.from_numpy(np.column_stack((lateral, random.uniform(-700, 700, number), np.full(number, photons))))


def noise(read: float = 1.5, slope: float = 1.0) -> PixelNoise:
    return PixelNoise(torch.full((4,), slope).double(), torch.full((4,), read**2).double())


def exposed(
    psf: psf_models.PSF, truth: torch.Tensor, level: torch.Tensor, read: float = 1.5, shifts=None, seed: int = 1
):
    generator = torch.Generator().manual_seed(seed)
    expected = psf.expected_photons(Emitters(*truth.unbind(1), shifts, level), SHAPE)
    return torch.poisson(expected, generator=generator) + read * torch.randn(
        expected.shape, generator=generator, dtype=torch.float64
    )


def test_fits_reach_the_bound_and_know_it() -> None:
    truth, level = emitters(), torch.full((300, 4), 5.0, dtype=torch.float64)
    fits = fit_emitters(
        PSF, EmitterWindows.of(exposed(PSF, truth, level), noise()), truth + torch.tensor([60.0, -60, 90, 600])
    )
    assert fits.converged.all()
    limit = bound(fisher_information(PSF, Emitters(*truth.unbind(1), background=level), noise(), SHAPE))
    error = fits.parameters - truth
    np.testing.assert_allclose((error / limit).pow(2).mean(dim=0).sqrt(), 1, atol=TOL_BOUND)
    np.testing.assert_allclose((error / fits.deviations).pow(2).mean(dim=0).sqrt(), 1, atol=TOL_BOUND)
    assert fits.chi_square.mean() == pytest.approx(1, abs=0.05)
    assert (error.mean(dim=0).abs() < 4 * limit.mean(dim=0) / 300**0.5).all()


def test_bound_of_a_bright_spot_in_focus_is_the_analytic_one() -> None:
    """Without background and read noise a Gaussian's position is known to σ/√N (Mortensen et al. 2010)."""
    psf = replace(PSF, pixel_size_nm=20.0, plane_depths_nm=(0.0,), brightness=(1.0,), asymmetry=0.0)
    quiet = PixelNoise(torch.ones(1).double(), torch.zeros(1).double())
    at = [torch.tensor(v, dtype=torch.float64) for v in (1210.0, 1210.0, 0.0, 1e7)]
    emitter = Emitters(*at, background=torch.zeros(1).double())
    information = fisher_information(psf, emitter, quiet, (121, 121))
    deviation = 1 / information[0, 0].sqrt()
    assert deviation.item() == pytest.approx(133.0 / 1e7**0.5, rel=2e-3)


def test_positions_through_shifted_turned_and_mirrored_cameras() -> None:
    truth = emitters(60, seed=3)
    angle = 0.03
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = torch.stack((torch.eye(2).double(), turn, turn @ torch.diag(torch.tensor([-1.0, 1.0]).double()), turn.T))
    middle = torch.tensor([6.5, 6.5]).double() * 192.0
    shifts = middle - axes @ middle + torch.tensor([[0.0, 0.0], [40, -20], [-60, 30], [10, 10]])
    shifts = shifts.expand(60, 4, 2)
    level = torch.full((60, 4), 3.0, dtype=torch.float64)
    lateral = truth[:, None, :2]
    displaced = (axes @ lateral[..., None])[..., 0] + shifts - lateral
    data = exposed(PSF, truth, level, shifts=displaced)
    fits = fit_emitters(
        PSF, EmitterWindows.of(data, noise(), shifts_nm=shifts, axes=axes), truth + torch.tensor([30.0, 30, 40, 0])
    )
    pulls = (fits.parameters - truth) / fits.deviations
    assert pulls.abs().max() < 5
    np.testing.assert_allclose(pulls.pow(2).mean(dim=0).sqrt(), 1, atol=0.3)


def test_a_known_background_stays_and_helps() -> None:
    truth, level = emitters(20), torch.full((20, 4), 5.0, dtype=torch.float64)
    windows, start = EmitterWindows.of(exposed(PSF, truth, level), noise()), truth + torch.tensor([40.0, 40, 0, 0])
    fits = fit_emitters(PSF, windows, start, background=level)
    assert torch.equal(fits.background, level)
    assert ((fits.parameters - truth) / fits.deviations).abs().max() < 5
    assert (fits.deviations[:, 3] < fit_emitters(PSF, windows, start).deviations[:, 3]).all()


def test_unused_pixels_do_not_count_and_rubbish_does_not_converge_to_it() -> None:
    truth, level = emitters(10), torch.full((10, 4), 5.0, dtype=torch.float64)
    data = exposed(PSF, truth, level)
    data[:, :, :, :2] = 1e5
    use = torch.ones_like(data)
    use[:, :, :, :2] = 0
    fits = fit_emitters(PSF, EmitterWindows.of(data, noise(), use), truth)
    assert ((fits.parameters - truth) / fits.deviations).abs().max() < 5
    empty = fit_emitters(PSF, EmitterWindows.of(torch.zeros(2, 4, 13, 13), noise()), truth[:2])
    assert torch.isfinite(empty.parameters).all()


def test_noise_of_cameras_is_theirs() -> None:
    cameras = (
        Camera(read_noise_electrons=3.0, quantum_efficiency=0.5),
        Camera(em_gain=100.0, read_noise_electrons=50.0, quantum_efficiency=0.9),
    )
    pixel = PixelNoise.of(cameras)
    random = np.random.default_rng(0)
    for plane, camera in enumerate(cameras):
        seen = camera.photons(camera.expose(np.full(200_000, 30.0), random)).astype(float)
        expected = pixel.variance(torch.full((2, 1, 1), 30.0, dtype=torch.float64))[plane].item()
        assert seen.var() == pytest.approx(expected, rel=0.03)
