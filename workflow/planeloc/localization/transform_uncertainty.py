"""How much each plane tells about where a molecule is, and what the maps between the cameras add to its uncertainty.

A molecule's lateral position is the mean of what the planes say, weighted by their Fisher information. If plane p puts
it off by δ_p, since its map is wrong, the position is off by Σ share_p δ_p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.psf import PSF
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

_WINDOW_PX = 25
_DEPTH_STEP_NM = 25.0


@dataclass(frozen=True)
class PlaneShares:
    """Shares of the lateral Fisher information, tabulated over depth."""

    depths_nm: Array  # (depths,)
    shares: Array  # (depths, planes), sum to 1
    pixel_size_nm: float

    @classmethod
    def of(cls, psf: PSF, depth_range_nm: tuple[float, float], photons: float, background: float) -> PlaneShares:
        """Shares for a molecule in the middle of a pixel, with these photons (on all planes) and background (photons
        per pixel); variances are those of shot noise.
        """
        low, high = depth_range_nm
        depths = np.linspace(low, high, max(round((high - low) / _DEPTH_STEP_NM), 1) + 1)
        z = torch.from_numpy(depths)
        middle = torch.full_like(z, 0.5 * _WINDOW_PX * psf.pixel_size_nm)
        light = torch.full_like(z, photons)

        images, derivatives = psf.expected_photons_and_derivatives(middle, middle, z, light, (_WINDOW_PX, _WINDOW_PX))
        variance = images.clamp(min=0) + max(background, 1e-3)
        information = (derivatives[..., :2] ** 2 / variance[..., None]).sum(dim=(-3, -2, -1)).numpy()
        return cls(depths, information / information.sum(axis=1, keepdims=True), psf.pixel_size_nm)

    def at(self, z_nm: Array) -> Array:
        """(n, planes) at depths (n,), the nearest one of the table beyond its ends."""
        columns = [np.interp(z_nm, self.depths_nm, column) for column in self.shares.T]
        return np.stack(columns, axis=-1)

    def map_sd_nm(self, registration: Registration, position_nm: Array) -> Array:
        """(n, 2): standard deviation along x and y that the maps' uncertainty adds to molecules at (n, 3) x, y, z nm.

        The errors of the maps are taken to be alike, as the noise of the reference's beads is in all of them: an upper
        bound. Plane 0 is the reference and exact; a map whose uncertainty is unknown adds nothing.
        """
        shares = self.at(position_nm[:, 2])
        points_px = position_nm[:, :2] / self.pixel_size_nm
        of_planes = [np.nan_to_num(registration.sd_nm(plane, points_px)) for plane in range(registration.planes)]
        return np.einsum("np,pna->na", shares, np.stack(of_planes))
