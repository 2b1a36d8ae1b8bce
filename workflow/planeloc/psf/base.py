"""The interface of every point spread function.

An emitter at (x, y, z) puts on plane p the share brightness[p] of its photons, spread over the pixels by a unit image
that depends on the lateral position and on the defocus Δz = d_p − z, with d_p the plane's focal depth. A model gives
unit images and their derivatives; everything else is common to all models and implemented here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from planeloc.psf.gaussian import GaussianPSF


@dataclass(frozen=True, eq=False)
class Emitters:
    """Single emitters: positions, photons, and how each plane sees them.

    Positions are from the outer corner of pixel (0, 0). x, y, z and photons have any common shape (...).
    """

    x_nm: Tensor
    y_nm: Tensor
    z_nm: Tensor
    photons: Tensor  # of all planes together
    plane_shifts_nm: Tensor | None = None  # (..., planes, 2): displacement (x, y) on each plane: drift, registration
    background: Tensor | None = None  # (..., planes): photons per pixel that are added

    @classmethod
    def in_middle(
        cls, side_nm: float, z_nm: Tensor, photons: Tensor | float = 1.0, plane_shifts_nm: Tensor | None = None
    ) -> Emitters:
        """Emitters in the middle of a square window.

        Parameters
        ----------
        side_nm : of the window.
        z_nm, photons : (...).
        plane_shifts_nm : (..., planes, 2).
        """
        middle = torch.full_like(z_nm, 0.5 * side_nm)
        return cls(middle, middle, z_nm, photons * torch.ones_like(z_nm), plane_shifts_nm)

    def __getitem__(self, part: Any) -> Emitters:
        """Some of the emitters, by any index of their first axis."""
        return Emitters(*(None if values is None else values[part] for values in vars(self).values()))


class PSF(ABC):
    """Point spread function of all planes; immutable, so that threads can share it."""

    pixel_size_nm: float
    plane_depths_nm: tuple[float, ...]  # focal depth of every plane
    brightness: tuple[float, ...]  # fraction of the photons on every plane, sums to 1
    gaussian: GaussianPSF  # the closest Gaussian: widths for figures and first guesses

    @property
    def planes(self) -> int:
        """Number of planes."""
        return len(self.plane_depths_nm)

    @abstractmethod
    def unit_images(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        """Share of a plane's photons on every pixel, (..., planes, rows, columns).

        Parameters
        ----------
        position_nm : (..., planes, 2), (x, y) on each plane from the outer corner of the window's pixel (0, 0).
        defocus_nm : (..., planes).
        shape : rows and columns of the window.
        """

    @abstractmethod
    def unit_derivatives(
        self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Unit images, and their derivatives by x, y and defocus, per nm, of the same shape."""

    @abstractmethod
    def as_scan(self, plane: int, travel_nm: Sequence[float], brightness: Sequence[float] | None = None) -> PSF:
        """The model of a bead that is moved by `travel_nm` (slices,) along z, on one plane.

        Every slice becomes a plane with all photons, or `brightness` (slices,) times as many: whatever fits an emitter
        on several planes then also fits a bead on several slices.
        """

    @property
    def measured_depths_nm(self) -> tuple[float, float] | None:
        """Depths of the beads that the model was measured on; None for a formula, which holds at every depth."""
        return None

    def in_reference_frame(self, matrices: Sequence[NDArray[np.float64]]) -> PSF:
        """The model in the reference camera's frame; a round model is the same in every frame.

        Parameters
        ----------
        matrices : (planes, 2, 2), from the reference's axes to each camera's.
        """
        return self

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Plain values for records; large arrays are in `arrays`."""

    @property
    def arrays(self) -> dict[str, Tensor]:
        """Tensors that complete `as_dict`, by name."""
        return {}

    def expected_photons(self, emitters: Emitters, shape: tuple[int, int]) -> Tensor:
        """Expected photons (..., planes, rows, columns) of every single emitter in a window of `shape`."""
        position, defocus = self._on_planes(emitters)
        weight = emitters.photons[..., None] * self._fractions(emitters.z_nm)
        return _with_background(weight[..., None, None] * self.unit_images(position, defocus, shape), emitters)

    def expected_photons_and_derivatives(self, emitters: Emitters, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """As `expected_photons`, and the derivatives (..., planes, rows, columns, 4) by x, y, z (per nm) and photons.

        The derivative by a plane's background is 1 on that plane.
        """
        position, defocus = self._on_planes(emitters)
        fractions = self._fractions(emitters.z_nm)
        weight = (emitters.photons[..., None] * fractions)[..., None, None]
        unit, (by_x, by_y, by_defocus) = self.unit_derivatives(position, defocus, shape)
        # Δz = d − z: an emitter that moves up is less defocused on the planes above it.
        derivatives = torch.stack(
            (weight * by_x, weight * by_y, -weight * by_defocus, fractions[..., None, None] * unit), dim=-1
        )
        return _with_background(weight * unit, emitters), derivatives

    def _on_planes(self, emitters: Emitters) -> tuple[Tensor, Tensor]:
        """Positions (..., planes, 2) and defocus (..., planes)."""
        z = emitters.z_nm
        position = torch.stack((emitters.x_nm, emitters.y_nm), dim=-1)[..., None, :].expand(*z.shape, self.planes, 2)
        if emitters.plane_shifts_nm is not None:
            position = position + emitters.plane_shifts_nm
        return position, torch.tensor(self.plane_depths_nm, dtype=z.dtype, device=z.device) - z[..., None]

    def _fractions(self, like: Tensor) -> Tensor:
        return torch.tensor(self.brightness, dtype=like.dtype, device=like.device)


def _with_background(images: Tensor, emitters: Emitters) -> Tensor:
    return images if emitters.background is None else images + emitters.background[..., None, None]
