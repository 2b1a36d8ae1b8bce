"""What `calibrate` measures: the beads of every camera, the fit of the Gaussian model, the calibrated PSF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.bead_stack import BeadStack
from planeloc.beads.detection import Beads, BeadSearch
from planeloc.beads.fits import BeadFits
from planeloc.beads.stage_drift import common_motion_px, own_motion_px
from planeloc.calibration.defocus_curve import DefocusFit, Widths
from planeloc.calibration.photobleaching import Photobleaching
from planeloc.calibration.scan_fit import ModelResidual
from planeloc.calibration.stage_steps import StageSteps
from planeloc.psf import PSF

Array = NDArray[np.float64]

_NEAR_FOCUS = 0.7  # of the depth of focus: where photons and misfit are taken


@dataclass(frozen=True)
class BeadMeasurement:
    """How beads are found and measured on every camera."""

    pixel_size_nm: float
    search: BeadSearch
    bead_diameter_nm: float
    minimum_beads: int
    bleaching: bool = False  # whether photobleaching is removed from the brightness


@dataclass(frozen=True)
class PlaneBeads:
    """The beads of one camera."""

    file: Path
    beads: Beads
    stack: BeadStack
    fits: BeadFits
    photons: Array  # (beads, slices) in the windows
    photons_sd: Array
    left_out: int = 0  # beads that were found and are not usable

    def only(self, kept: NDArray[np.bool_]) -> PlaneBeads:
        """The same camera with some of its beads."""
        parts = {name: getattr(self, name).only(kept) for name in ("beads", "stack", "fits")}
        left_out = self.left_out + int(np.sum(~kept))
        return replace(self, **parts, photons=self.photons[kept], photons_sd=self.photons_sd[kept], left_out=left_out)

    @property
    def name(self) -> str:
        """Of the camera."""
        return self.stack.camera.name

    @cached_property
    def motion_px(self) -> Array:
        """(beads,) rms motion of each bead beyond the common one and noise, per axis."""
        return own_motion_px(self.fits)


@dataclass(frozen=True)
class PsfFit:
    """Planes, the common fit of their beads (in the order of the planes) and what follows from it."""

    planes: tuple[PlaneBeads, ...]
    plane_of: NDArray[np.int64]  # (beads,)
    widths: Widths
    curve: DefocusFit
    depths_nm: Array  # (planes,)
    depth_sd_nm: Array
    photons: Array  # (beads,) of every bead on its plane, in focus
    brightness: Array  # (planes,)
    brightness_sd: Array
    pairs: tuple[NDArray[np.int64] | None, ...]  # for every plane but 0: (bead of plane 0, bead of this plane)
    bleaching: Photobleaching
    steps: StageSteps

    @property
    def defocus_nm(self) -> Array:
        """Δz of every bead and slice."""
        return self.curve.focus_nm[:, None] - self.widths.travel_nm

    @property
    def near_focus(self) -> NDArray[np.bool_]:
        """(beads, slices) where a bead is about in focus and well measured."""
        return near_focus(self.curve, self.widths.travel_nm)

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
        misfit = np.concatenate([plane.fits.misfit for plane in self.planes])
        return float(np.median(misfit[self.near_focus])) if self.near_focus.any() else float("nan")

    def position_px(self, plane: int) -> Array:
        """(beads, 2) position of the beads of a plane in focus, weighted by information."""
        fits, near = self.planes[plane].fits, self.near_focus[self.plane_of == plane]
        weights = np.where(near & fits.good, 1 / (fits.x_sd_px**2 + fits.y_sd_px**2 + 1e-4), 1e-12)
        return np.stack([np.average(at, axis=1, weights=weights) for at in (fits.x_px, fits.y_px)], axis=1)

    @property
    def reach_nm(self) -> float:
        """Largest |Δz| that molecules will have."""
        return largest_defocus(self.depths_nm, self.curve.depth_of_focus_nm)


@dataclass(frozen=True)
class CalibratedPSF:
    """A PSF model and its residuals on the beads."""

    psf: PSF
    brightness_sd: Array  # (planes,)
    of_gaussian: list[ModelResidual]  # of every plane
    of_spline: list[ModelResidual] | None  # where that is the model


def near_focus(curve: DefocusFit, travel_nm: Array) -> NDArray[np.bool_]:
    """(beads, slices) where a bead is about in focus and well measured."""
    return curve.used & (np.abs(curve.focus_nm[:, None] - travel_nm) < _NEAR_FOCUS * curve.depth_of_focus_nm)


def largest_defocus(depths_nm: Array, depth_of_focus_nm: float) -> float:
    """Largest |Δz| that molecules will have: from one end of the sampled depth range to the farthest plane."""
    span = float(np.ptp(depths_nm))
    spacing = span / (len(depths_nm) - 1)
    return span + max(spacing / 2, depth_of_focus_nm)
