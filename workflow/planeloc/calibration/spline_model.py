"""From bead scans to the spline of `planeloc.psf.spline`: what the Gaussian leaves unexplained, on one plane.

Given the position and brightness of every bead, the spline's coefficients follow from a linear least-squares problem
with inverse variances as weights: every pixel of every slice of every bead is one equation, so beads at different
fractions of a pixel and slices at different depths together resolve what one image undersamples. Given the spline,
every bead's position, depth and photons are fitted again (`planeloc.fitting.single_emitter`), which aligns them in x, y
and z to a fraction of a pixel. The two steps alternate.

A prior determines what the beads do not: the spline is small where the Gaussian is, and smooth. So few
or dim beads give the Gaussian back. Three quantities that no bead determines are fixed by convention: the mean position
of the beads is that of the Gaussian fits in focus, their mean depth is that of the defocus curve, and in focus the
model sums to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from planeloc.calibration.scan_fit import BeadScan
from planeloc.calibration.spline_equations import SplineEquations
from planeloc.fitting.single_emitter import EmitterFits
from planeloc.psf import Emitters, GaussianPSF, SplinePSF
from planeloc.psf.cubic_spline import Knots, cubic_basis

_LATERAL_SPACING_NM = 110.0  # largest; half of what λ = 670 nm and NA 1.4 resolve is 120 nm
_AXIAL_SPACING_NM = 100.0  # least; a spot changes along z over some 350 nm
_SHARPEST_REACH = 0.9  # of d
_SHARPEST_DEGREE = 4  # of the polynomial through the areas: they rise faster on one side
_SHARPEST_STEPS = 31
_APERTURE = 0.75  # of the beads' windows: radius that contains all photons in focus
_ANNULUS = 1.25  # of that radius: outer radius of the ring that gives the level around it
_FOCUS_SHARES = (-0.3, 0.0, 0.3)  # of d
_FINE_STEPS = 97
_ACCURACY = (3e-3, 1e-3, 3e-4, 1e-4)  # of the coefficients in every round: residual of the equations, relative
ROUNDS = len(_ACCURACY)
_SOLVER_STEPS = 100
# The prior: standard deviation of a coefficient, as a share of a Gaussian of twice the squared width, and beside it.
_SHARE = 1.0
_FLOOR = 2e-3  # of a plane's photons per pixel


def choose_knots(psf: GaussianPSF, scan: BeadScan) -> Knots:
    """Knots that cover the windows and the defocus that the beads have."""
    spacing = psf.pixel_size_nm / math.ceil(psf.pixel_size_nm / _LATERAL_SPACING_NM)
    half = math.floor(max(scan.windows.photons.shape[2:]) * psf.pixel_size_nm / 2 / spacing)
    travel = torch.tensor(scan.travel_nm, dtype=torch.float64)
    step = float((travel[1:] - travel[:-1]).abs().median())
    axial = step * max(1, math.ceil(_AXIAL_SPACING_NM / step - 0.01))
    # Δz = d − z, and a bead's z is its own plus the travel.
    centre = psf.plane_depths_nm[0] - float(scan.start[:, 2].mean())
    low, high = centre - float(travel.max()), centre - float(travel.min())
    first, last = math.floor(low / axial), math.ceil(high / axial)
    return Knots(2 * half + 1, spacing, last - first + 1, axial, first * axial)


def fit_spline(psf: GaussianPSF, scan: BeadScan, advance: Callable[[], object] = lambda: None) -> SplinePSF:
    """The spline of one plane.

    Parameters
    ----------
    psf : the Gaussian of one plane that gets all photons.
    advance : is called after each of the `ROUNDS`.
    """
    knots = choose_knots(psf, scan)
    prior = _SHARE * _round_images(psf, knots, widened=2.0) + _FLOOR
    spline = SplinePSF(psf, knots, torch.zeros_like(prior)[None], (0,))
    # First the spline: a Gaussian fitted to rings gives poor positions of the beads.
    beads, background = scan.start, scan.background(psf)
    for round_, accuracy in enumerate(_ACCURACY):
        if round_:
            fits = scan.fit(spline, 0, beads)
            beads, background = _by_convention(fits, scan, spline), fits.background
        coefficients = _solve(spline, scan, beads, background, prior, accuracy)
        spline = replace(spline, coefficients=coefficients[None], _moved={})
        advance()
    return _normalized(spline)


def _by_convention(fits: EmitterFits, scan: BeadScan, spline: SplinePSF) -> Tensor:
    """The beads' parameters, moved and scaled to the conventions of this module."""
    parameters = torch.where(fits.converged[:, None], fits.parameters, scan.start)
    weights = fits.converged.double() * scan.start[:, 3] + 1e-12
    moved = ((parameters - scan.start)[:, :3] * weights[:, None]).sum(dim=0) / weights.sum()
    return torch.cat((parameters[:, :3] - moved, parameters[:, 3:] * photons_in_focus(spline)), dim=1)


