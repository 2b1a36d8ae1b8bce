"""Measured PSFs of random coefficients."""

from dataclasses import replace

import torch

from planeloc.psf import SplinePSF
from planeloc.psf.cubic_spline import Knots
from support.bead_scans import PSF


def random_spline(seed: int = 0, sets: tuple[int, ...] = (0, 1, 2, 3)) -> SplinePSF:
    knots = Knots(13, 96.0, 9, 150.0, -600.0)
    generator = torch.Generator().manual_seed(seed)
    coefficients = 3e-3 * torch.randn(max(sets) + 1, 9, 13, 13, generator=generator, dtype=torch.float64)
    return SplinePSF(PSF, knots, coefficients, sets)


def spline_of_a_long_scan():
    """Of beads between −800 and 800 nm."""
    psf = random_spline()
    return replace(psf, knots=replace(psf.knots, axial_nm=350.0, first_nm=-1400.0))
