"""The interface of every point spread function.

An emitter at (x, y, z) puts on plane p the share brightness[p] of its photons, spread over the pixels by a unit image
that depends on the lateral position and on the defocus Δz = d_p − z, with d_p the plane's focal depth. A model gives
unit images and their derivatives; everything else is common to all models and implemented here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from planeloc.psf.gaussian import GaussianPSF


class PSF(ABC):
    """Point spread function of all planes; immutable, so that threads can share it."""

    pixel_size_nm: float
    plane_depths_nm: tuple[float, ...]  # focal depth of every plane
    brightness: tuple[float, ...]  # fraction of the photons on every plane, sums to 1
    gaussian: GaussianPSF  # the closest Gaussian: widths for figures and first guesses

    @property
    def planes(self) -> int:
        return len(self.plane_depths_nm)

    @abstractmethod
    def unit_images(self, position_nm: Tensor, defocus_nm: Tensor, shape: tuple[int, int]) -> Tensor:
        """Share of a plane's photons on every pixel, (..., planes, rows, columns).

        Parameters
        ----------
        position_nm : Tensor
            (..., planes, 2): (x, y) on each plane from the outer corner of the window's pixel (0, 0).
        defocus_nm : Tensor
            (..., planes).
        shape : (rows, columns)
            Size of the window.
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
        matrices : sequence of arrays
            (planes, 2, 2): from the reference's axes to each camera's.
        """
        return self

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Plain values for records; large arrays are in `arrays`."""

    @property
    def arrays(self) -> dict[str, Tensor]:
        """Tensors that complete `as_dict`, by name."""
        return {}

    def expected_photons(
        self,
        x_nm: Tensor,
        y_nm: Tensor,
        z_nm: Tensor,
        photons: Tensor,
        shape: tuple[int, int],
        plane_shifts_nm: Tensor | None = None,
        background: Tensor | None = None,
    ) -> Tensor:
        """Expected photons of single emitters on every pixel of every plane.

        Parameters
        ----------
        x_nm, y_nm, z_nm, photons : Tensor
            Any common shape (...). Positions from the outer corner of pixel (0, 0); photons of all planes together.
        shape : (rows, columns)
            Size of the window.
        plane_shifts_nm : Tensor, optional
            (..., planes, 2): displacement (x, y) of the image on every plane, for drift and registration.
        background : Tensor, optional
            (..., planes): photons per pixel that are added.

        Returns
        -------
        Tensor of shape (..., planes, rows, columns).
        """
        position, defocus = self._on_planes(x_nm, y_nm, z_nm, plane_shifts_nm)
        weight = photons[..., None] * self._fractions(z_nm)
        images = weight[..., None, None] * self.unit_images(position, defocus, shape)
        return images if background is None else images + background[..., None, None]

    def expected_photons_and_derivatives(
        self,
        x_nm: Tensor,
        y_nm: Tensor,
        z_nm: Tensor,
        photons: Tensor,
        shape: tuple[int, int],
        plane_shifts_nm: Tensor | None = None,
        background: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `expected_photons`, and the derivatives (..., planes, rows, columns, 4) by x, y, z (per nm) and photons.

        The derivative by a plane's background is 1 on that plane.
        """
        position, defocus = self._on_planes(x_nm, y_nm, z_nm, plane_shifts_nm)
        fractions = self._fractions(z_nm)
        weight = (photons[..., None] * fractions)[..., None, None]
        unit, (by_x, by_y, by_defocus) = self.unit_derivatives(position, defocus, shape)
        images = weight * unit
        # Δz = d − z: an emitter that moves up is less defocused on the planes above it.
        derivatives = torch.stack(
            (weight * by_x, weight * by_y, -weight * by_defocus, fractions[..., None, None] * unit), dim=-1
        )
        return (images if background is None else images + background[..., None, None]), derivatives

    def _on_planes(
        self, x_nm: Tensor, y_nm: Tensor, z_nm: Tensor, plane_shifts_nm: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Positions (..., planes, 2) and defocus (..., planes)."""
        depths = torch.tensor(self.plane_depths_nm, dtype=z_nm.dtype, device=z_nm.device)
        position = torch.stack((x_nm, y_nm), dim=-1)[..., None, :].expand(*z_nm.shape, self.planes, 2)
        if plane_shifts_nm is not None:
            position = position + plane_shifts_nm
        return position, depths - z_nm[..., None]

    def _fractions(self, like: Tensor) -> Tensor:
        return torch.tensor(self.brightness, dtype=like.dtype, device=like.device)