def _around(spline: SplinePSF, defocus_nm: float, reach_nm: float) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets x, y (nm) on a fine grid about the emitter, and the photons per pixel there, of one plane's model."""
    away = torch.linspace(-reach_nm, reach_nm, _FINE_STEPS, dtype=torch.float64)
    y, x = torch.meshgrid(away, away, indexing="ij")
    # One pixel, and emitters to all sides of it.
    place = 0.5 * spline.pixel_size_nm - away
    at = torch.stack((place[None, :].expand_as(x), place[:, None].expand_as(y)), dim=-1)[:, :, None]
    image = spline.gaussian.unit_images(at, torch.full_like(x, defocus_nm)[..., None], (1, 1))[..., 0, 0, 0]
    # On a grid, the spline's sums along x and y can be taken one after the other.
    along = cubic_basis(spline.knots.along_axis(place, 1, spline.pixel_size_nm))[:, 0]
    along_z = cubic_basis(spline.knots.along_defocus(torch.tensor(defocus_nm, dtype=torch.float64)))
    return x, y, image + along @ torch.tensordot(along_z, spline.coefficients[0].double(), 1) @ along.T


def photons_in_focus(spline: SplinePSF) -> float:
    """Share of the photons in a disc about the emitter, above the level around it; mean over the depth of focus.

    The level would be fitted as background: no image of a bead distinguishes the two.
    """
    radius = _APERTURE * (spline.knots.lateral - 1) / 2 * spline.knots.lateral_nm
    total = 0.0
    for share in _FOCUS_SHARES:
        x, y, image = _around(spline, share * spline.gaussian.focus_depth_nm, _ANNULUS * radius)
        distance = torch.hypot(x, y)
        inside, ring = distance < radius, (distance >= radius) & (distance < _ANNULUS * radius)
        pixels = float((x[0, 1] - x[0, 0]) / spline.pixel_size_nm) ** 2
        total += float((image[inside] - image[ring].mean()).sum()) * pixels
    return total / len(_FOCUS_SHARES)


def _normalized(spline: SplinePSF) -> SplinePSF:
    """The model over its photons in focus, which are close to one: the Gaussian's small part goes into the spline."""
    missing = 1 / photons_in_focus(spline) - 1
    knots, psf = spline.knots, spline.gaussian
    gaussian = _round_images(psf, knots)
    return replace(spline, coefficients=spline.coefficients + missing * (gaussian + spline.coefficients), _moved={})


def _round_images(psf: GaussianPSF, knots: Knots, widened: float = 1.0) -> Tensor:
    """(axial, lateral, lateral) The Gaussian at the knots, photons per pixel; its squared width times `widened`."""
    defocus = knots.first_nm + knots.axial_nm * torch.arange(knots.axial, dtype=torch.float64)
    width = widened * psf.squared_width(defocus)[:, None, None]
    offset = (torch.arange(knots.lateral, dtype=torch.float64) - (knots.lateral - 1) / 2) * knots.lateral_nm
    squared = offset[:, None] ** 2 + offset[None, :] ** 2
    return torch.exp(-squared / (2 * width)) * psf.pixel_size_nm**2 / (2 * math.pi * width)


