"""Drift and place of molecules from where the planes see them: against all unknowns solved for at once."""

import numpy as np
import pytest
import torch

from planeloc.networks.frame_drift import Sightings, estimate_drift

SD_PX = 0.18
BATCH, PLANES, MOLECULES = 3, 4, 12
FLAT = 1e-9  # information that the prior has of places


def random_sightings(seed=0):
    """Molecules of the first two images; the third is empty."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.arange(MOLECULES) % 2
    position = torch.randn(MOLECULES, PLANES, 2, dtype=torch.float64, generator=generator)
    information = 200 * torch.rand(MOLECULES, PLANES, dtype=torch.float64, generator=generator)
    return Sightings(position, information), image


def solved_at_once(seen, image, of, sd_px):
    """Mean (unknowns, 2) and covariance of drifts, then places of the molecules, by one linear regression."""
    molecules = torch.nonzero(image == of).flatten().tolist()
    steps, unknowns = PLANES - 1, PLANES - 1 + len(molecules)
    precision = np.diag([*np.broadcast_to(sd_px, steps) ** -2.0, *[FLAT] * len(molecules)])
    moment = np.zeros((unknowns, 2))
    for index, molecule in enumerate(molecules):
        for plane in range(PLANES):
            row = np.zeros(unknowns)
            row[steps + index] = 1
            if plane:
                row[plane - 1] = 1
            precision += float(seen.information[molecule, plane]) * np.outer(row, row)
            moment += float(seen.information[molecule, plane]) * np.outer(row, seen.position[molecule, plane])
    covariance = np.linalg.inv(precision)
    return covariance @ moment, covariance, molecules


@pytest.mark.parametrize("sd_px", [SD_PX, (0.05, 0.18, 0.4)])
@pytest.mark.parametrize("of", range(BATCH))
def test_drift_and_places_are_those_of_one_regression(of, sd_px):
    seen, image = random_sightings()
    drift = estimate_drift(seen, torch.ones(MOLECULES).double(), image, BATCH, sd_px)
    mean, covariance, molecules = solved_at_once(seen, image, of, sd_px)
    assert np.allclose(drift.mean[of], mean[: PLANES - 1], atol=1e-6)
    assert np.allclose(drift.covariance[of], covariance[: PLANES - 1, : PLANES - 1], atol=1e-6)
    own = drift.of(image)
    assert np.allclose(seen.place(own.mean)[molecules], mean[PLANES - 1 :], atol=1e-6)
    variance = np.diag(covariance)[PLANES - 1 :]
    assert np.allclose(seen.variance(own.covariance)[molecules], variance, atol=1e-6)


def test_likelihood_is_that_of_the_normal_distribution():
    seen, image = random_sightings()
    drift = estimate_drift(seen, torch.ones(MOLECULES).double(), image, BATCH, SD_PX)
    truth = 0.2 * torch.randn(BATCH, PLANES - 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    distribution = torch.distributions.MultivariateNormal(drift.mean.movedim(2, 1), drift.covariance[:, None])
    expected = -distribution.log_prob(truth.movedim(2, 1)).sum(dim=1)
    constant = (PLANES - 1) * np.log(2 * np.pi)
    assert torch.allclose(drift.minus_log_likelihood(truth) + constant, expected)


def test_what_may_not_exist_counts_by_its_probability():
    seen, image = random_sightings()
    half = estimate_drift(seen, torch.full((MOLECULES,), 0.5).double(), image, BATCH, SD_PX)
    fewer = Sightings(seen.position, 0.5 * seen.information)
    assert torch.allclose(half.mean, estimate_drift(fewer, torch.ones(MOLECULES), image, BATCH, SD_PX).mean)


def test_many_molecules_average_their_errors():
    """Simulated sightings: errors of drift and places are as large as said."""
    generator = torch.Generator().manual_seed(3)
    images, each = 400, 10
    image = torch.arange(images).repeat_interleave(each)
    drift = torch.zeros(images, PLANES, 2)
    drift[:, 1:] = SD_PX * torch.randn(images, PLANES - 1, 2, generator=generator)
    place = torch.randn(images * each, 2, generator=generator)
    information = 400 * torch.rand(images * each, PLANES, generator=generator)
    noise = torch.randn(images * each, PLANES, 2, generator=generator) / information[..., None].sqrt()
    seen = Sightings(place[:, None] + drift[image] + noise, information)
    found = estimate_drift(seen, torch.ones(images * each), image, images, SD_PX)
    pull = (found.mean - drift[:, 1:]) / found.covariance.diagonal(dim1=1, dim2=2).sqrt()[..., None]
    assert pull.std().item() == pytest.approx(1.0, abs=0.05)
    own = found.of(image)
    pull = (seen.place(own.mean) - place) / seen.variance(own.covariance).sqrt()[:, None]
    assert pull.std().item() == pytest.approx(1.0, abs=0.05)
    assert found.covariance.diagonal(dim1=1, dim2=2).sqrt().mean() < 0.3 * SD_PX


def test_planes_that_do_not_drift_are_known_not_to():
    seen, image = random_sightings()
    drift = estimate_drift(seen, torch.ones(MOLECULES).double(), image, BATCH, 0.0)
    assert torch.isfinite(drift.mean).all()
    assert drift.covariance.diagonal(dim1=1, dim2=2).max() <= 0.01**2 + 1e-12
