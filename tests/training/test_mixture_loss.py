"""The regression network's loss against a sum over every pixel and every outcome, in double precision."""

import itertools
import math

import pytest
import torch

from planeloc.networks.regression import Architecture, read_pixels
from planeloc.networks.regression_molecules import window_drift
from planeloc.training.mixture_loss import GroundTruth, count_loss, mixture_loss, regression_loss

PLANES, SD_PX = 4, 0.18
NUMBERS = Architecture(PLANES).maps


def random_maps(batch=2, rows=7, columns=9, seed=0):
    """Deviations of about a tenth of a pixel: pixels beyond the loss's reach have no say."""
    maps = torch.randn(batch, NUMBERS, rows, columns, dtype=torch.float64, generator=generator(seed))
    for sd in (slice(3, 5), slice(7 + 2 * PLANES, None)):
        maps[:, sd] = maps[:, sd] * 0.3 - 2.0
    return maps.requires_grad_()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random_truth(rows=7, columns=9):
    position = torch.rand(5, 4, dtype=torch.float64, generator=generator(1))
    position[:, 0] *= columns
    position[:, 1] *= rows
    position[0, :2] = torch.tensor([0.01, 6.99])  # in a corner
    image = torch.tensor([0, 0, 0, 1, 1])
    return GroundTruth(image, position, torch.tensor([0.3, -0.1]).double(), torch.zeros(2, 3, 2, dtype=torch.float64))


def brute_force_mixture(maps, truth, drift):
    """−log Σ_k p_k/Σp Π N over all pixels k, one by one."""
    losses = []
    for image, position in zip(truth.image.tolist(), truth.position.tolist(), strict=True):
        p = torch.sigmoid(maps[image, 0])
        density = 0.0
        for row, column in itertools.product(*(range(size) for size in p.shape)):
            reading = read_pixels(maps[[image], :, row, column], drift.of([image]))
            at = reading.mean[0] + torch.tensor([column + 0.5, row + 0.5, 0.0, 0.0])
            sd = reading.sd[0]
            normal = torch.exp(-0.5 * ((torch.tensor(position) - at) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
            density = density + p[row, column] / p.sum() * normal.prod()
        losses.append(-torch.log(density))
    return torch.stack(losses)


def test_mixture_is_the_sum_over_all_pixels():
    maps, truth = random_maps(), random_truth()
    drift = window_drift(maps, SD_PX)
    loss = mixture_loss(maps, truth, drift)
    expected = brute_force_mixture(maps, truth, drift)
    assert torch.allclose(loss, expected, rtol=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), maps, retain_graph=True)
    (reference,) = torch.autograd.grad(expected.sum(), maps)
    assert torch.allclose(gradient, reference, rtol=1e-4, atol=1e-5)


def test_count_is_nearly_the_sum_over_all_outcomes():
    """Twelve pixels, all 4096 outcomes; the normal approximation is good to a few percent of the probability."""
    logit = torch.randn(1, 3, 4, dtype=torch.float64, generator=generator(3))
    p = torch.sigmoid(logit).flatten()
    probability = torch.zeros(13, dtype=torch.float64)
    for outcome in itertools.product((0, 1), repeat=12):
        there = torch.tensor(outcome, dtype=torch.bool)
        probability[sum(outcome)] += torch.where(there, p, 1 - p).prod()
    for number in (4, 5, 6, 7):
        truth = GroundTruth(
            torch.zeros(number, dtype=torch.long), torch.zeros(number, 4), torch.zeros(1), torch.zeros(1, 3, 2)
        )
        loss = count_loss(logit, truth)
        assert torch.exp(-loss).item() == pytest.approx(probability[number].item(), rel=0.05, abs=0.01)


def test_derivatives_are_those_of_differences():
    """But for the weights of molecules in the drift, which the loss holds fixed."""
    truth, fixed = random_truth(), random_maps().detach()

    def loss(rest):
        return regression_loss(torch.cat((fixed[:, :1], rest), dim=1), truth, SD_PX)

    assert torch.autograd.gradcheck(loss, fixed[:, 1:].clone().requires_grad_())


@pytest.mark.parametrize("extreme", [-1e4, -50.0, 50.0, 1e4])
def test_extremes_stay_finite(extreme):
    maps = torch.full((2, NUMBERS, 7, 9), extreme, requires_grad=True)
    truth = random_truth()
    loss = regression_loss(
        maps, GroundTruth(truth.image, truth.position.float(), truth.background, truth.drift.float()), SD_PX
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(maps.grad).all()


def test_an_empty_batch_rewards_empty_maps():
    nothing = GroundTruth(torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(2), torch.zeros(2, 3, 2))
    losses = []
    for logit in (-12.0, -2.5):
        maps = torch.zeros(2, NUMBERS, 8, 8)
        maps[:, 0] = logit
        losses.append(regression_loss(maps, nothing, SD_PX))
    assert losses[0] < losses[1]