def _solve(
    spline: SplinePSF, scan: BeadScan, beads: Tensor, background: Tensor, prior: Tensor, accuracy: float
) -> Tensor:
    """Coefficients (axial, lateral, lateral) by conjugate gradients, from those at hand.

    They are preconditioned by the diagonal: photons and noise make coefficients of the middle 1000 times better known
    than those of the rim.
    """
    equations = SplineEquations(spline, scan, beads, background, prior)
    inverse = 1 / equations.diagonal()
    solution = (spline.coefficients[0].double() / prior).float()
    right = equations.gradient(equations.rest)
    residual = right - equations.normal(solution)
    direction = inverse * residual
    product = (residual * direction).sum()
    target = accuracy**2 * (right**2).sum()
    for _ in range(_SOLVER_STEPS):
        if (residual**2).sum() <= target:
            break
        curved = equations.normal(direction)
        step = product / (direction * curved).sum()
        solution = solution + step * direction
        residual = residual - step * curved
        scaled = inverse * residual
        previous, product = product, (residual * scaled).sum()
        direction = scaled + product / previous * direction
    return prior * solution.double()


def join_planes(psf: GaussianPSF, splines: Sequence[SplinePSF]) -> SplinePSF:
    """One model of all planes from the splines of each, on knots that cover all of them."""
    knots = [spline.knots for spline in splines]
    step = knots[0].axial_nm
    first = min(round(k.first_nm / step) for k in knots)
    last = max(round(k.first_nm / step) + k.axial for k in knots)
    common = replace(knots[0], axial=last - first, first_nm=first * step)
    coefficients = torch.zeros(len(splines), common.axial, common.lateral, common.lateral)
    for plane, spline in enumerate(splines):
        start = round(spline.knots.first_nm / step) - first
        coefficients[plane, start : start + spline.knots.axial] = spline.coefficients[0]
    return SplinePSF(psf, common, coefficients, tuple(range(len(splines))))


def centred_on_focus(psf: SplinePSF) -> SplinePSF:
    """The same model with z = 0 midway between the depths at which the lowest and the highest plane are sharpest.

    The minimum of a width curve depends on the curve; the depth at which photons cover the least area does not.
    """
    ends = (int(np.argmin(psf.plane_depths_nm)), int(np.argmax(psf.plane_depths_nm)))
    sharpest = [sharpest_depth(psf, plane) for plane in ends]
    middle = sum(sharpest) / 2
    depths = tuple(depth - middle for depth in psf.plane_depths_nm)
    return replace(psf, gaussian=replace(psf.gaussian, plane_depths_nm=depths))


def sharpest_depth(psf: SplinePSF, plane: int) -> float:
    """Depth z at which an emitter covers the least area on a plane, (Σ I)² / Σ I², nm."""
    reach = _SHARPEST_REACH * psf.gaussian.focus_depth_nm
    z = torch.linspace(-reach, reach, _SHARPEST_STEPS, dtype=torch.float64) + psf.plane_depths_nm[plane]
    side = 2 * math.floor(psf.knots.reach_nm / psf.pixel_size_nm) + 1
    area = torch.zeros_like(z)
    # A mean over positions in a pixel: the sum of squares depends on them.
    for x, y in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        at = [torch.full_like(z, (side // 2 + place) * psf.pixel_size_nm) for place in (x, y)]
        images = psf.expected_photons(Emitters(*at, z, torch.ones_like(z)), (side, side))[:, plane]
        area += images.sum(dim=(1, 2)) ** 2 / (images**2).sum(dim=(1, 2))
    curve = np.polynomial.Polynomial.fit(z.numpy(), area.numpy(), _SHARPEST_DEGREE)
    fine = np.linspace(float(z[0]), float(z[-1]), 2001)
    return float(fine[np.argmin(curve(fine))])
