"""One Gaussian PSF from the beads of several cameras: a shared defocus curve, depth and brightness of each plane.

Beads are assumed to lie on a coverslip that may be tilted: every bead has its own focus, and planes are compared on the
beads that two cameras share, where enough can be matched; else by the medians of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.bead_stack import BeadStack, field_background
from planeloc.beads.detection import find_clean_beads, require_beads
from planeloc.beads.fits import BeadFits, fit_beads
from planeloc.beads.point_matching import match_points
from planeloc.calibration.defocus_curve import DefocusFit, Widths, fit_defocus
from planeloc.calibration.photobleaching import photobleaching
from planeloc.calibration.results import BeadMeasurement, PlaneBeads, PsfFit, largest_defocus, near_focus
from planeloc.calibration.stage_steps import stage_steps
from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError

Array = NDArray[np.float64]

_FEWEST_SLICES_OF_BEAD = 5
_FEWEST_MATCHED = 4
_SNR_OF_PEAK = 5.0
_LARGEST_WIDTH_ERROR = 0.3  # of a squared width, relative
_BRIGHTNESS_SD_OF_ONE = 0.03  # relative: how well a single bead's photons on two planes can be compared
_OUTLIER = 3.0  # a bead that fits this many times worse than the median is left out
_LARGEST_MOTION_PX = 0.1
_ASTIGMATISM_REACH = 1.5  # of the depth of focus
# Widths along two axes show the slanted part of astigmatism after a rotation by 45°.
_AXES_DEG = (0.0, 45.0)


def measure_plane(counts: NDArray[np.uint16], camera: Camera, file: Path, how: BeadMeasurement) -> PlaneBeads:
    """Find the beads of one camera in raw counts (slices, rows, columns) and fit them; `file` is for messages."""
    beads = find_clean_beads(counts, camera, how.search)
    require_beads(beads, how.minimum_beads, file, camera)
    stack = BeadStack.cut(counts, camera, beads, how.search.window_px)
    fits = fit_beads(stack, estimator="least_squares")
    photons = stack.brightness(field_background(counts, camera, beads, how.search.window_px))
    return _with_enough_slices(PlaneBeads(file, beads, stack, fits, *photons), how)


def _with_enough_slices(plane: PlaneBeads, how: BeadMeasurement) -> PlaneBeads:
    """Leave out beads that could be fitted on few slices only."""
    kept = _widths(plane.fits, np.zeros(0), how).good.sum(axis=1) >= _FEWEST_SLICES_OF_BEAD
    if kept.sum() < how.minimum_beads:
        dim = "use brighter beads and a scan through this plane's focus"
        raise PlanelocError(
            f"{plane.file}: {kept.sum()} of {len(kept)} beads on camera {plane.name} fit a Gaussian on "
            f"{_FEWEST_SLICES_OF_BEAD} or more slices; {plane.beads.advice if plane.beads.clipped else dim}"
        )
    return plane.only(kept)


def _widths(fits: BeadFits, travel_nm: Array, how: BeadMeasurement) -> Widths:
    """Squared widths of the beads in nm², with the slices where they can be trusted."""
    pixel, window = how.pixel_size_nm, how.search.window_px * how.pixel_size_nm
    squared = fits.squared_width_px2[..., 0] * pixel**2
    deviation = fits.squared_width_sd_px2[..., 0] * pixel**2
    strong = fits.peak > _SNR_OF_PEAK * fits.peak_sd
    sharp = (deviation < _LARGEST_WIDTH_ERROR * squared) & (squared < (window / 4) ** 2)
    squared = squared - how.bead_diameter_nm**2 / 20  # variance per axis of a full sphere, seen from above
    good = fits.good & strong & sharp & (squared > (0.2 * pixel) ** 2)
    return Widths(travel_nm, np.where(good, squared, pixel**2), deviation, fits.peak, good)


def fit_psf(planes: Sequence[PlaneBeads], travel_nm: Array, shape: tuple[int, int], how: BeadMeasurement) -> PsfFit:
    """Fit the curve and compare the planes.

    Parameters
    ----------
    planes : the measured beads of every camera.
    travel_nm : (slices,) position of the beads along z relative to the planes, up to a constant.
    shape : (rows, columns) of the cameras.
    """
    for last in (False, True):
        fits = BeadFits.joined([plane.fits for plane in planes])
        widths = _widths(fits, travel_nm, how)
        plane_of = np.repeat(np.arange(len(planes)), [len(plane.beads) for plane in planes])
        fit = fit_defocus(widths)
        medians = np.array([np.median(fit.focus_nm[plane_of == p]) for p in range(len(planes))])
        fit = fit_defocus(widths, largest_defocus(medians, fit.depth_of_focus_nm))
        kept = _fitting_beads(fit, widths, fits.misfit, np.concatenate([plane.motion_px for plane in planes]))
        if last or kept.all() or any(not kept[plane_of == p].any() for p in range(len(planes))):
            break
        planes = [plane.only(kept[plane_of == p]) for p, plane in enumerate(planes)]
    pairs = tuple(_common_beads(planes[0], plane, shape) for plane in planes[1:])
    of_one_nm = float(np.sqrt(2) * np.median(fit.focus_sd_nm))
    depth, depth_sd = _compare(fit.focus_nm, np.isfinite(fit.focus_nm), plane_of, pairs, of_one_nm)
    depths = depth - (max(depth) + min(depth)) / 2
    summed, summed_sd = (
        np.concatenate([getattr(plane, name) for plane in planes]) for name in ("photons", "photons_sd")
    )
    bleaching = photobleaching(fit, travel_nm, summed, summed_sd, remove=how.bleaching)
    flux, near = fits.flux / bleaching.brightness, near_focus(fit, travel_nm)
    photons = np.array([np.median(f[n]) if n.any() else 1.0 for f, n in zip(flux, near, strict=True)])
    brightness, brightness_sd = relative_brightness(photons, near.any(axis=1), plane_of, pairs)
    focus_sd = np.array([np.median(fit.focus_sd_nm[plane_of == p]) for p in range(len(planes))])
    return PsfFit(
        planes=tuple(planes),
        plane_of=plane_of,
        widths=widths,
        curve=fit,
        depths_nm=depths,
        depth_sd_nm=np.hypot(depth_sd, focus_sd / np.sqrt(np.bincount(plane_of))),
        photons=photons,
        brightness=brightness,
        brightness_sd=brightness_sd,
        pairs=pairs,
        bleaching=bleaching,
        steps=stage_steps(fit, travel_nm, widths.sd_nm),
    )


def relative_brightness(
    photons: Array, known: NDArray[np.bool_], plane_of: NDArray[np.int64], pairs: Sequence[NDArray[np.int64] | None]
) -> tuple[Array, Array]:
    """(planes,) relative brightness, summing to 1, and its standard deviation, from every bead's photons (beads,)."""
    logarithm, deviation = _compare(np.log(np.maximum(photons, 1e-9)), known, plane_of, pairs, _BRIGHTNESS_SD_OF_ONE)
    shares = np.exp(logarithm) / np.sum(np.exp(logarithm))
    # A plane's photons over plane 0's change every share.
    slopes = np.eye(len(shares)) - shares
    return shares, shares * np.sqrt(slopes**2 @ deviation**2)


