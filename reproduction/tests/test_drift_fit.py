"""Fits of one emitter with the drift unknown, ignored or known: they reach the limits, and nothing throws them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.fitting.single_emitter import EmitterFits, EmitterWindows
from planeloc.psf import Emitters
from planeloc.psf.fisher_information import plane_information
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.drift_fit import fit_with_drift, fit_without_drift
from planeloc_reproduction.drift_information import covariance_with_drift, mean_axial_error, mean_lateral_error
from planeloc_reproduction.drift_limit import scene_limit
from planeloc_reproduction.template_search import first_guess

PSF, SCENE = paper_scene()
SCENE = replace(SCENE, emitters=1)
NOISE = SCENE.pixel_noise(4)
DRIFT_SD_NM = SCENE.drift_sd_nm(192.0)
SHAPE = (16, 16)
LEVEL = 4.0
EMITTERS = 1000
TOL_BOUND = 0.06  # of a mean error over its bound: three times the scatter of 1000
TOL_PULL = 0.08
TOL_SLOPE = 1e-6  # of numerical derivatives, relative to the largest


def emitters(number: int = EMITTERS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 4) x, y, z, photons as in the paper's scene but not at its very edge, and normal drifts (n, planes, 2)."""
    random = np.random.default_rng(seed)
    place = random.uniform(2 * 192.0, 14 * 192.0, (number, 2))
    truth = np.column_stack((place, random.uniform(-800, 800, number), random.uniform(*SCENE.photons, number)))
    drift = random.normal(0, DRIFT_SD_NM, (number, 4, 2))
    drift[:, 0] = 0
    return torch.from_numpy(truth), torch.from_numpy(drift)


