"""Banded computations of a trajectory's posterior against dense matrices."""

import numpy as np
import pytest

from planeloc.postprocessing.trajectory import Information, Posterior, Walk, most_likely_walk

TIMES, PARTS = 60, 6


def dense_precision(walk: Walk) -> np.ndarray:
    band = walk.precision()
    size = band.shape[1]
    dense = np.zeros((size, size))
    for offset in range(4):
        for column in range(offset, size):
            dense[column - offset, column] = dense[column, column - offset] = band[3 - offset, column]
    return dense


@pytest.fixture
def case() -> tuple[Walk, Information, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    walk = Walk(50.0, 20.0, random.uniform(0.5, 2, TIMES - 1))
    own = random.uniform(0.5, 1, TIMES)
    spread = np.zeros((TIMES, PARTS))
    spread[np.arange(TIMES), np.arange(TIMES) * PARTS // TIMES] = own
    total = spread.sum(axis=0)
    information = Information(own[None], spread / total, np.outer(total, total) / total.sum())
    dense = np.diag(own) - information.spread @ information.shared @ information.spread.T
    path = np.cumsum(random.normal(size=TIMES)) * 3
    return walk, information, dense, dense @ path + random.multivariate_normal(np.zeros(TIMES), dense)


def test_information_says_nothing_about_the_mean(case) -> None:
    _, information, dense, _ = case
    assert np.abs(information.times(np.ones(TIMES))).max() < 1e-12
    vector = np.arange(TIMES, dtype=float)
    assert np.allclose(information.times(vector), dense @ vector)


def test_prior_is_that_of_the_walks(case) -> None:
    """Its covariance is that of many drawn trajectories: here exactly, by the recursion of the state."""
    walk = case[0]
    steps, slopes = walk.variances
    covariance = np.linalg.inv(dense_precision(walk))
    state = np.diag([1.0, 3e3**2])
    move = np.array([[1, 1 / (TIMES - 1)], [0, 1]])
    for time in range(1, TIMES):
        state = move @ state @ move.T + np.diag([steps[time - 1], slopes])
    assert np.allclose(covariance[-2:, -2:], state, rtol=1e-5)
    assert np.isclose(np.linalg.slogdet(dense_precision(walk))[1], walk.log_determinant())


def test_mean_evidence_and_variance_are_those_of_dense_matrices(case) -> None:
    walk, information, dense, pull = case
    prior = dense_precision(walk)
    whole, right = prior.copy(), np.zeros(2 * TIMES)
    whole[::2, ::2] += dense
    right[::2] = pull
    posterior = Posterior(walk, information, pull)
    mean = np.linalg.solve(whole, right)
    assert np.allclose(posterior.mean, mean[::2], atol=1e-6)
    evidence = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(whole)[1] + right @ mean)
    assert np.isclose(posterior.log_evidence, evidence, atol=1e-5)
    centre = np.eye(TIMES) - np.outer(np.ones(TIMES), information.band[0]) / information.band[0].sum()
    variance = np.diag(centre @ np.linalg.inv(whole)[::2, ::2] @ centre.T)
    assert np.allclose(posterior.variance(information.band[0]), variance, rtol=1e-5)


def test_a_jump_gets_a_variance_of_its_own() -> None:
    own = np.ones(TIMES)
    information = Information(own[None], own[:, None] / TIMES, np.array([[float(TIMES)]]))
    path = np.where(np.arange(TIMES) < 30, 0.0, 50.0) + np.random.default_rng(1).normal(0, 1, TIMES)
    walk = Walk(30.0, 30.0, np.ones(TIMES - 1))
    for _ in range(3):
        walk = most_likely_walk(information, information.times(path), walk, search=True)
    assert walk.step.argmax() == 29
    mean = Posterior(walk, information, information.times(path)).mean
    assert 45 < mean[30] - mean[29] < 55
    assert np.abs(np.diff(mean[:29])).max() < 3
