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


@pytest.fixture(params=[0, 1, 4])
def case(request) -> tuple[Walk, Information, np.ndarray, np.ndarray, np.ndarray]:
    """Prior, information, the same as a dense matrix, pull, and weights of the times.

    Besides what is known at each time, there are differences of times up to some apart, as of a blink's localizations.
    """
    random = np.random.default_rng(0)
    walk = Walk(50.0, 20.0, random.uniform(0.5, 2, TIMES - 1))
    own = random.uniform(0.5, 1, TIMES)
    within = np.zeros((TIMES, TIMES))
    for lag in range(1, request.param + 1):
        for time in range(TIMES - lag):
            weight = random.uniform(0, 1)
            within[np.ix_([time, time + lag], [time, time + lag])] += weight * np.array([[1, -1], [-1, 1]])
    spread = np.zeros((TIMES, PARTS))
    spread[np.arange(TIMES), np.arange(TIMES) * PARTS // TIMES] = own
    total = spread.sum(axis=0)
    band = np.zeros((request.param + 1, TIMES))
    for offset in range(request.param + 1):
        band[offset, : TIMES - offset] = np.diagonal(np.diag(own) + within, offset)
    information = Information(band, spread / total, np.outer(total, total) / total.sum())
    dense = np.diag(own) + within - information.spread @ information.shared @ information.spread.T
    path = np.cumsum(random.normal(size=TIMES)) * 3
    return walk, information, dense, dense @ path + random.multivariate_normal(np.zeros(TIMES), dense), own


def test_information_says_nothing_about_the_mean(case) -> None:
    _, information, dense, _, _ = case
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
    walk, information, dense, pull, own = case
    prior = dense_precision(walk)
    whole, right = prior.copy(), np.zeros(2 * TIMES)
    whole[::2, ::2] += dense
    right[::2] = pull
    posterior = Posterior(walk, information, pull)
    mean = np.linalg.solve(whole, right)
    assert np.allclose(posterior.mean, mean[::2], atol=1e-6)
    evidence = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(whole)[1] + right @ mean)
    assert np.isclose(posterior.log_evidence, evidence, atol=1e-5)
    centre = np.eye(TIMES) - np.outer(np.ones(TIMES), own) / own.sum()
    variance = np.diag(centre @ np.linalg.inv(whole)[::2, ::2] @ centre.T)
    assert np.allclose(posterior.variance(own), variance, rtol=1e-5)


def test_expected_sizes_of_steps_are_those_of_dense_matrices(case) -> None:
    walk, information, dense, pull, _ = case
    whole, right = dense_precision(walk), np.zeros(2 * TIMES)
    whole[::2, ::2] += dense
    right[::2] = pull
    covariance, mean = np.linalg.inv(whole), np.linalg.solve(whole, right)
    steps = TIMES - 1
    error = np.zeros((steps, 2 * TIMES))
    for step in range(steps):
        error[step, 2 * step + 2], error[step, 2 * step], error[step, 2 * step + 1] = 1, -1, -1 / steps
    local = np.linalg.inv(dense_banded(walk, information))
    square = (error @ mean) ** 2 + np.einsum("sa,ab,sb->s", error, local, error)  # the mean of all is not counted
    assert np.allclose(Posterior(walk, information, pull).step_sizes(), expected(square, walk), rtol=1e-4)
    assert np.all(np.diag(covariance) >= np.diag(local) - 1e-9)


def dense_banded(walk: Walk, information: Information) -> np.ndarray:
    """Precision without the part that the intervals of time share."""
    whole = dense_precision(walk)
    for offset, diagonal in enumerate(information.band):
        for time in range(TIMES - offset):
            whole[2 * time, 2 * (time + offset)] += diagonal[time]
            if offset:
                whole[2 * (time + offset), 2 * time] += diagonal[time]
    return whole


def expected(square: np.ndarray, walk: Walk) -> np.ndarray:
    return np.maximum((4 + square / (walk.walk_nm**2 / (TIMES - 1))) / 5, 0.5)


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
