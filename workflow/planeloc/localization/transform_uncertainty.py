"""How much the uncertainty of the transforms between cameras adds to a molecule's standard deviations.

A molecule's lateral position is the mean of the planes' positions, weighted by their Fisher information. If the
transform of plane p is wrong by δ_p, the position is wrong by Σ share_p δ_p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.psf import PSF, Emitters
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

_WINDOW_PX = 25
_DEPTH_STEP_NM = 25.0
_COMMON_POINTS = 9  # along each side of the field


@dataclass(frozen=True)
class PlaneShares:
    """Each plane's share of the lateral Fisher information, tabulated over depth."""

    depths_nm: Array  # (depths,)
    shares: Array  # (depths, planes), sum to 1
    pixel_size_nm: float

    @classmethod
    def of(cls, psf: PSF, depth_range_nm: tuple[float, float], photons: float, background: float) -> PlaneShares:
        """Shares for a molecule in the middle of a pixel, with shot noise alone.

        Parameters
        ----------
        photons : of the molecule, on all planes.
        background : photons per pixel.
        """
        low, high = depth_range_nm
        depths = np.linspace(low, high, max(round((high - low) / _DEPTH_STEP_NM), 1) + 1)
        emitters = Emitters.in_middle(_WINDOW_PX * psf.pixel_size_nm, torch.from_numpy(depths), photons)
        images, derivatives = psf.expected_photons_and_derivatives(emitters, (_WINDOW_PX, _WINDOW_PX))
        variance = images.clamp(min=0) + max(background, 1e-3)
        information = (derivatives[..., :2] ** 2 / variance[..., None]).sum(dim=(-3, -2, -1)).numpy()
        return cls(depths, information / information.sum(axis=1, keepdims=True), psf.pixel_size_nm)

    def at(self, z_nm: Array) -> Array:
        """Shares (n, planes) at depths (n,); beyond the table, those of its ends."""
        return np.stack([np.interp(z_nm, self.depths_nm, column) for column in self.shares.T], axis=-1)

    def transform_sd_nm(
        self,
        registration: Registration,
        position_nm: Array,
        seen: NDArray[np.bool_] | None = None,
        known_nm: Array | None = None,
    ) -> Array:
        """Standard deviations (n, 2) of x and y from the transforms alone, for molecules at x, y, z (n, 3).

        The transforms' errors are taken to be fully correlated, since the noise of the reference camera's beads is in
        all of them: an upper bound. Plane 0 is the reference and exact; unknown uncertainties count as 0. Only planes
        that see a molecule (n, planes) have a share. `known_nm` (planes, 2) is a part of them that is known, and is
        left out.
        """
        shares = self.at(position_nm[:, 2])
        if seen is not None:
            shares = np.where(seen, shares, 0.0)
            shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        points_px = position_nm[:, :2] / self.pixel_size_nm
        of_planes = [np.nan_to_num(registration.sd_nm(plane, points_px)) for plane in range(registration.planes)]
        sds = np.stack(of_planes)
        if known_nm is not None:
            sds = np.sqrt(np.maximum(sds**2 - known_nm[:, None] ** 2, 0))
        return np.einsum("np,pna->na", shares, sds)


def common_sd_nm(registration: Registration, field_px: tuple[int, int]) -> Array:
    """(planes, 2) The part of the transforms' uncertainty that all of the field shares: a shift of the plane."""
    rows, columns = (np.linspace(0, side, _COMMON_POINTS) for side in field_px)
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    sds = [np.nan_to_num(registration.sd_nm(plane, points)) for plane in range(registration.planes)]
    return np.stack(sds).min(axis=1)
