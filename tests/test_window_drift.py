"""Drift of a window from its molecules: the posterior of a linear normal model, against its textbook form."""

import numpy as np
import pytest
import torch

from planeloc.networks.drift import Steps, estimate_drift

SD_PX = 0.18
BATCH, PLANES, MOLECULES = 3, 4, 20


def random_steps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 2, (MOLECULES,), generator=generator)  # the last image is empty
    weight = torch.rand(MOLECULES, dtype=torch.float64, generator=generator)
    mean = 0.2 * torch.randn(MOLECULES, PLANES - 1, 2, dtype=torch.float64, generator=generator)
    raw = torch.randn(MOLECULES, PLANES - 1, dtype=torch.float64, generator=generator)
    return Steps(mean, raw), weight, image


def textbook(steps, weight, image, of):
    """Bayesian linear regression with one row for every molecule and step: mean and covariance along x and y."""
    rows, values, information = [], [], []
    for n in torch.nonzero(image == of).flatten().tolist():
        for plane in range(PLANES - 1):
            row = np.zeros(PLANES - 1)
            row[plane] = 1
            if plane:
                row[plane - 1] = -1
            rows.append(row)
            values.append(steps.mean[n, plane].numpy())
            information.append(float(weight[n] * steps.raw_information[n, plane].exp() / SD_PX**2))
    design, weights = np.array(rows).reshape(-1, PLANES - 1), np.diag(information)
    covariance = np.linalg.inv(np.eye(PLANES - 1) / SD_PX**2 + design.T @ weights @ design)
    return covariance @ design.T @ weights @ np.array(values).reshape(-1, 2), covariance


@pytest.mark.parametrize("image", range(BATCH))
def test_posterior_is_that_of_linear_regression(image):
    steps, weight, images = random_steps()
    drift = estimate_drift(steps, weight, images, BATCH, SD_PX)
    mean, covariance = textbook(steps, weight, images, image)
    assert np.allclose(drift.mean[image], mean, atol=1e-12)
    assert np.allclose(drift.covariance[image], covariance, atol=1e-12)


def test_likelihood_is_that_of_the_normal_distribution():
    drift = estimate_drift(*random_steps(), BATCH, SD_PX)
    truth = 0.2 * torch.randn(BATCH, PLANES - 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    distribution = torch.distributions.MultivariateNormal(drift.mean.movedim(2, 1), drift.covariance[:, None])
    expected = -distribution.log_prob(truth.movedim(2, 1)).sum(dim=1)
    constant = (PLANES - 1) * np.log(2 * np.pi)
    assert torch.allclose(drift.minus_log_likelihood(truth) + constant, expected)


def test_one_molecule_alone_has_the_posterior_of_its_steps():
    """The first plane's step against the reference is its drift."""
    steps, _, _ = random_steps()
    truth = 0.2 * torch.randn(MOLECULES, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    two_planes = Steps(steps.mean[:, :1], steps.raw_information[:, :1])
    each = torch.arange(MOLECULES)
    alone = estimate_drift(two_planes, torch.ones(MOLECULES).double(), each, MOLECULES, SD_PX)
    expected = alone.minus_log_likelihood(truth)
    assert torch.allclose(two_planes.minus_log_likelihood(truth, SD_PX), expected)


def test_more_molecules_know_more():
    steps, weight, _ = random_steps()
    few, many = (
        estimate_drift(Steps(steps.mean[:n], steps.raw_information[:n]), weight[:n], torch.zeros(n).long(), 1, SD_PX)
        for n in (2, MOLECULES)
    )
    deviations = [drift.covariance.diagonal(dim1=1, dim2=2).sqrt().max() for drift in (many, few)]
    assert deviations[0] < 0.7 * deviations[1] < 0.7 * SD_PX


def test_planes_that_do_not_drift_are_known_not_to():
    steps, weight, image = random_steps()
    drift = estimate_drift(steps, weight, image, BATCH, 0.0)
    assert torch.isfinite(drift.mean).all() and drift.mean.abs().max() < 0.5
    assert drift.covariance.diagonal(dim1=1, dim2=2).max() <= 0.01**2 + 1e-12