def _compare(
    values: Array,
    known: NDArray[np.bool_],
    plane_of: NDArray[np.int64],
    pairs: Sequence[NDArray[np.int64] | None],
    sd_of_one: float,
) -> tuple[Array, Array]:
    """(planes,) difference of the beads' values on every plane from those on plane 0, with standard deviations.

    `sd_of_one`: of a difference from a single bead, which has no scatter.
    """
    first, *others = ((values[plane_of == p], known[plane_of == p]) for p in range(len(pairs) + 1))
    found = [_difference(*first, *other, common, sd_of_one) for other, common in zip(others, pairs, strict=True)]
    difference, deviation = np.array([(0.0, 0.0), *found]).T
    return difference, deviation


def _fitting_beads(fit: DefocusFit, widths: Widths, misfit: Array, motion_px: Array) -> NDArray[np.bool_]:
    """Beads that follow the common curve, are about as Gaussian as the others, and do not move: no clumps."""
    near = fit.used & (np.abs(fit.focus_nm[:, None] - widths.travel_nm) < fit.depth_of_focus_nm)
    kept = near.sum(axis=1) >= 2
    for values, least in ((np.abs(fit.residual_nm) / fit.waist_nm, 0.1), (misfit, 0.15)):
        median = np.array([np.median(v[n]) if n.any() else np.inf for v, n in zip(values, near, strict=True)])
        typical = np.median(median[np.isfinite(median)]) if np.isfinite(median).any() else 0.0
        kept &= median <= max(_OUTLIER * typical, least)
    # A quartile: of two beads, a loose one is compared with the other.
    return kept & (motion_px <= max(_OUTLIER * float(np.quantile(motion_px, 0.25)), _LARGEST_MOTION_PX))


