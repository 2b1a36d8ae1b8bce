"""The forward model of frames and its normal equations, against numerical derivatives and exact solutions."""

import pytest
import torch

from planeloc.fitting.frame_model import FrameModel
from planeloc.fitting.normal_equations import NormalEquations, Unknowns
from support.molecule_frames import NOISE, PSF, scene
from support.movies import MAPS


def dense(system: NormalEquations) -> torch.Tensor:
    """The matrix of the normal equations of one frame."""
    count, size = system.gradient.molecules.shape
    drifts = system.drift.shape[1]
    matrix = torch.zeros(count * size + drifts, count * size + drifts).double()
    rows = [slice(k * size, (k + 1) * size) for k in range(count)]
    for k, row in enumerate(rows):
        matrix[row, row] = system.own[k]
        matrix[row, -drifts:] = system.with_drift[k]
        matrix[-drifts:, row] = system.with_drift[k].T
    for pair, (k, j) in enumerate(zip(system.pairs.first.tolist(), system.pairs.second.tolist(), strict=True)):
        matrix[rows[k], rows[j]] = system.between[pair]
        matrix[rows[j], rows[k]] = system.between[pair].T
    matrix[-drifts:, -drifts:] = system.drift[0]
    return matrix


def flat(vector: Unknowns) -> torch.Tensor:
    return torch.cat((vector.molecules.flatten(), vector.drift.flatten()))


@pytest.fixture(scope="module")
def crowd():
    """Three molecules within each other's windows, seen by turned and mirrored cameras: the problem, and a point."""
    position = [[4200.0, 4500.0, -350.0], [4500.0, 4300.0, 100.0], [4000.0, 5000.0, 420.0]]
    made = scene([0, 0, 0], position, [3000.0, 2000.0, 4000.0], drift_sd_nm=30.0, maps=MAPS.transforms)
    images, start = made.images.double(), made.start(maps=MAPS.transforms)
    problem = FrameModel(PSF, NOISE, images, made.level.double(), start, 30.0)
    at = problem.start
    generator = torch.Generator().manual_seed(4)
    noise = [torch.randn(values.shape, generator=generator).double() for values in at]
    scale = torch.tensor([10.0, 10, 20, 50, 0.2, 0.2, 0.2, 0.2])
    return problem, Unknowns(at.molecules + noise[0] * scale, at.drift + 10 * noise[1])


def shifted(at: Unknowns, index: int, by: float) -> Unknowns:
    values = flat(at).clone()
    values[index] += by
    split = at.molecules.numel()
    return Unknowns(values[:split].reshape(at.molecules.shape), values[split:].reshape(at.drift.shape))


STEPS = (0.1, 0.1, 0.1, 0.5, 1e-3, 1e-3, 1e-3, 1e-3)


def test_gradient_is_that_of_the_posterior(crowd):
    problem, at = crowd
    gradient = flat(problem.evaluate(at).equations.gradient)
    for index, step in enumerate(STEPS * 3 + (0.1,) * 6):
        ahead, behind = (problem.evaluate(shifted(at, index, sign * step)).cost[0] for sign in (1, -1))
        assert float(gradient[index]) == pytest.approx(-float(ahead - behind) / (4 * step), rel=2e-4, abs=1e-5)


def test_information_is_that_of_the_images(crowd):
    """Σ weight · ∂expected ∂expectedᵀ over all pixels, each once, by numerical derivatives, and the priors."""
    problem, at = crowd

    expected, windows = problem.expected, problem.windows
    weight = windows.use * windows.share / NOISE.variance(expected(at)[..., None])[..., 0]
    columns = []
    for index, step in enumerate(STEPS * 3 + (0.1,) * 6):
        columns.append((expected(shifted(at, index, step)) - expected(shifted(at, index, -step))) / (2 * step))
    jacobian = torch.stack([column.flatten() for column in columns], dim=1)
    prior = torch.cat((problem.prior_precision.molecules.flatten(), torch.full((6,), 30.0**-2).double()))
    information = jacobian.T @ (weight.flatten()[:, None] * jacobian) + torch.diag(prior)
    scale = torch.diagonal(information).rsqrt()
    found = dense(problem.evaluate(at).equations)
    assert torch.allclose(scale[:, None] * found * scale, scale[:, None] * information * scale, atol=1e-4)


def test_equations_are_solved(crowd):
    problem, at = crowd
    system = problem.evaluate(at).equations
    matrix, step = dense(system), flat(system.solve())
    exact = torch.linalg.solve(matrix, flat(system.gradient))
    error = step - exact
    assert error @ matrix @ error < 2e-3 * (exact @ matrix @ exact)
    inverse = torch.linalg.inv(matrix)
    exact = torch.diagonal(inverse)[:24].reshape(3, 8)
    stated = torch.diagonal(system.covariance()[0], dim1=1, dim2=2)
    assert torch.allclose((stated / exact).sqrt()[:, :4], torch.ones(3, 4).double(), atol=0.1)


def test_covariances_of_what_is_no_system():
    """Numbers that cannot be factored give no covariance, and no error."""
    made = scene([0, 0], [[4200.0, 4500.0, -350.0], [4500.0, 4300.0, 100.0]], [3000.0, 2000.0])
    system = FrameModel(PSF, NOISE, made.images, made.level, made.start(), 30.0)
    system = system.evaluate(system.start).equations
    system.own[1, 2, 2] = torch.nan
    assert not system.covariance()[1].isfinite().any()
