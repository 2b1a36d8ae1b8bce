"""Fits of a PSF model to the beads of one camera on all slices: a bead has one position, one depth and one brightness.

A slice is to a bead what a plane is to a molecule (`PSF.as_scan`), so a bead is fitted as molecules are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from planeloc.core.arrays import Array
from planeloc.fitting.single_emitter import EmitterFits, EmitterWindows, fit_emitters
from planeloc.psf import PSF


@dataclass(frozen=True)
class BeadScan:
    """Windows around the beads of one camera, and a first guess of what is in them."""

    windows: EmitterWindows  # (beads, slices, rows, columns): slices are the planes of `PSF.as_scan`
    travel_nm: tuple[float, ...]  # (slices,) of the beads along z
    brightness: tuple[float, ...]  # (slices,) of the beads over their mean: below one where they have bleached
    start: Tensor  # (beads, 4): x, y from the window's outer corner, z (nm), photons on this camera

    def only(self, chosen: Tensor) -> BeadScan:
        """Some of the beads."""
        return replace(self, windows=self.windows.part(chosen), start=self.start[chosen])

    def model(self, psf: PSF, plane: int) -> PSF:
        """The model of one plane, with the slices as its planes."""
        return psf.as_scan(plane, self.travel_nm, self.brightness)

    def background(self, psf: PSF) -> Tensor:
        """(beads, slices) photons per pixel beside the first guess."""
        return self.windows.first_background(self.model(psf, 0), self.start)

    def fit(self, psf: PSF, plane: int, start: Tensor | None = None) -> EmitterFits:
        """Fit every bead with the model of one plane."""
        return fit_emitters(self.model(psf, plane), self.windows, self.start if start is None else start)


@dataclass(frozen=True)
class ModelResidual:
    """What a model does not explain of the beads of a plane; sums over the beads' pixels, photons²."""

    defocus_nm: Array  # (slices,) of the typical bead
    squared_residual: Array  # (slices,) beyond the noise
    squared_contrast: Array  # (slices,) of the model's images

    @property
    def relative(self) -> Array:
        """(slices,) Relative residual, rms over rms."""
        return np.sqrt(np.maximum(self.squared_residual, 0.0) / np.maximum(self.squared_contrast, 1e-12))


@dataclass(frozen=True)
class CalibratedPSF:
    """A PSF model and its residuals on the beads."""

    psf: PSF
    brightness_sd: Array  # (planes,)
    of_gaussian: list[ModelResidual]  # of every plane
    of_spline: list[ModelResidual] | None  # where that is the model


def model_residual(psf: PSF, plane: int, scan: BeadScan, fits: EmitterFits) -> ModelResidual:
    """Compare a plane's beads with the model that was fitted to them."""
    windows = scan.windows
    model = windows.expected(scan.model(psf, plane), fits.parameters, fits.background)
    residual = (windows.use * ((windows.photons - model) ** 2 - windows.noise.variance(model))).sum(dim=(0, 2, 3))
    count = windows.use.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (windows.use * model).sum(dim=(2, 3), keepdim=True) / count
    contrast = (windows.use * (model - mean) ** 2).sum(dim=(0, 2, 3))
    z = float(fits.parameters[:, 2].median()) + np.array(scan.travel_nm)
    return ModelResidual(psf.plane_depths_nm[plane] - z, residual.numpy(), contrast.numpy())


def relative_residual(planes: Sequence[ModelResidual], reach_nm: float) -> float:
    """Relative residual of a model on all planes, within a defocus of ± `reach_nm`."""
    near = [np.abs(plane.defocus_nm) <= reach_nm for plane in planes]
    residual = sum(float(plane.squared_residual[kept].sum()) for plane, kept in zip(planes, near, strict=True))
    contrast = sum(float(plane.squared_contrast[kept].sum()) for plane, kept in zip(planes, near, strict=True))
    return float(np.sqrt(max(residual, 0.0) / contrast)) if contrast > 0 else float("nan")
