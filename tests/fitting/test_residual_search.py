"""Molecules that the network did not tell from their neighbours."""

import numpy as np
import pytest
import torch

from planeloc.fitting.multi_emitter import FrameFit
from planeloc.fitting.residual_search import find_missed
from planeloc.localization.context import Findings
from support.molecule_frames import NOISE, PIXEL, PSF, scene
from support.movies import MAPS, localizer_of, write_files
from support.repository import REGRESSION_WEIGHTS

DEPTHS_NM = (-800.0, 800.0)
PAIRS, ALONE = 30, 90


def fitted(made, known, drift_sd_nm=30.0):
    """A fit that is told of some of the molecules."""
    start = type(made.start())(*(values[known] for values in made.start(maps=MAPS.transforms)))
    problem = FrameFit(PSF, NOISE, made.images, made.level, start, drift_sd_nm)
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
    made = scene(frame[order], position, photons[order], drift_sd_nm=30.0, maps=MAPS.transforms)
    return made, torch.from_numpy(order < PAIRS + ALONE)


def test_the_missed_one_of_a_pair_is_found(pairs):
    made, known = pairs
    problem, fit = fitted(made, known)
    suspects = torch.nonzero(fit.suspect)[:, 0]
    assert (suspects < PAIRS).sum() > 0.85 * PAIRS and (suspects >= PAIRS).sum() <= 0.05 * ALONE
    missed = find_missed(PSF, problem.leftover(suspects), DEPTHS_NM)
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
    assert len(find_missed(PSF, problem.leftover(alone), DEPTHS_NM).beside) == 0


def test_of_two_windows_that_see_the_same_one_is_taken(pairs):
    made, known = pairs
    problem, _ = fitted(made, known)
    rows = torch.arange(PAIRS)
    once = find_missed(PSF, problem.leftover(rows), DEPTHS_NM)
    twice = find_missed(PSF, problem.leftover(torch.cat((rows, rows))), DEPTHS_NM)
    assert len(once.beside) == len(twice.beside) > 0


def test_refinement_adds_a_molecule_that_was_left_out(tmp_path_factory):
    localizer = localizer_of(write_files(tmp_path_factory.mktemp("movie")), weights=REGRESSION_WEIGHTS.name)
    with torch.inference_mode():
        counts, level = localizer.read(0, 20)
        images = localizer._photons(counts) - level
        found = Findings.joined(localizer.finder(images, localizer.instrument.resampler(images), level))
        found = found.at(found.probability > 0.5)
        apart = torch.cdist(found.position[:, :2], found.position[:, :2])
        apart = apart + 1e9 * (found.frame[:, None] != found.frame) + 1e9 * torch.eye(len(apart))
        left_out, _ = divmod(int(apart.argmin()), len(apart))
        assert 100 < apart.min() < 4 * PIXEL
        kept = torch.arange(len(found.frame)) != left_out
        complete = localizer.refinement(images, level, found)
        again = localizer.refinement(images, level, found.at(kept))
    assert len(complete.frame) == len(again.frame) == len(found.frame)
    added, true = again.at(slice(-1, None)), complete.at(complete.frame == found.frame[left_out])
    assert int(added.frame) == int(found.frame[left_out])
    error = (true.position - added.position).abs()
    assert (error < torch.tensor([15.0, 15.0, 40.0])).all(dim=1).any()
    assert 0.99 < float(added.probability) < 1
