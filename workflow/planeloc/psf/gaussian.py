"""The paper's point spread function (Aritake et al. 2021, Eq. 4 and 5).

On the plane focused at depth d_p an emitter at (x, y, z) is a Gaussian whose SQUARED width follows a defocus curve of
Δz = d_p − z,

    w(Δz) = w0² (1 + (Δz/d)² + A (Δz/d)³ + B (Δz/d)⁴)      [nm²]

The paper's Eq. 6 prints the peak as a'/(2π w²), which does not conserve photons; a'/(2π w) does, and is used
here. Photons are counted over all planes together: plane p receives the fraction brightness[p].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from planeloc.core.devices import in_large_groups
from planeloc.psf.base import PSF

LEAST_SHAPE = 0.05  # of w0²: a curve that was fitted near focus may turn down far from it
_ROOT_TWO = math.sqrt(2)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class GaussianPSF(PSF):
    """Gaussian with a defocus curve."""

    pixel_size_nm: float
    plane_depths_nm: tuple[float, ...]
    brightness: tuple[float, ...]
    waist_nm: float  # w0
    focus_depth_nm: float  # d
    asymmetry: float = 0.0  # A
    quartic: float = 0.0  # B
    pixel_integration: bool = False  # False: sampled at pixel centres, as Eq. 4; True: integrated over the pixel

    @property
    def gaussian(self) -> GaussianPSF:
        """The model itself."""
        return self

    def squared_width(self, defocus_nm: Any) -> Any:
        """w(Δz) in nm² (Eq. 5), for floats, arrays or tensors; kept positive far from focus."""
        u = defocus_nm / self.focus_depth_nm
        shape = 1 + u**2 + self.asymmetry * u**3 + self.quartic * u**4
        positive = shape.clamp(min=LEAST_SHAPE) if isinstance(shape, Tensor) else np.maximum(shape, LEAST_SHAPE)
        return self.waist_nm**2 * positive

    def squared_width_slope(self, defocus_nm: Any) -> Any:
        """dw/dΔz in nm; zero where the curve is kept positive."""
        u = defocus_nm / self.focus_depth_nm
        free = 1 + u**2 + self.asymmetry * u**3 + self.quartic * u**4 > LEAST_SHAPE
        slope = 2 * u + 3 * self.asymmetry * u**2 + 4 * self.quartic * u**3
        return self.waist_nm**2 / self.focus_depth_nm * slope * free

    def profile(self, position_nm: Tensor, defocus_nm: Tensor, size: int) -> Tensor:
        """Share of a plane's photons on each of `size` pixels along one axis, x or y: (...) → (..., size).

        The unit image is the product of two of them, one along each axis.
        """
        return self._profile(position_nm, self.squared_width(defocus_nm).sqrt(), size)

    def unit_images(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        width = self.squared_width(defocus_nm).sqrt()
        x = self._profile(position_nm[..., 0], width, shape[1])
        y = self._profile(position_nm[..., 1], width, shape[0])
        return y[..., :, None] * x[..., None, :]

    def unit_derivatives(
        self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        width = self.squared_width(defocus_nm).sqrt()
        if in_large_groups(width.device) and shape[0] == shape[1]:  # both axes in one operation
            both = self._profile_derivatives(position_nm, width[..., None], shape[0])
            (x, y), (x_by_place, y_by_place), (x_by_width, y_by_width) = (values.unbind(-2) for values in both)
        else:
            x, x_by_place, x_by_width = self._profile_derivatives(position_nm[..., 0], width, shape[1])
            y, y_by_place, y_by_width = self._profile_derivatives(position_nm[..., 1], width, shape[0])
        width_by_defocus = (self.squared_width_slope(defocus_nm) / (2 * width))[..., None]
        x_by_defocus, y_by_defocus = x_by_width * width_by_defocus, y_by_width * width_by_defocus
        by_defocus = y_by_defocus[..., :, None] * x[..., None, :] + y[..., :, None] * x_by_defocus[..., None, :]
        by_x, by_y = y[..., :, None] * x_by_place[..., None, :], y_by_place[..., :, None] * x[..., None, :]
        return y[..., :, None] * x[..., None, :], (by_x, by_y, by_defocus)

    def as_scan(self, plane: int, travel_nm: Sequence[float], brightness: Sequence[float] | None = None) -> GaussianPSF:
        depths = tuple(self.plane_depths_nm[plane] - float(z) for z in travel_nm)
        factors = (1.0,) * len(depths) if brightness is None else tuple(map(float, brightness))
        return replace(self, plane_depths_nm=depths, brightness=factors)

    def _distance(self, position_nm: Tensor, width_nm: Tensor, size: int) -> Tensor:
        """Distances of the pixel centres from the emitter along one axis, in widths: (...) → (..., size)."""
        centre = (torch.arange(size, dtype=position_nm.dtype, device=position_nm.device) + 0.5) * self.pixel_size_nm
        return (centre - position_nm[..., None]) / width_nm[..., None]

    def _profile(self, position_nm: Tensor, width_nm: Tensor, size: int) -> Tensor:
        """Share of the photons on each of `size` pixels along one axis: (...) → (..., size)."""
        distance = self._distance(position_nm, width_nm, size)
        if not self.pixel_integration:
            return torch.exp(-0.5 * distance**2) * (self.pixel_size_nm / _ROOT_TWO_PI) / width_nm[..., None]
        half = 0.5 * self.pixel_size_nm / width_nm[..., None]
        return 0.5 * (torch.erf((distance + half) / _ROOT_TWO) - torch.erf((distance - half) / _ROOT_TWO))

    def _profile_derivatives(self, position_nm: Tensor, width_nm: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """The profile and its derivatives by position and by width."""
        distance = self._distance(position_nm, width_nm, size)
        profile = self._profile(position_nm, width_nm, size)
        width = width_nm[..., None]
        if not self.pixel_integration:
            return profile, profile * distance / width, profile * (distance**2 - 1) / width
        half = 0.5 * self.pixel_size_nm / width
        right, left = distance + half, distance - half
        density_right, density_left = (torch.exp(-0.5 * edge**2) / _ROOT_TWO_PI for edge in (right, left))
        by_place = (density_left - density_right) / width
        return profile, by_place, (left * density_left - right * density_right) / width

    def as_dict(self) -> dict[str, Any]:
        return {"model": "gaussian", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GaussianPSF:
        """The reverse of `as_dict`.

        Raises
        ------
        ValueError, KeyError, TypeError : a value is invalid.
        """
        tuples = {key: tuple(float(v) for v in values[key]) for key in ("plane_depths_nm", "brightness")}
        psf = cls(**{key: value for key, value in {**values, **tuples}.items() if key != "model"})
        if len(psf.plane_depths_nm) != len(psf.brightness):
            raise ValueError("plane_depths_nm and brightness differ in length")
        return psf


def paper_psf() -> GaussianPSF:
    """The paper's microscope (Table 1 and 2): 192 nm pixels, planes 400 nm apart. B is not printed; 0 is used."""
    return GaussianPSF(
        pixel_size_nm=192.0,
        plane_depths_nm=(-600.0, -200.0, 200.0, 600.0),
        brightness=(0.25, 0.25, 0.25, 0.25),
        waist_nm=133.0,
        focus_depth_nm=302.0,
        asymmetry=7.37e-4,
    )
