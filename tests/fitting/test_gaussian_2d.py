"""Gaussian fits against numerical derivatives, and against the bound that the light sets."""

import numpy as np
import pytest

from planeloc.cameras.noise import NoiseModel
from planeloc.fitting import compiled_gaussians
from planeloc.fitting.gaussian_2d import fit_gaussians, gaussian_model

SIDE = 15
NOISE = NoiseModel(slope=1.0, read_variance=2.25)
TOL_BOUND = 1.15  # scatter over the Cramér–Rao bound
TOL_PULL = 0.15  # of the scatter over the deviation that the fit reports


def spots(number: int = 600, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    centre = SIDE / 2 + random.uniform(-1, 1, (number, 2))
    width = random.uniform(0.4, 7.0, number)
    return np.column_stack((centre, width, random.uniform(60, 400, number), np.full(number, 5.0)))


def noisy(parameters: np.ndarray, seed: int = 2) -> np.ndarray:
    random = np.random.default_rng(seed)
    values, _ = gaussian_model(parameters, (SIDE, SIDE))
    counts = random.poisson(values) + random.normal(0, np.sqrt(NOISE.read_variance), values.shape)
    return counts.reshape(-1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("parameters", "axes_deg"),
    [
        ([7.3, 6.8, 2.1, 90.0, 4.0], 0.0),
        ([7.3, 6.8, 1.3, 3.1, 90.0, 4.0], 0.0),
        ([7.3, 6.8, 1.3, 3.1, 90.0, 4.0], 33.0),
    ],
)
def test_jacobian_agrees_with_differences(parameters: list[float], axes_deg: float) -> None:
    at = np.array([parameters])
    _, jacobian = gaussian_model(at, (9, 13), axes_deg)
    for k in range(at.shape[1]):
        step = np.zeros_like(at)
        step[0, k] = 1e-5
        upper, lower = (gaussian_model(at + sign * step, (9, 13), axes_deg)[0] for sign in (1, -1))
        np.testing.assert_allclose(jacobian[..., k], (upper - lower) / 2e-5, atol=1e-6)


def test_likelihood_reaches_the_cramer_rao_bound() -> None:
    truth = spots()
    fits = fit_gaussians(noisy(truth), noise=NOISE)
    assert fits.converged.all()
    values, jacobian = gaussian_model(truth, (SIDE, SIDE))
    fisher = np.einsum("nkp,nk,nkq->npq", jacobian, 1 / NOISE.variance(values), jacobian)
    bound = np.sqrt(np.diagonal(np.linalg.inv(fisher), axis1=1, axis2=2))
    ratio = np.sqrt(np.mean(((fits.parameters - truth) / bound) ** 2, axis=0))
    assert (ratio < TOL_BOUND).all()


@pytest.mark.parametrize("estimator", ["least_squares", "likelihood"])
def test_reported_deviations_are_true(estimator: str) -> None:
    truth = spots()
    fits = fit_gaussians(noisy(truth), noise=NOISE, estimator=estimator)
    pulls = (fits.parameters - truth) / fits.deviations
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=TOL_PULL)
    assert np.median(fits.relative_residual) < 0.05


def test_turned_ellipse_is_measured_along_its_axes() -> None:
    truth = np.array([[7.4, 7.9, 1.2, 3.6, 2000.0, 5.0]])
    values, _ = gaussian_model(truth, (SIDE, SIDE), 45.0)
    fits = fit_gaussians(values.reshape(1, SIDE, SIDE), elliptical=True, axes_deg=45.0)
    np.testing.assert_allclose(fits.parameters, truth, rtol=1e-3)
    crossed = fit_gaussians(values.reshape(1, SIDE, SIDE), elliptical=True)
    np.testing.assert_allclose(*crossed.squared_width_px2[0], rtol=1e-3)


def test_masked_pixels_do_not_count() -> None:
    truth = spots(20)
    windows = noisy(truth)
    windows[:, :, :4] = 1e4
    mask = np.ones(windows.shape, dtype=bool)
    mask[:, :, :4] = False
    fits = fit_gaussians(windows, mask=mask, noise=NOISE)
    assert np.abs(fits.parameters[:, 0] - truth[:, 0]).max() < 1.0


def test_a_ring_is_a_misfit() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    ring = 100 * np.exp(-((np.hypot(x, y) - 4) ** 2))
    assert fit_gaussians(ring[None], estimator="least_squares").relative_residual[0] > 0.3


def test_empty_windows_and_unknown_estimators() -> None:
    fits = fit_gaussians(np.zeros((3, SIDE, SIDE)), noise=NOISE)
    assert np.isfinite(fits.parameters).all()
    with pytest.raises(ValueError, match="estimator"):
        fit_gaussians(np.zeros((1, SIDE, SIDE)), estimator="magic")


@pytest.mark.parametrize("estimator", ["least_squares", "likelihood"])
@pytest.mark.parametrize("axes_deg", [None, 0.0, 45.0])
def test_the_compiled_fit_is_that_in_numpy(estimator, axes_deg):
    """Also of windows without a spot, of dark ones, and of those of which pixels are not used."""
    assert compiled_gaussians.is_available(), "the compiled fit was not built"
    random = np.random.default_rng(1)
    truth = np.column_stack(
        (
            *random.uniform(4, SIDE - 4, (2, 60)),
            random.uniform(0.5, 9, 60),
            random.uniform(5, 900, 60),
            np.full(60, 6.0),
        )
    )
    windows = random.poisson(gaussian_model(truth, (SIDE, SIDE))[0]).reshape(-1, SIDE, SIDE) + 0.0
    windows[:3], windows[3] = random.normal(3, 2, (3, SIDE, SIDE)), 0
    mask = random.random(windows.shape) < 0.95
    options = {"elliptical": axes_deg is not None, "axes_deg": axes_deg or 0.0, "estimator": estimator, "mask": mask}
    noise = NoiseModel(np.linspace(0.5, 2, 60)[:, None], np.linspace(0, 9, 60)[:, None])
    found, expected = (fit_gaussians(windows, noise=noise, compiled=compiled, **options) for compiled in (True, False))
    clear = expected.converged & (truth[:, 3] > 30)
    clear[:4] = False
    assert clear.sum() > 40 and np.mean(found.converged == expected.converged) > 0.95
    assert np.array_equal(found.converged[clear], expected.converged[clear])
    for name in ("parameters", "covariance", "relative_residual"):
        values, others = getattr(expected, name)[clear], getattr(found, name)[clear]
        assert np.abs((others - values) / np.abs(values).max(axis=0)).max() < 1e-6, name
