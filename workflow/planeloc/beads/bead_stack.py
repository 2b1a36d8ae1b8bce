"""The beads of one camera on all slices of a scan as one problem: a bead has one place, one depth and one brightness.

A slice is to a bead what a plane is to a molecule (`PSF.as_scan`), so a bead is fitted as molecules are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.beads.detection import Beads, cut_out
from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.single_emitter import EmitterFits, Windows, fit_emitters
from planeloc.psf import PSF

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BeadScan:
    """Windows around beads, and a first guess of what is in them."""

    windows: Windows  # (beads, slices, rows, columns): slices are the planes of `PSF.as_scan`
    travel_nm: tuple[float, ...]  # (slices,) of the beads along z
    light: tuple[float, ...]  # (slices,) of the beads over their mean: below one where they have bleached
    start: Tensor  # (beads, 4): x, y from the window's outer corner, z (nm), photons on this camera

    def only(self, chosen: Tensor) -> BeadScan:
        """Some of the beads."""
        return replace(self, windows=self.windows.part(chosen), start=self.start[chosen])

    def model(self, psf: PSF, plane: int) -> PSF:
        """The model of one plane, with the slices as its planes."""
        return psf.as_scan(plane, self.travel_nm, self.light)

    def background(self, psf: PSF) -> Tensor:
        """(beads, slices) what is beside the first guess on every slice, photons per pixel."""
        return self.windows.first_background(self.model(psf, 0), self.start)

    def fit(self, psf: PSF, plane: int, start: Tensor | None = None) -> EmitterFits:
        """Fit every bead with the model of one plane."""
        return fit_emitters(self.model(psf, plane), self.windows, self.start if start is None else start)


def scan_of(
    counts: NDArray[np.uint16],
    camera: Camera,
    beads: Beads,
    window_px: int,
    travel_nm: Array,
    light: Array,
    start: Array,
    pixel_size_nm: float,
    aside_nm: Array,
) -> BeadScan:
    """Cut the beads of one camera out of its stack (slices, rows, columns) of raw counts.

    `start` (beads, 4): x, y in nm from the camera's outer corner, z of the bead at travel 0, photons on this camera.
    `aside_nm` (slices, 2): what the stage carries all beads along x and y of this camera.
    """
    slices = len(counts)
    photons, mask = cut_out(counts, camera, beads, window_px)
    shape = (len(beads), slices, window_px, window_px)
    use = torch.from_numpy(mask)[:, None].expand(shape)
    noise = PixelNoise.of([camera]).repeated(0, slices)
    corners = np.column_stack((beads.columns, beads.rows)) - window_px // 2
    shifts = torch.from_numpy(aside_nm).expand(len(beads), slices, 2)
    within = np.column_stack((start[:, :2] - corners * pixel_size_nm, start[:, 2:]))
    return BeadScan(
        Windows.of(torch.from_numpy(photons.astype(np.float64)).reshape(shape), noise, use, shifts),
        tuple(map(float, travel_nm)),
        tuple(map(float, light)),
        torch.from_numpy(within),
    )


@dataclass(frozen=True)
class Explained:
    """How well a model explains the beads of a plane, slice by slice; sums over the beads' pixels, photons²."""

    defocus_nm: Array  # (slices,) of the typical bead
    left: Array  # (slices,) squared residuals beyond the noise
    contrast: Array  # (slices,) squared contrast of the model's images

    @property
    def share(self) -> Array:
        """(slices,) What the model leaves unexplained, rms over rms."""
        return np.sqrt(np.maximum(self.left, 0.0) / np.maximum(self.contrast, 1e-12))


def explained_by(psf: PSF, plane: int, scan: BeadScan, fits: EmitterFits) -> Explained:
    """Hold a plane's beads against the model that was fitted to them."""
    windows = scan.windows
    model = windows.expected(scan.model(psf, plane), fits.parameters, fits.background)
    left = (windows.use * ((windows.photons - model) ** 2 - windows.noise.variance(model))).sum(dim=(0, 2, 3))
    count = windows.use.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (windows.use * model).sum(dim=(2, 3), keepdim=True) / count
    contrast = (windows.use * (model - mean) ** 2).sum(dim=(0, 2, 3))
    z = float(fits.parameters[:, 2].median()) + np.array(scan.travel_nm)
    return Explained(psf.plane_depths_nm[plane] - z, left.numpy(), contrast.numpy())


def misfit(planes: Sequence[Explained], reach_nm: float) -> float:
    """Share of the beads' images within a defocus of ± `reach_nm` that a model leaves unexplained, on all planes."""
    near = [np.abs(plane.defocus_nm) <= reach_nm for plane in planes]
    left = sum(float(plane.left[kept].sum()) for plane, kept in zip(planes, near, strict=True))
    contrast = sum(float(plane.contrast[kept].sum()) for plane, kept in zip(planes, near, strict=True))
    return float(np.sqrt(max(left, 0.0) / contrast)) if contrast > 0 else float("nan")
