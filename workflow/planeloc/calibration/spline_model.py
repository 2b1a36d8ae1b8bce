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
from planeloc.fitting.single_emitter import EmitterFits
from planeloc.psf import Emitters, GaussianPSF, SplinePSF
from planeloc.psf.cubic_spline import Knots, cubic_basis, cubic_basis_slope

_LATERAL_SPACING_NM = 110.0  # largest; half of what λ = 670 nm and NA 1.4 resolve is 120 nm
_AXIAL_SPACING_NM = 100.0  # least; a spot changes along z over some 350 nm
_TOLERANCE = 0.003  # of a spot's peak
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
_STIFFNESS_LATERAL = 3.0  # of second differences between neighbouring coefficients over the prior's deviation
_STIFFNESS_AXIAL = 10.0
_OF_SECOND_DIFFERENCE = 6.0  # 1² + 2² + 1²


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


class _Equations:
    """The linear problem: pixels ≈ background + photons · (Gaussian + spline), coefficients in prior deviations.

    In single precision, which is far more than its solution needs (`_ACCURACY`).
    """

    def __init__(self, spline: SplinePSF, scan: BeadScan, beads: Tensor, background: Tensor, prior: Tensor) -> None:
        psf, knots, windows = scan.model(spline, 0), spline.knots, scan.windows
        defocus = torch.tensor(psf.plane_depths_nm, dtype=torch.float64) - beads[:, 2:3]
        rows, columns = windows.photons.shape[2:]
        # A bead has one position on all slices, so the sums along x, y and z can be taken one after the other. Its
        # displacement with the stage is small: for the spline, unlike the Gaussian, the first order is enough.
        distances = (
            knots.along_axis(beads[:, 0], columns, psf.pixel_size_nm),
            knots.along_axis(beads[:, 1], rows, psf.pixel_size_nm),
        )
        photons = torch.tensor(scan.brightness, dtype=torch.float64) * beads[:, 3:]
        z = photons[..., None] * cubic_basis(knots.along_defocus(defocus))
        # The basis along each axis, its slope where there is a displacement, and which of them each term has.
        self.x, self.y = ([cubic_basis(distance).float()] for distance in distances)
        self.terms, along_z = [(0, 0)], [z]
        shift = windows.shifts_nm[..., None]
        if shift.any():
            for basis, distance in zip((self.x, self.y), distances, strict=True):
                basis.append((-cubic_basis_slope(distance) / knots.lateral_nm).float())
            self.terms += [(1, 0), (0, 1)]
            along_z += [shift[:, :, 0] * z, shift[:, :, 1] * z]
        self.z = torch.cat(along_z, dim=2).float()
        self.prior = prior.float()
        expected = windows.expected(psf, beads, background)
        gaussian = windows.expected(psf.gaussian, beads, torch.zeros_like(background))
        # No model of a spot is exact: of very bright beads more than the noise is tolerated.
        peak = gaussian.amax(dim=(2, 3), keepdim=True)
        self.weights = (windows.use / (windows.noise.variance(expected) + (_TOLERANCE * peak) ** 2)).float()
        self.weight_sum = self.weights.sum(dim=(2, 3), keepdim=True).clamp(min=1e-30)
        self.rest = self._without_background((windows.photons - gaussian).float())

    def _without_background(self, images: Tensor) -> Tensor:
        return images - (self.weights * images).sum(dim=(2, 3), keepdim=True) / self.weight_sum

    def images(self, scaled: Tensor) -> Tensor:
        """(beads, slices, rows, columns) of scaled coefficients, their backgrounds taken out."""
        coefficients = self.prior * scaled
        (axial, lateral, _), (beads, rows, _) = coefficients.shape, self.y[0].shape
        in_x = [
            (coefficients.flatten(0, 1) @ x.flatten(0, 1).T).view(axial, lateral, beads, -1).permute(2, 1, 0, 3)
            for x in self.x
        ]
        in_x = [part.flatten(2) for part in in_x]
        in_y = [(self.y[j] @ in_x[i]).view(beads, rows, axial, -1).transpose(1, 2).flatten(2) for i, j in self.terms]
        return self._without_background((self.z @ torch.cat(in_y, dim=1)).unflatten(-1, (rows, -1)))

    def gradient(self, images: Tensor) -> Tensor:
        """The transpose of `images`, with the weights, of images without their backgrounds."""
        (axial, lateral, _), (beads, rows, _) = self.prior.shape, self.y[0].shape
        in_z = (self.z.mT @ (self.weights * images).flatten(2)).view(beads, len(self.terms), axial, rows, -1)
        in_y = [torch.zeros(()) for _ in self.x]
        for (i, j), part in zip(self.terms, in_z.transpose(2, 3).flatten(3).unbind(1), strict=True):
            in_y[i] = in_y[i] + self.y[j].mT @ part
        in_x = [part.view(beads, lateral, axial, -1).permute(2, 1, 0, 3).flatten(2).flatten(0, 1) for part in in_y]
        total = sum(part @ x.flatten(0, 1) for part, x in zip(in_x, self.x, strict=True))
        return self.prior * total.view(axial, lateral, lateral)

    def normal(self, scaled: Tensor) -> Tensor:
        """Second derivatives of the cost, data and prior, applied to scaled coefficients."""
        return self.gradient(self.images(scaled)) + scaled + _stiffness(scaled)

    def diagonal(self) -> Tensor:
        """Of the second derivatives, without the small part of the displacements and the backgrounds."""
        (axial, lateral, _), (beads, rows, _) = self.prior.shape, self.y[0].shape
        x, y, z = self.x[0] ** 2, self.y[0] ** 2, self.z[..., :axial] ** 2
        in_z = (z.mT @ self.weights.flatten(2)).view(beads, axial, rows, -1).transpose(1, 2).flatten(2)
        in_y = (y.mT @ in_z).view(beads, lateral, axial, -1).permute(2, 1, 0, 3).flatten(2).flatten(0, 1)
        data = (in_y @ x.flatten(0, 1)).view(axial, lateral, lateral)
        return self.prior**2 * data + 1 + _OF_SECOND_DIFFERENCE * (_STIFFNESS_AXIAL + 2 * _STIFFNESS_LATERAL)


def _stiffness(scaled: Tensor) -> Tensor:
    """Derivative of the squared second differences along all axes; beyond the knots everything is zero."""
    total = torch.zeros_like(scaled)
    for axis, strength in ((0, _STIFFNESS_AXIAL), (1, _STIFFNESS_LATERAL), (2, _STIFFNESS_LATERAL)):
        total += strength * _second_difference(_second_difference(scaled, axis), axis)
    return total


def _second_difference(values: Tensor, axis: int) -> Tensor:
    difference = -2 * values
    size = values.shape[axis]
    difference.narrow(axis, 1, size - 1).add_(values.narrow(axis, 0, size - 1))
    difference.narrow(axis, 0, size - 1).add_(values.narrow(axis, 1, size - 1))
    return difference


def _solve(
    spline: SplinePSF, scan: BeadScan, beads: Tensor, background: Tensor, prior: Tensor, accuracy: float
) -> Tensor:
    """Coefficients (axial, lateral, lateral) by conjugate gradients, from those at hand.

    They are preconditioned by the diagonal: photons and noise make coefficients of the middle 1000 times better known
    than those of the rim.
    """
    equations = _Equations(spline, scan, beads, background, prior)
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
