"""One Gaussian PSF from the beads of several cameras: a shared defocus curve, depth and brightness of each plane.

Beads are assumed to lie on a coverslip that may be tilted: every bead has its own focus, and planes are compared on the
beads that two cameras share, where enough can be matched; else by the medians of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from planeloc.beads.fits import BeadFits, fit_beads
from planeloc.beads.point_matching import match_points
from planeloc.beads.stage_drift import stage_drift_px
from planeloc.calibration.defocus_curve import DefocusFit, Widths, fit_defocus
from planeloc.calibration.measure_beads import PlaneBeads, bead_widths
from planeloc.calibration.photobleaching import Photobleaching, photobleaching
from planeloc.calibration.settings import CalibrateSettings
from planeloc.calibration.stage_steps import StageSteps, stage_steps
from planeloc.core.arrays import Array, Indices, Mask

STEPS = 2  # of `fit_psf`
_NEAR_FOCUS = 0.7  # of the depth of focus: where photons and residual are taken
_FEWEST_MATCHED = 4
_BRIGHTNESS_SD_OF_ONE = 0.03  # relative: how well a single bead's photons on two planes can be compared
_OUTLIER = 3.0  # a bead that fits this many times worse than the median is left out
_LARGEST_MOTION_PX = 0.1
_ASTIGMATISM_REACH = 1.5  # of the depth of focus
# Widths along two axes show the slanted part of astigmatism after a rotation by 45°.
_AXES_DEG = (0.0, 45.0)


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
    def stage_drift_px(self) -> Array:
        """(planes,) rms motion of all beads of a plane together during the scan, per axis."""
        return np.array([stage_drift_px(plane.fits) for plane in self.planes])

    @property
    def gaussian_residual(self) -> float:
        """Median relative residual of a Gaussian, whatever its width, for a bead near focus."""
        near = self.curve.near(_NEAR_FOCUS)
        residual = np.concatenate([plane.fits.relative_residual for plane in self.planes])
        return float(np.median(residual[near])) if near.any() else float("nan")

    def position_px(self, plane: int) -> Array:
        """(beads, 2) position of the beads of a plane in focus, weighted by information."""
        fits, near = self.planes[plane].fits, self.curve.near(_NEAR_FOCUS)[self.plane_of == plane]
        weights = np.where(near & fits.good, 1 / (fits.x_sd_px**2 + fits.y_sd_px**2 + 1e-4), 1e-12)
        return np.stack([np.average(at, axis=1, weights=weights) for at in (fits.x_px, fits.y_px)], axis=1)

    @property
    def reach_nm(self) -> float:
        """Largest |Δz| that molecules will have."""
        return self.curve.largest_defocus_nm(self.depths_nm)


def fit_psf(
    planes: Sequence[PlaneBeads],
    travel_nm: Array,
    shape: tuple[int, int],
    pixel_size_nm: float,
    settings: CalibrateSettings,
    advance: Callable[[], object] = lambda: None,
) -> PsfFit:
    """Fit the curve and compare the planes.

    Parameters
    ----------
    planes : the measured beads of every camera.
    travel_nm : (slices,) position of the beads along z relative to the planes, up to a constant.
    shape : (rows, columns) of the cameras.
    advance : is called `STEPS` times in all.
    """
    window_px = planes[0].stack.photons.shape[-1]
    for last in (False, True):
        fits = BeadFits.joined([plane.fits for plane in planes])
        widths = bead_widths(fits, window_px, pixel_size_nm, settings)
        plane_of = np.repeat(np.arange(len(planes)), [len(plane.beads) for plane in planes])
        curve = fit_defocus(widths, travel_nm)
        medians = np.array([np.median(curve.focus_nm[plane_of == p]) for p in range(len(planes))])
        curve = fit_defocus(widths, travel_nm, curve.largest_defocus_nm(medians))
        kept = _fitting_beads(curve, fits.relative_residual, np.concatenate([plane.motion_px for plane in planes]))
        if last or kept.all() or any(not kept[plane_of == p].any() for p in range(len(planes))):
            break
        planes = [plane.only(kept[plane_of == p]) for p, plane in enumerate(planes)]
    advance()
    pairs = tuple(_common_beads(planes[0], plane, shape) for plane in planes[1:])
    advance()
    of_one_nm = float(np.sqrt(2) * np.median(curve.focus_sd_nm))
    depth, depth_sd = _compare(curve.focus_nm, np.isfinite(curve.focus_nm), plane_of, pairs, of_one_nm)
    summed, summed_sd = (
        np.concatenate([getattr(plane, name) for plane in planes]) for name in ("photons", "photons_sd")
    )
    bleaching = photobleaching(curve, summed, summed_sd, remove=settings.beads_bleach)
    flux, near = fits.flux / bleaching.brightness, curve.near(_NEAR_FOCUS)
    photons = np.array([np.median(f[n]) if n.any() else 1.0 for f, n in zip(flux, near, strict=True)])
    brightness, brightness_sd = relative_brightness(photons, near.any(axis=1), plane_of, pairs)
    focus_sd = np.array([np.median(curve.focus_sd_nm[plane_of == p]) for p in range(len(planes))])
    return PsfFit(
        pixel_size_nm=pixel_size_nm,
        planes=tuple(planes),
        plane_of=plane_of,
        widths=widths,
        curve=curve,
        depths_nm=depth - (max(depth) + min(depth)) / 2,
        depth_sd_nm=np.hypot(depth_sd, focus_sd / np.sqrt(np.bincount(plane_of))),
        photons=photons,
        brightness=brightness,
        brightness_sd=brightness_sd,
        pairs=pairs,
        bleaching=bleaching,
        steps=stage_steps(curve, widths.sd_nm),
    )


def relative_brightness(
    photons: Array, known: Mask, plane_of: Indices, pairs: Sequence[Indices | None]
) -> tuple[Array, Array]:
    """(planes,) relative brightness, summing to 1, and its standard deviation.

    Parameters
    ----------
    photons, known, plane_of : (beads,) photons, whether their fit is reliable, plane.
    pairs : for planes 1…: (pairs, 2) bead of plane 0 and the same bead on this plane; None: unknown.
    """
    logarithm, deviation = _compare(np.log(np.maximum(photons, 1e-9)), known, plane_of, pairs, _BRIGHTNESS_SD_OF_ONE)
    shares = np.exp(logarithm) / np.sum(np.exp(logarithm))
    # A plane's photons over plane 0's change every share.
    slopes = np.eye(len(shares)) - shares
    return shares, shares * np.sqrt(slopes**2 @ deviation**2)


def _compare(
    values: Array,
    known: Mask,
    plane_of: Indices,
    pairs: Sequence[Indices | None],
    sd_of_one: float,
) -> tuple[Array, Array]:
    """(planes,) difference of the beads' values on every plane from those on plane 0, with standard deviations.

    `sd_of_one`: of a difference from a single bead, which has no scatter.
    """
    found = [(0.0, 0.0)]
    for p, common in enumerate(pairs, start=1):
        of_both = [(values[plane_of == plane], known[plane_of == plane]) for plane in (0, p)]
        found.append(_difference(of_both, common, sd_of_one))
    difference, deviation = np.array(found).T
    return difference, deviation


def _difference(of_both: list[tuple[Array, Mask]], pairs: Indices | None, sd_of_one: float) -> tuple[float, float]:
    """Second minus first, on common beads if they are known, else of the medians; with its standard deviation."""
    (first, first_known), (other, other_known) = of_both
    if pairs is not None:
        common = pairs[first_known[pairs[:, 0]] & other_known[pairs[:, 1]]]
        if len(common):
            return _middle(other[common[:, 1]] - first[common[:, 0]], sd_of_one)
    if not first_known.any() or not other_known.any():
        return float(np.median(other) - np.median(first)), sd_of_one
    (a, a_sd), (b, b_sd) = (_middle(values[known], sd_of_one) for values, known in of_both)
    return b - a, float(np.hypot(a_sd, b_sd))


def _middle(values: Array, sd_of_one: float) -> tuple[float, float]:
    """Mean without the values far from the median, and its standard deviation."""
    distance = np.abs(values - np.median(values))
    kept = values[distance <= 3 * 1.4826 * np.median(distance) + 1e-9]
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else sd_of_one


def _fitting_beads(curve: DefocusFit, relative_residual: Array, motion_px: Array) -> Mask:
    """Beads that follow the common curve, are about as Gaussian as the others, and do not move: no clumps."""
    near = curve.near(1.0)
    kept = near.sum(axis=1) >= 2
    for values, least in ((np.abs(curve.residual_nm) / curve.waist_nm, 0.1), (relative_residual, 0.15)):
        median = np.array([np.median(v[n]) if n.any() else np.inf for v, n in zip(values, near, strict=True)])
        typical = np.median(median[np.isfinite(median)]) if np.isfinite(median).any() else 0.0
        kept &= median <= max(_OUTLIER * typical, least)
    # A quartile: of two beads, a loose one is compared with the other.
    return kept & (motion_px <= max(_OUTLIER * float(np.quantile(motion_px, 0.25)), _LARGEST_MOTION_PX))


def _common_beads(first: PlaneBeads, other: PlaneBeads, shape: tuple[int, int]) -> Indices | None:
    """Pairs (bead of the first camera, bead of the other) or None where the match is not sure."""
    if min(len(first.beads), len(other.beads)) < _FEWEST_MATCHED:
        return None
    points = [np.column_stack((p.beads.columns, p.beads.rows)) + 0.5 for p in (first, other)]
    match = match_points(points[0], points[1], shape)
    if match is None or len(match.pairs) < _FEWEST_MATCHED:
        return None
    # Whole-pixel positions of a few beads also match by chance.
    sure = match.chance_matches <= 0.01 and match.second_best <= 0.7
    return match.pairs if sure else None


def astigmatism_nm(fit: PsfFit) -> Array:
    """(planes,) Distance between the foci of two crossed axes, those where it is largest.

    With foci at ±δ/2 the squared widths along the axes differ by δ dw/dΔz.
    """
    curve = fit.curve
    distances = np.zeros(len(fit.planes))
    for p, plane in enumerate(fit.planes):
        mine = fit.plane_of == p
        defocus, near = curve.defocus_nm[mine], curve.near(_ASTIGMATISM_REACH)[mine]
        slices = np.nonzero(near.any(axis=0))[0]
        if len(slices) < 3:
            continue
        components = []
        for axes in _AXES_DEG:
            fits = fit_beads(plane.stack, slices=slices, estimator="least_squares", elliptical=True, axes_deg=axes)
            squared = fits.squared_width_px2 * fit.pixel_size_nm**2
            usable = near[:, slices] & fits.good
            components.append(_astigmatism(squared[usable], defocus[:, slices][usable], curve))
        distances[p] = np.hypot(*components)
    return distances


def _astigmatism(squared_nm2: Array, defocus_nm: Array, curve: DefocusFit) -> float:
    """Component of the focus distance along one pair of axes, from squared widths (n, 2)."""
    if len(defocus_nm) < 3:
        return 0.0
    lever = curve.slope_nm(defocus_nm)
    # Broad spots are measured worse, about in proportion to their squared width.
    root = 1 / np.mean(squared_nm2, axis=1)
    design = np.column_stack((lever, np.ones_like(lever))) * root[:, None]
    slope, _ = np.linalg.lstsq(design, (squared_nm2[:, 0] - squared_nm2[:, 1]) * root, rcond=None)[0]
    return float(slope)