def exposed(truth: torch.Tensor, drift: torch.Tensor, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    expected = PSF.expected_photons(Emitters(*truth.unbind(1), drift), SHAPE) + LEVEL
    read = torch.randn(expected.shape, generator=generator, dtype=torch.float64) * SCENE.read_noise_photons
    return torch.poisson(expected, generator=generator) + read


def limits(truth: torch.Tensor, drift: torch.Tensor, drift_sd_nm: float, known: bool) -> tuple[float, float]:
    level = torch.full((len(truth), 4), LEVEL, dtype=torch.float64)
    information = plane_information(PSF, Emitters(*truth.unbind(1), drift, level), NOISE, SHAPE, known)
    covariance = covariance_with_drift(information[:, None], drift_sd_nm)
    return float(mean_lateral_error(covariance).mean()), float(mean_axial_error(covariance).mean())


def mean_errors(fits: EmitterFits, positions: torch.Tensor) -> tuple[float, float]:
    error = fits.positions_nm - positions
    return float(error[:, :2].norm(dim=1).mean()), float(error[:, 2].abs().mean())


@pytest.mark.parametrize("level", [LEVEL, None], ids=["background known", "background fitted"])
def test_fit_that_knows_the_prior_reaches_the_bound(level: float | None) -> None:
    truth, drift = emitters()
    fits = fit_with_drift(exposed(truth, drift), PSF, NOISE, DRIFT_SD_NM, background=level)
    assert fits.converged.double().mean() > 0.99
    expected = limits(truth, drift, DRIFT_SD_NM, level is not None)
    np.testing.assert_allclose(mean_errors(fits, truth[:, :3]), expected, rtol=TOL_BOUND)
    pulls = ((fits.parameters - truth) / fits.deviations).pow(2).mean(dim=0).sqrt()
    np.testing.assert_allclose(pulls, 1, atol=TOL_PULL)
    assert (fits.drift_nm[:, 0] == 0).all()
    # The drift is found as well as x on plane 0 allows, so better than the prior's own scatter.
    assert (fits.drift_nm - drift)[:, 1:].pow(2).mean().sqrt() < 0.8 * DRIFT_SD_NM


def test_fit_with_known_shifts_reaches_the_bound_without_drift() -> None:
    truth, drift = emitters(seed=2)
    fits = fit_without_drift(exposed(truth, drift), PSF, NOISE, background=LEVEL, shifts_nm=drift)
    expected = limits(truth, drift, 0.0, True)
    np.testing.assert_allclose(mean_errors(fits, truth[:, :3]), expected, rtol=TOL_BOUND)
    assert (fits.background == LEVEL).all()
    assert (fits.drift_nm == 0).all()


def test_steps_of_the_papers_scene_cost_what_the_normal_bound_says() -> None:
    batch = draw_batch(PSF, SCENE, EMITTERS, torch.Generator().manual_seed(3))
    images, truth = batch.images + LEVEL, batch.positions_nm[:, 0]
    aware = mean_errors(fit_with_drift(images, PSF, NOISE, DRIFT_SD_NM, background=LEVEL), truth)
    naive = mean_errors(fit_without_drift(images, PSF, NOISE, background=LEVEL), truth)
    bound = scene_limit(PSF, SCENE, central_px=None)
    np.testing.assert_allclose(aware, (bound.mean_lateral_nm, bound.mean_axial_nm), rtol=TOL_BOUND)
    assert naive[0] > 1.3 * aware[0]
    assert aware[0] > (1 - TOL_BOUND) * scene_limit(PSF, SCENE, "steps", central_px=None).mean_lateral_nm


def test_derivatives_by_the_drift() -> None:
    truth, drift = emitters(5)
    angle = 0.1
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = torch.stack((torch.eye(2).double(), turn, turn.T, torch.diag(torch.tensor([1.01, 0.99]).double())))
    windows = EmitterWindows.of(torch.zeros(5, 4, *SHAPE), NOISE, axes=axes)
    level = torch.full((5, 4), LEVEL, dtype=torch.float64)
    parameters = torch.cat((truth, drift[:, 1:].flatten(1)), dim=1)
    _, derivatives = windows.model(PSF, parameters, level)
    assert derivatives.shape[-1] == 10
    for index in range(10):
        step = torch.zeros(10, dtype=torch.float64)
        step[index] = 1e-3
        ends = [windows.expected(PSF, parameters + sign * step, level) for sign in (-1, 1)]
        slope = (ends[1] - ends[0]) / 2e-3
        assert (slope - derivatives[..., index]).abs().max() < TOL_SLOPE * slope.abs().max()


def test_first_guess_is_near_on_the_whole_field_and_in_oblong_windows() -> None:
    batch = draw_batch(PSF, SCENE, 400, torch.Generator().manual_seed(4))
    error = first_guess(PSF, batch.images, NOISE, torch.zeros(400, 4))[:, :3] - batch.positions_nm[:, 0]
    assert error[:, :2].abs().max() < 192.0
    assert error[:, 2].abs().max() < 300.0
    truth = torch.tensor([[2000.0, 700.0, 150.0, 4000.0]], dtype=torch.float64)
    images = PSF.expected_photons(Emitters(*truth.unbind(1)), (9, 20)) + LEVEL
    guess = first_guess(PSF, images, NOISE)
    assert (guess - truth)[0, :2].abs().max() < 60.0
    assert abs(guess[0, 2] - 150.0) < 60.0
    assert guess[0, 3] == pytest.approx(4000.0, rel=0.2)


@pytest.mark.parametrize("level", [LEVEL, None], ids=["background known", "background fitted"])
def test_dark_images_do_not_converge_and_spoil_nothing(level: float | None) -> None:
    truth, drift = emitters(6)
    images = exposed(truth, drift)
    alone = fit_with_drift(images, PSF, NOISE, DRIFT_SD_NM, background=level)
    images[1] = 0.0
    images[2] = LEVEL
    images[3] = exposed(torch.cat((truth[3:4, :3], torch.tensor([[20.0]])), dim=1), drift[3:4])
    images[4] = exposed(torch.tensor([[-40.0, 3100.0, 0.0, 4000.0]], dtype=torch.float64), drift[4:5])
    fits = fit_with_drift(images, PSF, NOISE, DRIFT_SD_NM, background=level)
    assert not fits.converged[1:3].any()
    assert torch.isfinite(fits.parameters).all()
    assert (fits.parameters[4, :2] - torch.tensor([-40.0, 3100.0])).abs().max() < 100
    np.testing.assert_allclose(fits.parameters[[0, 5]], alone.parameters[[0, 5]], atol=1e-3)


def test_pixels_out_of_all_reason_throw_nothing() -> None:
    spike = torch.zeros(1, 4, *SHAPE)
    spike[0, 1, 0, 0] = 1e5
    below = torch.full((1, 4, *SHAPE), -1e6)
    noisy = 1e12 * torch.rand(1, 4, *SHAPE, generator=torch.Generator().manual_seed(0))
    images = torch.cat((spike, below, noisy))
    for fits in (
        fit_with_drift(images, PSF, NOISE, DRIFT_SD_NM, background=LEVEL),
        fit_with_drift(images, PSF, NOISE, DRIFT_SD_NM),
        fit_without_drift(images, PSF, NOISE),
    ):
        assert torch.isfinite(fits.parameters).all()
        assert torch.isfinite(fits.deviations).all()


def test_no_images_give_no_fits() -> None:
    for fits in (
        fit_with_drift(torch.zeros(0, 4, 16, 16), PSF, NOISE, DRIFT_SD_NM, background=LEVEL),
        fit_without_drift(torch.zeros(0, 4, 16, 16), PSF, NOISE),
    ):
        assert fits.positions_nm.shape == (0, 3)
        assert fits.photons.shape == fits.converged.shape == (0,)


def test_what_cannot_be_fitted_is_refused_in_one_line() -> None:
    images = torch.zeros(3, 4, 16, 16)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(PlanelocError, match=r"1 of 3 images hold values that are not finite, the first is image 1"):
        fit_without_drift(images, PSF, NOISE)
    with pytest.raises(PlanelocError, match=r"\(images, 4 planes, rows, columns\)"):
        fit_without_drift(torch.zeros(3, 2, 16, 16), PSF, NOISE)
    with pytest.raises(PlanelocError, match="at least 4 rows and columns"):
        fit_without_drift(torch.zeros(3, 4, 1, 16), PSF, NOISE)
    with pytest.raises(PlanelocError, match="above 0"):
        fit_with_drift(torch.zeros(3, 4, 16, 16), PSF, NOISE, 0.0)
