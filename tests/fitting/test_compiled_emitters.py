"""Compiled fits of single emitters, against those in PyTorch."""

import numpy as np
import pytest
import torch

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting import compiled_emitters
from planeloc.fitting.single_emitter import EmitterWindows, fit_emitters
from planeloc.psf import GaussianPSF, SplinePSF
from planeloc.psf.cubic_spline import Knots

PIXEL = 192.0
GAUSSIAN = GaussianPSF(PIXEL, (0.0,), (1.0,), 133.0, 302.0, 0.03, 0.02)
TRAVEL = tuple(np.linspace(-600, 600, 13))
FADING = tuple(np.linspace(1.05, 0.9, 13))


def _spline():
    knots = Knots(13, PIXEL / 2, axial=9, axial_nm=150.0, first_nm=-600.0)
    coefficients = np.random.default_rng(0).normal(0, 1e-3, (1, 9, 13, 13))
    return SplinePSF(GAUSSIAN, knots, torch.from_numpy(coefficients), (0,))


def _beads(psf, side=15, count=9):
    """Beads with a displacement of their own on every slice, of which some pixels are not used."""
    random = np.random.default_rng(side)
    middle = random.normal(side / 2 * PIXEL, 60, (count, 2))
    truth = torch.from_numpy(np.column_stack((middle, random.normal(0, 80, count), random.uniform(2e3, 3e4, count))))
    axes = torch.tensor([[0.999, 0.02], [-0.02, 1.001]]).double().expand(len(TRAVEL), 2, 2)
    shape = (count, len(TRAVEL), side, side)
    shifts = torch.from_numpy(random.normal(0, 5, (*shape[:2], 2)))
    noise = PixelNoise(torch.full((len(TRAVEL),), 1.3).double(), torch.full((len(TRAVEL),), 4.0).double())
    empty = EmitterWindows.of(torch.zeros(shape), noise, None, shifts, axes)
    level = torch.from_numpy(random.uniform(1, 6, shape[:2]))
    photons = random.poisson(empty.expected(psf, truth, level).clamp(min=0)) + random.normal(0, 2, shape)
    use = torch.ones(shape)
    use[0, :, :, -3:], use[1, 4] = 0, 0
    start = truth + torch.from_numpy(random.normal(0, (30, 30, 60, 300), (count, 4)))
    start[2, :2] += 3 * PIXEL  # far away, where steps are rejected
    return EmitterWindows.of(torch.from_numpy(photons), noise, use, shifts, axes), start


MODELS = {"Gaussian": GAUSSIAN, "spline": _spline()}


@pytest.mark.parametrize("side", [9, 15, 21])
@pytest.mark.parametrize("name", MODELS)
def test_every_number_is_that_of_pytorch(name, side):
    psf = MODELS[name].as_scan(0, TRAVEL, FADING)
    windows, start = _beads(psf, side)
    assert compiled_emitters.is_available(psf, windows.photons), "the compiled fit was not built"
    found, expected = (fit_emitters(psf, windows, start, compiled=compiled) for compiled in (True, False))
    assert torch.equal(found.converged, expected.converged) and expected.converged.sum() >= 8
    for name, values in vars(expected).items():
        scale = values.abs().amax(dim=0).clamp(min=1e-9) if values.is_floating_point() else 1
        error = ((getattr(found, name).double() - values.double()) / scale).abs().max()
        assert error < 1e-8, name


def test_no_windows_and_windows_that_are_not_square():
    psf = GAUSSIAN.as_scan(0, TRAVEL)
    windows, start = _beads(psf)
    assert fit_emitters(psf, windows.part(slice(0, 0)), start[:0]).parameters.shape == (0, 4)
    assert not compiled_emitters.is_available(psf, windows.photons[..., :-1])


def test_shapes_that_do_not_agree_are_refused():
    """C++ would read beyond the arrays."""
    psf = GAUSSIAN.as_scan(0, TRAVEL)
    windows, start = _beads(psf)
    with pytest.raises(ValueError, match="different shapes"):
        fit_emitters(psf, windows, start[:-1])
    with pytest.raises(ValueError, match="different shapes"):
        fit_emitters(GAUSSIAN, windows, start)
