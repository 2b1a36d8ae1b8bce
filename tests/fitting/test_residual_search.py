"""Molecules that the network did not tell from their neighbours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.fitting import compiled_search
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.residual_search import _best, _steps, find_missed
from support.molecule_frames import NOISE, PIXEL, PSF, scene
from support.movies import MAPS

DEPTHS_NM = (-800.0, 800.0)
PAIRS, ALONE = 30, 90


def fitted(made, known, drift_sd_nm=30.0):
    """A fit that is told of some of the molecules."""
    start = type(made.start())(*(values[known] for values in made.start(maps=MAPS.transforms)))
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
    made = scene(frame[order], position, photons[order], drift_sd_nm=30.0, maps=MAPS.transforms)
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


@pytest.mark.parametrize("real", [torch.float32, torch.float64])
@pytest.mark.parametrize("integrated", [False, True])
def test_the_compiled_search_is_that_in_pytorch(pairs, real, integrated):
    made, known = pairs
    problem, _ = fitted(made, known)
    residuals = problem.residuals(torch.arange(PAIRS + ALONE))
    residuals = residuals._replace(residual=residuals.residual.to(real), weight=residuals.weight.to(real))
    psf = replace(PSF, pixel_integration=integrated)
    steps = _steps(psf, DEPTHS_NM)
    assert compiled_search.is_available(psf, residuals), "the compiled fit was not built"
    (best, *found), (other, *expected) = compiled_search.best_steps(psf, residuals, steps), _best(psf, residuals, steps)
    tolerance = 1e-10 if real == torch.float64 else 1e-4
    assert (best == other).double().mean() > 0.98  # two steps may gain equally
    for values, reference in zip(found, expected, strict=True):
        assert ((values - reference)[best == other].abs() / reference.abs().max()).max() < tolerance
    one, two = (find_missed(psf, residuals, DEPTHS_NM, compiled=compiled) for compiled in (True, False))
    assert len(one.beside) == len(two.beside) > PAIRS / 2 and torch.equal(one.beside, two.beside)


def test_windows_that_do_not_agree_are_refused(pairs):
    """C++ would read beyond the arrays."""
    made, known = pairs
    problem, _ = fitted(made, known)
    residuals = problem.residuals(torch.arange(3))
    with pytest.raises(ValueError, match="different shapes"):
        compiled_search.best_steps(PSF, residuals._replace(axes=residuals.axes[:2]), _steps(PSF, DEPTHS_NM))
