"""Finding the beads of one camera in its scan and fitting them on every slice: positions, widths, photons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from planeloc.beads.bead_stack import BeadStack, field_background
from planeloc.beads.detection import Beads, BeadSearch, find_clean_beads
from planeloc.beads.fits import BeadFits, fit_beads
from planeloc.beads.stage_drift import bead_motion_px
from planeloc.calibration.defocus_curve import Widths
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.camera import Camera, camera_called
from planeloc.core.arrays import Array, Counts, Mask
from planeloc.core.errors import PlanelocError

_FEWEST_SLICES_OF_BEAD = 5
_SNR_OF_PEAK = 5.0
_LARGEST_WIDTH_ERROR = 0.3  # of a squared width, relative


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

    def only(self, kept: Mask) -> PlaneBeads:
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
        return bead_motion_px(self.fits)


def measure_beads(
    counts: Counts, camera: Camera, file: Path, pixel_size_nm: float, settings: CalibrateSettings
) -> PlaneBeads:
    """Find the beads of one camera in raw counts (slices, rows, columns) and fit them; `file` is for messages.

    Raises
    ------
    PlanelocError : fewer than `minimum_beads` are usable, or can be fitted on enough slices.
    """
    search = BeadSearch.in_pixels(
        pixel_size_nm, settings.window_nm, settings.isolation_nm, settings.border_nm, settings.minimum_snr
    )
    beads = find_clean_beads(counts, camera, search)
    if len(beads) < settings.minimum_beads:
        raise PlanelocError(
            f"{file}: {beads.summary} on {camera_called(camera.name)}, at least {settings.minimum_beads} needed; "
            f"{beads.advice}"
        )
    stack = BeadStack.cut(counts, camera, beads, search.window_px)
    fits = fit_beads(stack, estimator="least_squares")
    kept = bead_widths(fits, search.window_px, pixel_size_nm, settings).good.sum(axis=1) >= _FEWEST_SLICES_OF_BEAD
    if kept.sum() < settings.minimum_beads:
        dim = "use brighter beads and a scan through this plane's focus"
        raise PlanelocError(
            f"{file}: {kept.sum()} of {len(kept)} beads on {camera_called(camera.name)} fit a Gaussian on "
            f"{_FEWEST_SLICES_OF_BEAD} or more slices; {beads.advice if beads.clipped else dim}"
        )
    photons = stack.brightness(field_background(counts, camera, beads, search.window_px))
    return PlaneBeads(file, beads, stack, fits, *photons).only(kept)


def bead_widths(fits: BeadFits, window_px: int, pixel_size_nm: float, settings: CalibrateSettings) -> Widths:
    """Squared widths of the beads in nm², with the slices where they can be trusted."""
    squared = fits.squared_width_px2[..., 0] * pixel_size_nm**2
    deviation = fits.squared_width_sd_px2[..., 0] * pixel_size_nm**2
    strong = fits.peak > _SNR_OF_PEAK * fits.peak_sd
    sharp = (deviation < _LARGEST_WIDTH_ERROR * squared) & (squared < (window_px * pixel_size_nm / 4) ** 2)
    squared = squared - settings.bead_diameter_nm**2 / 20  # variance per axis of a full sphere, seen from above
    good = fits.good & strong & sharp & (squared > (0.2 * pixel_size_nm) ** 2)
    return Widths(np.where(good, squared, pixel_size_nm**2), deviation, fits.peak, good)
