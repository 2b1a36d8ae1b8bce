"""The linear equations of a spline's coefficients, given the beads' positions, depths and brightness.

Every pixel of every slice of every bead is one equation, weighted by its inverse variance; the background of every
slice is eliminated. A prior holds the coefficients near zero, and smooth. The product with the normal equations is
compiled code on CPUs: of the basis along an axis four functions are not zero (`planeloc.fitting.compiled_spline`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from planeloc.calibration.scan_fit import BeadScan
from planeloc.fitting.compiled_spline import CompiledNormal
from planeloc.psf import SplinePSF
from planeloc.psf.cubic_spline import cubic_basis, cubic_basis_slope

_TOLERANCE = 0.003  # of a spot's peak
# The prior, over the standard deviation of a coefficient.
_STIFFNESS_LATERAL = 3.0  # of second differences between neighbouring coefficients over the prior's deviation
_STIFFNESS_AXIAL = 10.0
_OF_SECOND_DIFFERENCE = 6.0  # 1² + 2² + 1²


class SplineEquations:
    """The linear problem: pixels ≈ background + photons · (Gaussian + spline), coefficients in prior deviations.

    In single precision, which is far more than its solution needs (`planeloc.calibration.spline_model`).
    """

    def __init__(
        self,
        spline: SplinePSF,
        scan: BeadScan,
        beads: Tensor,
        background: Tensor,
        prior: Tensor,
        compiled: bool = True,
    ) -> None:
        """`compiled`: whether compiled code may form the products, where there is some."""
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
        along_defocus = knots.along_defocus(defocus)
        z = photons[..., None] * cubic_basis(along_defocus)
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
        place = [axis[..., 0] for axis in (*distances, along_defocus)]
        self._compiled = self._compile(*place) if compiled else None

    def _compile(self, x: Tensor, y: Tensor, z: Tensor) -> CompiledNormal | None:
        """The compiled product, from the distances of all points from the first knots; None where there is none."""
        axial, lateral, _ = self.prior.shape
        if not CompiledNormal.is_available(self.weights, axial, lateral):
            return None
        along_z = self.z.unflatten(2, (len(self.terms), axial)).permute(2, 0, 1, 3)
        weight_sum = self.weight_sum.flatten(1)
        return CompiledNormal(self.x, self.y, along_z, x, y, z, self.terms, self.weights, weight_sum)

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
        if self._compiled is None:
            of_data = self.gradient(self.images(scaled))
        else:
            of_data = self.prior * self._compiled(self.prior * scaled)
        return of_data + scaled + _stiffness(scaled)

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
