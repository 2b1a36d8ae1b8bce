"""A point spread function measured on beads: the Gaussian's defocus curve and, on every plane, a cubic B-spline.

The spline describes the residuals of the beads' images from the Gaussian: rings, aberrations, pixel integration. It is
a function of the offset (x, y) of a pixel's centre from the emitter and of the defocus (an effective point spread
function: Anderson and King 2000, PASP 112, 1360). Coefficients beyond the measured range are zero: there the model
becomes the Gaussian, with continuous second derivatives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.psf.base import PSF
from planeloc.psf.cubic_spline import Knots, spline_images
from planeloc.psf.gaussian import GaussianPSF


@dataclass(frozen=True, eq=False)
class SplinePSF(PSF):
    """Gaussian plus spline; `coefficients` (sets, axial, lateral, lateral), in shares of the photons per pixel."""

    gaussian: GaussianPSF
    knots: Knots
    coefficients: Tensor
    sets: tuple[int, ...]  # which coefficients every plane uses
    _moved: dict = field(default_factory=dict, repr=False)  # tables of the coefficients by device and precision

    def __post_init__(self) -> None:
        per_pixel = self.gaussian.pixel_size_nm / self.knots.lateral_nm
        if not math.isclose(per_pixel, round(per_pixel), rel_tol=1e-6):
            raise ValueError("a pixel is not a whole number of knot spacings")

    @property
    def pixel_size_nm(self) -> float:
        """That of the Gaussian part."""
        return self.gaussian.pixel_size_nm

    @property
    def plane_depths_nm(self) -> tuple[float, ...]:
        """Those of the Gaussian part."""
        return self.gaussian.plane_depths_nm

    @property
    def brightness(self) -> tuple[float, ...]:
        """That of the Gaussian part."""
        return self.gaussian.brightness

    def unit_images(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        base = self.gaussian.unit_images(position_nm, defocus_nm, shape)
        return base + self._residuals(position_nm, defocus_nm, shape, slopes=False)[0]

    def unit_derivatives(
        self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        base, slopes = self.gaussian.unit_derivatives(position_nm, defocus_nm, shape)
        residual, *more = self._residuals(position_nm, defocus_nm, shape, slopes=True)
        by_x, by_y, by_defocus = (smooth + rest for smooth, rest in zip(slopes, more, strict=True))
        return base + residual, (by_x, by_y, by_defocus)

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
        """The reverse of `as_dict` and `arrays`.

        Raises
        ------
        ValueError, KeyError, TypeError : values and coefficients disagree.
        """
        knots = Knots(**values["knots"])
        psf = cls(GaussianPSF.from_dict(values["gaussian"]), knots, coefficients, tuple(map(int, values["sets"])))
        expected = (knots.axial, knots.lateral, knots.lateral)
        if coefficients.dim() != 4 or coefficients.shape[1:] != expected or len(psf.sets) != psf.planes:
            raise ValueError("coefficients do not fit their knots and planes")
        if psf.as_dict()["coefficients_sha256"] != values["coefficients_sha256"]:
            raise ValueError("coefficients are not those that were written")
        return psf

    def _residuals(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int], slopes: bool) -> Tensor:
        """What the spline adds to the Gaussian's images and, with `slopes`, to their derivatives."""
        key = (defocus_nm.device, defocus_nm.dtype)
        if key not in self._moved:
            table = self.coefficients.to(device=key[0], dtype=key[1]).transpose(-1, -2)
            self._moved[key] = table.reshape(-1, self.knots.lateral**2)
        if (key[0], self.sets) not in self._moved:  # copied once: a copy makes a GPU's host wait
            self._moved[key[0], self.sets] = torch.tensor(self.sets, device=key[0])
        table, sets = self._moved[key], self._moved[key[0], self.sets]
        return spline_images(self.knots, table, sets, position_nm, defocus_nm, shape, self.pixel_size_nm, slopes)
