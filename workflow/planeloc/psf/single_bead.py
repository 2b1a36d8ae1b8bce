"""A PSF measured on one bead, interpolated without a model; the simulation draws emitters with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.core.errors import PlanelocError

_TAPER = 0.25  # outer part of the PSF's radius over which it fades to 0
_LEAST_SLICES = 5
_FOCUS_SLICES = 4  # on either side of the brightest slice, for a curve through the spot areas
_FOCUS_DEGREE = 4  # of that curve: the area rises faster on one side


@dataclass(frozen=True)
class SingleBeadPSF:
    """A point spread function from one bead scanned through focus.

    The running sum over the bead's fine pixels is interpolated (cubic in x, y and defocus): its differences are exact
    integrals over the camera's larger pixels, so that every slice keeps its sum wherever the emitter lies.
    """

    integral: NDArray[np.float64]  # spline coefficients of the running sum, (slice, row edge, column edge)
    focus_slice: float
    centre_px: tuple[float, float]  # (x, y) from the outer corner, fine pixels
    fine_pixel_nm: float
    slice_nm: float  # defocus Δz = d − z from one slice to the next; negative for a sample scan
    pixel_size_nm: float
    plane_depths_nm: tuple[float, ...]
    brightness: tuple[float, ...]
    mirrored: tuple[bool, ...]  # of every plane; the PSF is mirrored on it, too

    @classmethod
    def from_stack(
        cls,
        stack_counts: NDArray,
        offset_counts: float,
        fine_pixel_nm: float,
        slice_nm: float,
        pixel_size_nm: float,
        plane_depths_nm: tuple[float, ...],
        brightness: tuple[float, ...],
        mirrored: tuple[bool, ...],
    ) -> SingleBeadPSF:
        """From a z-stack: background subtracted, edges faded, sum of every slice set to 1.

        Parameters
        ----------
        stack_counts : (slices, rows, columns) of a bead.
        offset_counts : the camera's counts without light.
        fine_pixel_nm : pixel size of the stack; `pixel_size_nm` is that of the simulated cameras.
        slice_nm : defocus from one slice to the next; negative for a sample scan.
        plane_depths_nm, brightness, mirrored : (planes,) focal depth, fraction of the photons, mirrored or not.
        """
        photons = stack_counts.astype(np.float64) - offset_counts
        focus = _sharpest_slice(photons - _rim_level(photons))
        photons = np.clip(photons - _rim_level(photons[round(focus)]), 0.0, None)
        centre = _centroid(photons[round(focus)])
        photons *= _taper(photons.shape[1:], centre)
        photons /= photons.sum(axis=(1, 2), keepdims=True)
        edges = np.pad(photons.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
        coefficients = ndimage.spline_filter(edges, order=3, mode="nearest")
        return cls(
            coefficients, focus, centre, fine_pixel_nm, slice_nm, pixel_size_nm, plane_depths_nm, brightness, mirrored
        )

    @property
    def defocus_range_nm(self) -> tuple[float, float]:
        """Smallest and largest defocus d − z that the scan covers."""
        ends = (-self.focus_slice * self.slice_nm, (len(self.integral) - 1 - self.focus_slice) * self.slice_nm)
        return min(ends), max(ends)

    def windows(
        self, points_px: NDArray[np.float64], z_nm: NDArray[np.float64], photons: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Images of emitters; see `planeloc.simulation.imaging.PsfImaging.windows`."""
        reach_px = max(self.integral.shape[1:]) * self.fine_pixel_nm / self.pixel_size_nm
        radius = math.ceil(reach_px / 2) + 1
        corners = np.floor(points_px).astype(np.int64) - radius
        edges = np.arange(2 * radius + 2)
        # Pixel edges relative to the emitter, in fine pixels: (n, planes, 2, side + 1).
        away = (corners[..., None] + edges - points_px[..., None]) * (self.pixel_size_nm / self.fine_pixel_nm)
        handed = np.where(self.mirrored, -1.0, 1.0)
        columns = self.centre_px[0] + away[:, :, 0] * handed[None, :, None]
        rows = self.centre_px[1] + away[:, :, 1]
        slices = self.focus_slice + (np.asarray(self.plane_depths_nm) - z_nm[:, None]) / self.slice_nm
        shape = (*slices.shape, len(edges), len(edges))
        at = [np.broadcast_to(a, shape) for a in (slices[..., None, None], rows[..., None], columns[..., None, :])]
        sums = ndimage.map_coordinates(self.integral, at, order=3, mode="nearest", prefilter=False)
        images = np.diff(np.diff(sums, axis=-1), axis=-2) * handed[None, :, None, None]
        weights = photons[:, None] * np.asarray(self.brightness)
        return np.clip(images, 0.0, None) * weights[..., None, None], corners


def read_bead_stack(path: Path) -> NDArray:
    """A single-plane z-stack (slice, row, column) from a TIFF file, or `PlanelocError` naming the file."""
    try:
        stack = tifffile.imread(path)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: bead scan not found; check psf: file in the simulation file") from None
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise PlanelocError(f"{path}: cannot be read as TIFF ({error}); give a z-stack of one bead") from None
    if stack.ndim != 3 or len(stack) < _LEAST_SLICES:
        raise PlanelocError(f"{path}: shape {stack.shape} is not a z-stack of one bead (slices, rows, columns)")
    return stack


def _rim_level(image: NDArray[np.float64]) -> float:
    """Median of the outermost pixels of an image, or of all images of a stack: the background."""
    rim = np.ones(image.shape[-2:], dtype=bool)
    rim[1:-1, 1:-1] = False
    return float(np.median(image[..., rim]))


def _sharpest_slice(image: NDArray[np.float64]) -> float:
    """Slice in focus, to a fraction: where the spot covers the smallest area, (Σ I)² / Σ I²."""
    smooth = ndimage.gaussian_filter(image, (0.0, 0.5, 0.5))
    best = int(np.argmax(smooth.max(axis=(1, 2))))
    near = np.arange(max(best - _FOCUS_SLICES, 0), min(best + _FOCUS_SLICES + 1, len(image)))
    area = smooth[near].sum(axis=(1, 2)) ** 2 / (smooth[near] ** 2).sum(axis=(1, 2))
    curve = np.polynomial.Polynomial.fit(near, area, min(_FOCUS_DEGREE, len(near) - 1))
    fine = np.linspace(near[0], near[-1], 2001)
    return float(fine[np.argmin(curve(fine))])


def _centroid(image: NDArray[np.float64]) -> tuple[float, float]:
    """(x, y) of a bead's core from the outer corner: centroid of what exceeds half the peak, pixels."""
    core = np.clip(image - 0.5 * image.max(), 0.0, None)
    labelled, _ = ndimage.label(core > 0)
    core *= labelled == labelled[np.unravel_index(np.argmax(core), core.shape)]
    y, x = ndimage.center_of_mass(core)
    return float(x) + 0.5, float(y) + 0.5


def _taper(shape: tuple[int, int], centre_px: tuple[float, float]) -> NDArray[np.float64]:
    """1 in the middle, falling as a cosine to 0 at the nearest edge of the image."""
    height, width = shape
    x, y = centre_px
    outer = min(x, y, width - x, height - y)
    distance = np.hypot(np.arange(height)[:, None] + 0.5 - y, np.arange(width)[None, :] + 0.5 - x)
    fade = np.clip((outer - distance) / (_TAPER * outer), 0.0, 1.0)
    return 0.5 - 0.5 * np.cos(np.pi * fade)
