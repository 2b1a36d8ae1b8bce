"""The linear equations of the spline, and their solution."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.calibration import spline_model
from planeloc.calibration.scan_fit import BeadScan
from planeloc.calibration.spline_equations import SplineEquations
from planeloc.calibration.spline_model import _round_images, _solve, choose_knots, fit_spline
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.single_emitter import EmitterWindows
from planeloc.psf import SplinePSF
from support.bead_scans import PSF, pupil_spots

ONE_PLANE = replace(PSF, plane_depths_nm=(0.0,), brightness=(1.0,))
SIDE, TRAVEL_NM = 11, np.arange(-600.0, 601.0, 100.0)
TOL_SINGLE = 1e-4  # of sums in single precision


@pytest.fixture(scope="module", params=[0.0, 15.0])
def problem(request):
    """Three beads that follow no Gaussian, on a stage that stands or moves sideways: arguments of the equations."""
    random, spot = np.random.default_rng(0), pupil_spots((0.0,), 192.0)
    place = SIDE / 2 + random.uniform(-0.5, 0.5, (3, 2))
    images = np.stack([2e4 * spot(0, at, TRAVEL_NM, (SIDE, SIDE)) + 4.0 for at in place])
    counts = torch.from_numpy(random.poisson(images).astype(float))
    noise = PixelNoise(torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    shifts = torch.from_numpy(random.normal(0, request.param, (1, len(TRAVEL_NM), 2))).expand(3, -1, -1)
    start = torch.from_numpy(np.column_stack((place * 192.0, np.zeros(3), np.full(3, 2e4))))
    windows = EmitterWindows.of(counts, noise.repeated(0, len(TRAVEL_NM)), None, shifts)
    scan = BeadScan(windows, tuple(TRAVEL_NM), (1.0,) * len(TRAVEL_NM), start)
    knots = choose_knots(ONE_PLANE, scan)
    prior = _round_images(ONE_PLANE, knots, widened=2.0) + 2e-3
    spline = SplinePSF(ONE_PLANE, knots, torch.zeros_like(prior)[None], (0,))
    return spline, scan, start, scan.background(ONE_PLANE), prior


def test_the_gradient_is_the_transpose_of_the_images(problem):
    equations, generator = SplineEquations(*problem), torch.Generator().manual_seed(0)
    assert len(equations.terms) == (3 if problem[1].windows.shifts_nm.any() else 1)
    coefficients = torch.randn(problem[4].shape, generator=generator)
    images = equations._without_background(torch.randn(problem[1].windows.photons.shape, generator=generator))
    one = (equations.weights * equations.images(coefficients) * images).double().sum()
    other = (coefficients * equations.gradient(images)).double().sum()
    scale = (equations.weights * equations.images(coefficients) ** 2).sum().sqrt()
    assert abs(float(one - other)) < TOL_SINGLE * float(scale * (equations.weights * images**2).sum().sqrt())


def test_the_compiled_product_is_that_of_pytorch(problem):
    compiled, reference = (SplineEquations(*problem, compiled=compiled) for compiled in (True, False))
    assert compiled._compiled is not None, "the compiled fit was not built"
    scaled = torch.randn(problem[4].shape, generator=torch.Generator().manual_seed(1))
    found, expected = compiled.normal(scaled), reference.normal(scaled)
    assert float((found - expected).norm() / expected.norm()) < 1e-6  # single precision
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


def test_the_diagonal_is_that_of_the_equations(problem):
    """But for the backgrounds, which lower it a little, and displacements."""
    equations = SplineEquations(*problem)
    diagonal = equations.diagonal()
    for place in ((6, 10, 10), (3, 8, 12), (7, 11, 9), (5, 4, 4)):
        unit = torch.zeros(problem[4].shape)
        unit[place] = 1.0
        assert float(equations.normal(unit)[place]) == pytest.approx(float(diagonal[place]), rel=0.1)


def test_the_solution_is_as_accurate_as_is_said(problem):
    """Of equations in double precision that are solved far beyond."""
    found, far = _solve(*problem, accuracy=1e-4), _solve(*problem, accuracy=1e-6)
    equations = SplineEquations(*problem)
    scaled = (far / problem[4]).float()
    right = equations.gradient(equations.rest)
    assert float((right - equations.normal(scaled)).norm() / right.norm()) < 3e-6
    assert float((found - far).abs().max() / problem[4].max()) < 5e-4
    assert float(far.abs().max() / problem[4].max()) > 0.02  # there is something to find


def test_every_round_is_reported(problem):
    rounds = []
    fit_spline(ONE_PLANE, problem[1], lambda: rounds.append(1))
    assert len(rounds) == spline_model.ROUNDS
