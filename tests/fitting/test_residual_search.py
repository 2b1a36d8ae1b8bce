"""Molecules that the network did not tell from their neighbours."""

import numpy as np
import pytest
import torch

from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.residual_search import find_missed
from support.molecule_frames import NOISE, PIXEL, PSF, scene
from support.movies import MAPS

DEPTHS_NM = (-800.0, 800.0)
PAIRS, ALONE = 30, 90


def fitted(made, known, drift_sd_nm=30.0):
    """A fit that is told of some of the molecules."""
    start = type(made.start())(*(values[known] for values in made.start(maps=MAPS.maps)))
    problem = MultiEmitterFit(PSF, NOISE, made.images, made.level, start, drift_sd_nm)
    return problem, problem.fit(6)


@pytest.fixture(scope="module")
def pairs():
    """Frames of two molecules 250 to 500 nm apart, and of one; through real maps, with drift."""
    random = np.random.default_rng(4)
    first = np.column_stack((24 * PIXEL + random.uniform(-96, 96, (PAIRS + ALONE, 2)), np.zeros(PAIRS + ALONE)))
    first[:, 2] = random.uniform(-500, 500, PAIRS + ALONE)
    angle, apart = random.uniform(0, 2 * np.pi, PAIRS), random.uniform(250, 500, PAIRS)
    second = first[:PAIRS].copy()
    second[:, :2] += apart[:, None] * np.column_stack((np.cos(angle), np.sin(angle)))
    second[:, 2] = random.uniform(-500, 500, PAIRS)
    frame = np.concatenate((np.arange(PAIRS + ALONE), np.arange(PAIRS)))
    order = np.argsort(frame, kind="stable")
    photons = random.uniform(2000, 5000, len(frame))
    position = np.concatenate((first, second))[order]
    made = scene(frame[order], position, photons[order], drift_sd_nm=30.0, maps=MAPS.maps)
    return made, torch.from_numpy(order < PAIRS + ALONE)


def test_the_missed_one_of_a_pair_is_found(pairs):
    made, known = pairs
    problem, fit = fitted(made, known)
    suspects = torch.nonzero(fit.suspect)[:, 0]
    assert (suspects < PAIRS).sum() > 0.85 * PAIRS and (suspects >= PAIRS).sum() <= 0.05 * ALONE
    missed = find_missed(PSF, problem.residuals(suspects), DEPTHS_NM)
    frame = suspects[missed.beside]
    truth = made.position[~known][frame[frame < PAIRS]]
    error = (missed.position[frame < PAIRS] - truth).abs()
    near = (error[:, :2].amax(dim=1) < 1.5 * PIXEL) & (error[:, 2] < 400)
    assert near.sum() > 0.7 * PAIRS


def test_noise_is_no_molecule(pairs):
    """Also if every window is searched."""
    made, known = pairs
    problem, _ = fitted(made, known)
    alone = torch.arange(PAIRS, PAIRS + ALONE)
    assert len(find_missed(PSF, problem.residuals(alone), DEPTHS_NM).beside) == 0


def test_of_two_windows_that_see_the_same_one_is_taken(pairs):
    made, known = pairs
    problem, _ = fitted(made, known)
    rows = torch.arange(PAIRS)
    once = find_missed(PSF, problem.residuals(rows), DEPTHS_NM)
    twice = find_missed(PSF, problem.residuals(torch.cat((rows, rows))), DEPTHS_NM)
    assert len(once.beside) == len(twice.beside) > 0
