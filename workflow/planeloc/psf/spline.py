"""A point spread function measured on beads: the Gaussian's defocus curve and, on every plane, a cubic B-spline.

The spline describes the residuals of the beads' images from the Gaussian: rings, aberrations, pixel integration. It is
a function of the offset (x, y) of a pixel's centre from the emitter and of the defocus (an effective point spread
function: Anderson and King 2000, PASP 112, 1360). Coefficients beyond the measured range are zero: there the model
becomes the Gaussian, with continuous second derivatives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.psf.base import PSF
from planeloc.psf.gaussian import GaussianPSF

_BASIS_BYTES = 64 << 20  # of interpolated slices at once


def cubic_basis(distance: Tensor) -> Tensor:
    """The cubic B-spline at distances from its knot, in knot spacings (de Boor 1978)."""
    away = distance.abs()
    return ((2 - away).clamp(min=0) ** 3 - 4 * (1 - away).clamp(min=0) ** 3) / 6


def cubic_basis_slope(distance: Tensor) -> Tensor:
    """Its derivative."""
    away = distance.abs()
    return distance.sign() * (4 * (1 - away).clamp(min=0) ** 2 - (2 - away).clamp(min=0) ** 2) / 2


@dataclass(frozen=True)
class Knots:
    """Where the coefficients lie: laterally symmetric about the emitter, axially from `first_nm` of defocus upwards."""

    lateral: int  # per axis, odd
    lateral_nm: float  # spacing
    axial: int
    axial_nm: float
    first_nm: float

    def along_axis(self, position_nm: Tensor, size: int, pixel_size_nm: float) -> Tensor:
        """(..., size, lateral) distances of `size` pixel centres from the knots about an emitter, in spacings."""
        like = {"dtype": position_nm.dtype, "device": position_nm.device}
        centre = (torch.arange(size, **like) + 0.5) * pixel_size_nm
        knots = torch.arange(self.lateral, **like) - (self.lateral - 1) / 2
        return ((centre - position_nm[..., None]) / self.lateral_nm)[..., None] - knots

    def along_defocus(self, defocus_nm: Tensor) -> Tensor:
        """(..., axial) distances from the knots, in spacings."""
        knots = torch.arange(self.axial, dtype=defocus_nm.dtype, device=defocus_nm.device)
        return ((defocus_nm - self.first_nm) / self.axial_nm)[..., None] - knots

    @property
    def reach_nm(self) -> float:
        """Distance from the emitter along an axis beyond which the spline is zero."""
        return ((self.lateral - 1) / 2 + 2) * self.lateral_nm

    @property
    def defocus_range_nm(self) -> tuple[float, float]:
        """First and last knot."""
        return self.first_nm, self.first_nm + (self.axial - 1) * self.axial_nm


@dataclass(frozen=True, eq=False)
class SplinePSF(PSF):
    """Gaussian plus spline; `coefficients` (sets, axial, lateral, lateral), in shares of the photons per pixel."""

    gaussian: GaussianPSF
    knots: Knots
    coefficients: Tensor
    sets: tuple[int, ...]  # which coefficients every plane uses
    _moved: dict = field(default_factory=dict, repr=False)  # copies on other devices and in other precisions

    @property
    def pixel_size_nm(self) -> float:
        return self.gaussian.pixel_size_nm

    @property
    def plane_depths_nm(self) -> tuple[float, ...]:
        return self.gaussian.plane_depths_nm

    @property
    def brightness(self) -> tuple[float, ...]:
        return self.gaussian.brightness

    def unit_images(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        base = self.gaussian.unit_images(position_nm, defocus_nm, shape)
        x, y, z = self._distances(position_nm, defocus_nm, shape)
        return base + self._contract(cubic_basis(z), cubic_basis(y), cubic_basis(x))

    def unit_derivatives(
        self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        base, base_derivatives = self.gaussian.unit_derivatives(position_nm, defocus_nm, shape)
        distances = self._distances(position_nm, defocus_nm, shape)
        x, y, z = (cubic_basis(distance) for distance in distances)
        # An emitter that moves right sees its pixels move left.
        x_slope, y_slope = (-cubic_basis_slope(distance) / self.knots.lateral_nm for distance in distances[:2])
        z_slope = cubic_basis_slope(distances[2]) / self.knots.axial_nm
        bases = ((z, y, x_slope), (z, y_slope, x), (z_slope, y, x))
        by_x, by_y, by_defocus = (
            smooth + self._contract(*basis) for smooth, basis in zip(base_derivatives, bases, strict=True)
        )
        return base + self._contract(z, y, x), (by_x, by_y, by_defocus)

    def as_scan(self, plane: int, travel_nm: Sequence[float], brightness: Sequence[float] | None = None) -> SplinePSF:
        scan = self.gaussian.as_scan(plane, travel_nm, brightness)
        return replace(self, gaussian=scan, sets=(self.sets[plane],) * scan.planes, _moved=self._moved)

    @property
    def measured_depths_nm(self) -> tuple[float, float]:
        """Depths at which every plane has coefficients; up to one knot spacing beyond the scan."""
        ends = []
        for plane, depth in enumerate(self.plane_depths_nm):
            fitted = self.coefficients[self.sets[plane]].flatten(1).any(dim=1).nonzero().flatten()
            if not len(fitted):  # no residuals: the Gaussian at every depth
                continue
            defocus = self.knots.first_nm + self.knots.axial_nm * fitted[[0, -1]].double()
            ends.append((depth - float(defocus[1]), depth - float(defocus[0])))
        return max((e[0] for e in ends), default=-np.inf), min((e[1] for e in ends), default=np.inf)

    def in_reference_frame(self, matrices: Sequence[NDArray[np.float64]]) -> SplinePSF:
        """Rotate and mirror every plane back by the nearest of eight orientations.

        The remaining rotation and scaling, a few degrees and per cent, are negligible in a spot of a few pixels.
        """
        turned = []
        for plane, matrix in enumerate(matrices):
            coefficients = self.coefficients[self.sets[plane]]
            (a, b), (c, d) = matrix
            if abs(a) + abs(d) < abs(b) + abs(c):  # the camera's x is the reference's y
                flips = [axis for axis, sign in ((-1, c), (-2, b)) if sign < 0]
                coefficients = coefficients.transpose(-1, -2)
            else:
                flips = [axis for axis, sign in ((-1, a), (-2, d)) if sign < 0]
            turned.append(coefficients.flip(flips))
        return replace(self, coefficients=torch.stack(turned), sets=tuple(range(len(turned))), _moved={})

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": "spline",
            "gaussian": self.gaussian.as_dict(),
            "knots": asdict(self.knots),
            "sets": list(self.sets),
            "coefficients_sha256": hashlib.sha256(self.coefficients.cpu().numpy().tobytes()).hexdigest(),
        }

    @property
    def arrays(self) -> dict[str, Tensor]:
        return {"coefficients": self.coefficients}

    @classmethod
    def from_dict(cls, values: dict[str, Any], coefficients: Tensor) -> SplinePSF:
        """The reverse of `as_dict` and `arrays`; raises `ValueError`, `KeyError` or `TypeError` where they disagree."""
        knots = Knots(**values["knots"])
        psf = cls(GaussianPSF.from_dict(values["gaussian"]), knots, coefficients, tuple(map(int, values["sets"])))
        expected = (knots.axial, knots.lateral, knots.lateral)
        if coefficients.dim() != 4 or coefficients.shape[1:] != expected or len(psf.sets) != psf.planes:
            raise ValueError("coefficients do not fit their knots and planes")
        if psf.as_dict()["coefficients_sha256"] != values["coefficients_sha256"]:
            raise ValueError("coefficients are not those that were written")
        return psf

    def _distances(
        self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = self.knots.along_axis(position_nm[..., 0], shape[1], self.pixel_size_nm)
        y = self.knots.along_axis(position_nm[..., 1], shape[0], self.pixel_size_nm)
        return x, y, self.knots.along_defocus(defocus_nm)

    def _contract(self, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Spline values from the basis along defocus (..., planes, axial) and along both axes (..., size, lateral)."""
        coefficients = self._coefficients(z)
        lateral = self.knots.lateral
        images = torch.empty((*x.shape[:-2], y.shape[-2], x.shape[-2]), dtype=z.dtype, device=z.device)
        at_once = max(1, _BASIS_BYTES // (lateral**2 * z.element_size()))
        for index in sorted(set(self.sets)):
            planes = [p for p, own in enumerate(self.sets) if own == index]
            weights = z[..., planes, :].reshape(-1, self.knots.axial)
            along_y = y[..., planes, :, :].reshape(-1, *y.shape[-2:])
            along_x = x[..., planes, :, :].reshape(-1, *x.shape[-2:])
            flat = coefficients[index].reshape(self.knots.axial, -1)
            parts = []
            for start in range(0, max(len(weights), 1), at_once):
                part = slice(start, start + at_once)
                slices = (weights[part] @ flat).reshape(-1, lateral, lateral)
                parts.append(along_y[part] @ slices @ along_x[part].transpose(-1, -2))
            images[..., planes, :, :] = torch.cat(parts).reshape(*z.shape[:-2], len(planes), *images.shape[-2:])
        return images

    def _coefficients(self, like: Tensor) -> Tensor:
        key = (like.device, like.dtype)
        if key not in self._moved:
            self._moved[key] = self.coefficients.to(device=like.device, dtype=like.dtype)
        return self._moved[key]
