"""Images of single emitters on every camera, for the simulated acquisition.

An emitter is drawn into a small window around its position on each camera, integrated over the pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.psf import PSF, Emitters
from planeloc.psf.single_bead import SingleBeadPSF

Array = NDArray[np.float64]

_REACH_SIGMAS = 4.5  # a window this wide loses 1e-5 of a Gaussian's photons


@dataclass(frozen=True)
class PsfImaging:
    """A model of `planeloc.psf` in windows wide enough for its largest defocus."""

    psf: PSF
    radius_px: int

    @classmethod
    def reaching(cls, psf: PSF, depth_range_nm: float) -> PsfImaging:
        """Windows for emitters within ± `depth_range_nm`."""
        defocus = [d - z for d in psf.plane_depths_nm for z in (-depth_range_nm, depth_range_nm)]
        squared = max(psf.gaussian.squared_width(d) for d in defocus)
        return cls(psf, math.ceil(_REACH_SIGMAS * math.sqrt(squared) / psf.pixel_size_nm) + 1)

    def windows(self, points_px: Array, z_nm: Array, photons: Array) -> tuple[Array, NDArray[np.int64]]:
        """Expected photons of n emitters (n, planes, side, side), and each window's corner (x, y) (n, planes, 2).

        `points_px` (n, planes, 2) are positions on each camera from its outer corner; `photons` (n,) is for all planes.
        """
        side = 2 * self.radius_px + 1
        corners = np.floor(points_px).astype(np.int64) - self.radius_px
        within_nm = torch.from_numpy((points_px - corners) * self.psf.pixel_size_nm)
        origin = torch.zeros(len(z_nm), dtype=torch.float64)  # the cameras' own positions come as shifts from it
        emitters = Emitters(origin, origin, torch.from_numpy(z_nm), torch.from_numpy(photons), within_nm)
        return self.psf.expected_photons(emitters, (side, side)).clamp(min=0).numpy(), corners


Imaging = PsfImaging | SingleBeadPSF
"""Whatever draws emitters into `windows`."""


def add_windows(expected: Array, frame: NDArray[np.int64], images: Array, corners: NDArray[np.int64]) -> None:
    """Add windows to movie frames; pixels beyond the sensor are ignored.

    Parameters
    ----------
    expected : (frames, planes, rows, columns), changed in place.
    frame : (n,) of every emitter.
    images, corners : (n, planes, side, side) and (n, planes, 2), as from `windows`.
    """
    _, planes, height, width = expected.shape
    steps = np.arange(images.shape[-1])
    columns = (corners[..., 0, None] + steps)[..., None, :]
    rows = (corners[..., 1, None] + steps)[..., None]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    plane = np.arange(planes)[None, :, None, None]
    index = ((frame[:, None, None, None] * planes + plane) * height + rows) * width + columns
    np.add.at(expected.reshape(-1), index[inside], images[inside])