def _common_beads(first: PlaneBeads, other: PlaneBeads, shape: tuple[int, int]) -> NDArray[np.int64] | None:
    """Pairs (bead of the first camera, bead of the other) or None where the match is not sure."""
    if min(len(first.beads), len(other.beads)) < _FEWEST_MATCHED:
        return None
    points = [np.column_stack((p.beads.columns, p.beads.rows)) + 0.5 for p in (first, other)]
    match = match_points(points[0], points[1], shape)
    if match is None or len(match.pairs) < _FEWEST_MATCHED:
        return None
    # Whole-pixel positions of a few beads also match by chance.
    sure = match.chance <= 0.01 and match.rival <= 0.7
    return match.pairs if sure else None


def _difference(
    first: Array,
    first_good: NDArray[np.bool_],
    other: Array,
    other_good: NDArray[np.bool_],
    pairs: NDArray[np.int64] | None,
    sd_of_one: float,
) -> tuple[float, float]:
    """Other minus first, on common beads if they are known, else of the medians; with its standard deviation."""
    if pairs is not None:
        pairs = pairs[first_good[pairs[:, 0]] & other_good[pairs[:, 1]]]
    if pairs is not None and len(pairs):
        return _middle(other[pairs[:, 1]] - first[pairs[:, 0]], sd_of_one)
    if not first_good.any() or not other_good.any():
        return float(np.median(other) - np.median(first)), sd_of_one
    (a, a_sd), (b, b_sd) = _middle(first[first_good], sd_of_one), _middle(other[other_good], sd_of_one)
    return b - a, float(np.hypot(a_sd, b_sd))


def _middle(values: Array, sd_of_one: float) -> tuple[float, float]:
    """Mean without the values far from the median, and its standard deviation."""
    distance = np.abs(values - np.median(values))
    kept = values[distance <= 3 * 1.4826 * np.median(distance) + 1e-9]
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else sd_of_one


def astigmatism_nm(fit: PsfFit, pixel_size_nm: float) -> Array:
    """(planes,) Distance between the foci of two crossed axes, those where it is largest.

    With foci at ±δ/2 the squared widths along the axes differ by δ dw/dΔz.
    """
    curve = fit.curve
    distances = np.zeros(len(fit.planes))
    for p, plane in enumerate(fit.planes):
        mine = fit.plane_of == p
        defocus = fit.defocus_nm[mine]
        near = curve.used[mine] & (np.abs(defocus) < _ASTIGMATISM_REACH * curve.depth_of_focus_nm)
        slices = np.nonzero(near.any(axis=0))[0]
        if len(slices) < 3:
            continue
        components = []
        for axes in _AXES_DEG:
            fits = fit_beads(plane.stack, slices=slices, estimator="least_squares", elliptical=True, axes_deg=axes)
            squared = fits.squared_width_px2 * pixel_size_nm**2
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
