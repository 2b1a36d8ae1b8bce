"""What `calibrate` finds: the fit of the Gaussian model to the beads of all cameras, the calibrated PSF."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from planeloc.beads.stage_drift import common_motion_px
from planeloc.calibration.defocus_curve import DefocusFit, Widths
from planeloc.calibration.measure_beads import PlaneBeads
from planeloc.calibration.photobleaching import Photobleaching
from planeloc.calibration.scan_fit import ModelResidual
from planeloc.calibration.stage_steps import StageSteps
from planeloc.core.arrays import Array, Indices
from planeloc.psf import PSF

NEAR_FOCUS = 0.7  # of the depth of focus: where photons and misfit are taken


@dataclass(frozen=True)
class PsfFit:
    """Planes, the common fit of their beads (in the order of the planes) and what follows from it."""

    pixel_size_nm: float
    planes: tuple[PlaneBeads, ...]
    plane_of: Indices  # (beads,)
    widths: Widths
    curve: DefocusFit
    depths_nm: Array  # (planes,)
    depth_sd_nm: Array
    photons: Array  # (beads,) of every bead on its plane, in focus
    brightness: Array  # (planes,)
    brightness_sd: Array
    pairs: tuple[Indices | None, ...]  # for every plane but 0: (bead of plane 0, bead of this plane)
    bleaching: Photobleaching
    steps: StageSteps

    @property
    def names(self) -> list[str]:
        """Of the cameras."""
        return [plane.name for plane in self.planes]

    @cached_property
    def common_motion_px(self) -> Array:
        """(planes,) rms motion of all beads of a plane together during the scan, per axis."""
        return np.array([common_motion_px(plane.fits) for plane in self.planes])

    @property
    def misfit(self) -> float:
        """Median relative residual of a Gaussian, whatever its width, for a bead near focus."""
        near = self.curve.near(NEAR_FOCUS)
        misfit = np.concatenate([plane.fits.misfit for plane in self.planes])
        return float(np.median(misfit[near])) if near.any() else float("nan")

    def position_px(self, plane: int) -> Array:
        """(beads, 2) position of the beads of a plane in focus, weighted by information."""
        fits, near = self.planes[plane].fits, self.curve.near(NEAR_FOCUS)[self.plane_of == plane]
        weights = np.where(near & fits.good, 1 / (fits.x_sd_px**2 + fits.y_sd_px**2 + 1e-4), 1e-12)
        return np.stack([np.average(at, axis=1, weights=weights) for at in (fits.x_px, fits.y_px)], axis=1)

    @property
    def reach_nm(self) -> float:
        """Largest |Δz| that molecules will have."""
        return self.curve.largest_defocus_nm(self.depths_nm)


@dataclass(frozen=True)
class CalibratedPSF:
    """A PSF model and its residuals on the beads."""

    psf: PSF
    brightness_sd: Array  # (planes,)
    of_gaussian: list[ModelResidual]  # of every plane
    of_spline: list[ModelResidual] | None  # where that is the model
