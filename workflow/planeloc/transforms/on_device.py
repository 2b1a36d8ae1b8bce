"""The transforms of a registration as polynomials of second order, of all cameras at once, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from planeloc.transforms.camera_transform import Affine, Quadratic, Registration


@dataclass(frozen=True)
class TransformsOnDevice:
    """x' = coefficients @ (1, u, v, u², uv, v²), (u, v) = (x − centre) / scale, for every camera."""

    centre_px: Tensor  # (planes, 2)
    scale_px: Tensor  # (planes,)
    coefficients_px: Tensor  # (planes, 2, 6)

    @classmethod
    def of(cls, registration: Registration, device: torch.device) -> TransformsOnDevice:
        """Those of a registration, in float64."""
        values = zip(*(_as_quadratic(transform) for transform in registration.transforms), strict=True)
        return cls(*(torch.from_numpy(np.stack(each)).to(device) for each in values))

    def positions(self, points_px: Tensor) -> Tensor:
        """(n, planes, 2) px of every camera: the places of points (n, 2) of the reference."""
        u, v = self._centred(points_px)
        terms = torch.stack((torch.ones_like(u), u, v, u * u, u * v, v * v), dim=2)
        return (self.coefficients_px @ terms[..., None])[..., 0]

    def jacobians(self, points_px: Tensor) -> Tensor:
        """(n, planes, 2, 2): derivatives of x' and y' (rows) along x and y."""
        u, v = self._centred(points_px)
        one, none = torch.ones_like(u), torch.zeros_like(u)
        along = torch.stack((none, none, one, none, none, one, 2 * u, none, v, u, none, 2 * v), dim=2)
        return self.coefficients_px @ along.unflatten(2, (6, 2)) / self.scale_px[:, None, None]

    def _centred(self, points_px: Tensor) -> tuple[Tensor, Tensor]:
        """(n, planes) twice."""
        return ((points_px[:, None] - self.centre_px) / self.scale_px[:, None]).unbind(2)


def _as_quadratic(transform: Affine | Quadratic) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, scale and coefficients."""
    if isinstance(transform, Quadratic):
        return transform.centre_px, np.float64(transform.scale_px), transform.coefficients_px
    linear = np.column_stack((transform.shift_px, transform.matrix, np.zeros((2, 3))))
    return np.zeros(2), np.float64(1.0), linear
