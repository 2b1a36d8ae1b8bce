"""From the beads of several cameras to one PSF: a shared defocus curve, a depth and a brightness for each plane.

Beads are assumed to lie on a coverslip that may be tilted: every bead has its own focus, and planes are compared on the
beads that two cameras both see, where enough can be matched; else by the medians of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.bad_pixels import find_clean_beads
from planeloc.beads.detection import BeadFits, Beads, BeadSearch, fit_beads, require_beads
from planeloc.beads.point_matching import match_points
from planeloc.calibration.defocus_curve import DefocusFit, Widths, fit_defocus
from planeloc.calibration.scan_stability import Course, common_way_px, course_of, light_of
from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError

Array = NDArray[np.float64]

_FEWEST_SLICES_OF_BEAD = 5
_FEWEST_MATCHED = 4
_SNR_OF_PEAK = 5.0
_LARGEST_WIDTH_ERROR = 0.3  # of a squared width, relative
_LIGHT_SD_OF_ONE = 0.03  # relative: what a single bead's photons on two planes can be trusted to
_OUTLIER = 3.0  # a bead that fits this many times worse than the median is left out
_BRIGHT = 0.3  # of a bead's highest peak: slices on which its place is compared
_FEWEST_FOR_COMMON_WAY = 3
_LARGEST_MOTION_PX = 0.1
_NEAR_FOCUS = 0.7  # of d: where photons and misfit are taken
_ASTIGMATISM_REACH = 1.5  # of d
# A turn by 45° makes the slanted part of astigmatism visible to widths along two axes.
_AXES_DEG = (0.0, 45.0)


@dataclass(frozen=True)
class BeadMeasurement:
    """What is looked for in every camera, and how."""

    pixel_size_nm: float
    search: BeadSearch
    bead_diameter_nm: float
    minimum_beads: int
    bleached: bool = False  # whether light that fades is taken out of the brightness


@dataclass(frozen=True)
class PlaneBeads:
    """The beads of one camera."""

    camera: Camera
    file: Path
    beads: Beads
    fits: BeadFits
    light: tuple[Array, Array]  # (beads, slices) photons in the windows, and their standard deviations
    left_out: int = 0  # beads that were found and are no good

    def only(self, kept: NDArray[np.bool_]) -> PlaneBeads:
        """The same camera with a part of its beads."""
        beads = replace(self.beads, columns=self.beads.columns[kept], rows=self.beads.rows[kept])
        fits = BeadFits(**{name: values[kept] for name, values in vars(self.fits).items()})
        light = (self.light[0][kept], self.light[1][kept])
        return replace(self, beads=beads, fits=fits, light=light, left_out=self.left_out + int(np.sum(~kept)))

    @cached_property
    def motion_px(self) -> Array:
        """(beads,) rms way of each bead during the scan beyond noise, per axis, on slices where it is bright.

        What all beads do together is the stage's or the optics' and does not count.
        """
        fits = self.fits
        bright = fits.good & (fits.peak > _BRIGHT * fits.peak.max(axis=1, keepdims=True))
        squared = np.zeros(len(self.beads))
        for at, sd in ((fits.x_px, fits.x_sd_px), (fits.y_px, fits.y_sd_px)):
            weights = np.where(bright, 1 / (sd**2 + 1e-6), 0.0)
            total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
            away = at - np.sum(weights * at, axis=1, keepdims=True) / total
            if len(away) >= _FEWEST_FOR_COMMON_WAY:
                away = away - np.nan_to_num(_median_where(away, bright))
            squared += np.sum(weights * (away**2 - sd**2), axis=1) / total[:, 0] / 2
        return np.sqrt(np.maximum(squared, 0.0))


@dataclass(frozen=True)
class PsfFit:
    """Planes, the common fit of their beads (in the order of the planes) and what follows from it."""

    planes: tuple[PlaneBeads, ...]
    plane_of: NDArray[np.int64]  # (beads,)
    widths: Widths
    curve: DefocusFit
    depths_nm: Array  # (planes,)
    depth_sd_nm: Array
    brightness: Array
    brightness_sd: Array
    pairs: tuple[NDArray[np.int64] | None, ...]  # for every plane but 0: (bead of plane 0, bead of this plane)
    course: Course

    @property
    def defocus_nm(self) -> Array:
        """Δz of every bead and slice."""
        return self.curve.focus_nm[:, None] - self.widths.travel_nm

    @property
    def near_focus(self) -> NDArray[np.bool_]:
        """(beads, slices) where a bead is about in focus and well measured."""
        return self.curve.used & (np.abs(self.defocus_nm) < _NEAR_FOCUS * self.curve.depth_of_focus_nm)

    @property
    def names(self) -> list[str]:
        """Of the cameras."""
        return [plane.camera.name for plane in self.planes]

    @property
    def common_way_px(self) -> Array:
        """(planes,) rms way that the beads of a plane go together during the scan, per axis."""
        return common_way_px([plane.fits for plane in self.planes])

    @property
    def misfit(self) -> float:
        """Median share of a bead near focus that no Gaussian explains, whatever its width."""
        misfit = np.concatenate([plane.fits.misfit for plane in self.planes])
        return float(np.median(misfit[self.near_focus])) if self.near_focus.any() else float("nan")

    @cached_property
    def photons(self) -> Array:
        """(beads,) photons of every bead on its plane, in focus."""
        return _light(self.planes, self.curve, self.widths.travel_nm, self.course)[0]

    def position_px(self, plane: int) -> Array:
        """(beads, 2) where the beads of a plane are in focus, weighted by information."""
        fits, near = self.planes[plane].fits, self.near_focus[self.plane_of == plane]
        weights = np.where(near & fits.good, 1 / (fits.x_sd_px**2 + fits.y_sd_px**2 + 1e-4), 1e-12)
        return np.stack([np.average(at, axis=1, weights=weights) for at in (fits.x_px, fits.y_px)], axis=1)

    @property
    def reach_nm(self) -> float:
        """Largest |Δz| that molecules will have."""
        return _reach(self.depths_nm, self.curve.depth_of_focus_nm)


def _median_where(values: Array, usable: NDArray[np.bool_]) -> Array:
    """Median over the beads of every slice (slices,), nan where none is usable."""
    return np.array([np.median(v[u]) if u.any() else np.nan for v, u in zip(values.T, usable.T, strict=True)])


def measure_plane(counts: NDArray[np.uint16], camera: Camera, file: Path, how: BeadMeasurement) -> PlaneBeads:
    """Find the beads of one camera in raw counts (slices, rows, columns) and fit them; `file` is for messages."""
    beads = find_clean_beads(counts, camera, how.search)
    require_beads(beads, how.minimum_beads, file, camera)
    fits = fit_beads(counts, camera, beads, how.search.window_px, estimator="least_squares")
    light = light_of(counts, camera, beads, how.search.window_px)
    return _with_enough_slices(PlaneBeads(camera, file, beads, fits, light), how)


def _with_enough_slices(plane: PlaneBeads, how: BeadMeasurement) -> PlaneBeads:
    """Leave out beads that could be fitted on a few slices only."""
    kept = _widths([plane], np.zeros(0), how).good.sum(axis=1) >= _FEWEST_SLICES_OF_BEAD
    if kept.sum() < how.minimum_beads:
        dim = "take brighter beads and a scan through this plane's focus"
        raise PlanelocError(
            f"{plane.file}: {kept.sum()} of {len(kept)} beads on camera {plane.camera.name} fit a Gaussian on "
            f"{_FEWEST_SLICES_OF_BEAD} or more slices; {plane.beads.advice if plane.beads.clipped else dim}"
        )
    return plane.only(kept)


def _widths(planes: Sequence[PlaneBeads], travel: Array, how: BeadMeasurement) -> Widths:
    """Squared widths of all beads in nm², with the slices where they can be trusted."""
    fits, pixel = [plane.fits for plane in planes], how.pixel_size_nm
    squared = np.concatenate([f.squared_width_px2[..., 0] for f in fits]) * pixel**2
    deviation = np.concatenate([f.squared_width_sd_px2[..., 0] for f in fits]) * pixel**2
    peak = np.concatenate([f.peak for f in fits])
    strong = peak > _SNR_OF_PEAK * np.concatenate([f.peak_sd for f in fits])
    window = how.search.window_px * pixel
    sharp = (deviation < _LARGEST_WIDTH_ERROR * squared) & (squared < (window / 4) ** 2)
    squared = squared - how.bead_diameter_nm**2 / 20  # variance per axis of a full sphere, seen from above
    good = np.concatenate([f.good for f in fits]) & strong & sharp & (squared > (0.2 * pixel) ** 2)
    return Widths(travel, np.where(good, squared, pixel**2), deviation, peak, good)


def fit_psf(planes: Sequence[PlaneBeads], travel_nm: Array, shape: tuple[int, int], how: BeadMeasurement) -> PsfFit:
    """Fit the curve and compare the planes.

    Parameters
    ----------
    planes : the measured beads of every camera.
    travel_nm : (slices,) position of the beads along z relative to the planes, up to a constant.
    shape : (rows, columns) of the cameras.
    """
    for last in (False, True):
        widths = _widths(planes, travel_nm, how)
        plane_of = np.repeat(np.arange(len(planes)), [len(plane.beads) for plane in planes])
        fit = fit_defocus(widths)
        medians = np.array([np.median(fit.focus_nm[plane_of == p]) for p in range(len(planes))])
        fit = fit_defocus(widths, _reach(medians, fit.depth_of_focus_nm))
        kept = _fitting_beads(fit, widths, planes)
        if last or kept.all() or any(not kept[plane_of == p].any() for p in range(len(planes))):
            break
        planes = [plane.only(kept[plane_of == p]) for p, plane in enumerate(planes)]
    pairs = tuple(_common_beads(planes[0], plane, shape) for plane in planes[1:])
    of_one_nm = float(np.sqrt(2) * np.median(fit.focus_sd_nm))
    depth, depth_sd = _compare(fit.focus_nm, np.isfinite(fit.focus_nm), plane_of, pairs, of_one_nm)
    depths = depth - (max(depth) + min(depth)) / 2
    light, light_sd = (np.concatenate(arrays) for arrays in zip(*(plane.light for plane in planes), strict=True))
    course = course_of(fit, travel_nm, widths.sd_nm, light, light_sd, bleached=how.bleached)
    shares, shares_sd = share_of_light(*_light(planes, fit, travel_nm, course), plane_of, pairs)
    focus_sd = np.array([np.median(fit.focus_sd_nm[plane_of == p]) for p in range(len(planes))])
    return PsfFit(
        planes=tuple(planes),
        plane_of=plane_of,
        widths=widths,
        curve=fit,
        depths_nm=depths,
        depth_sd_nm=np.hypot(depth_sd, focus_sd / np.sqrt(np.bincount(plane_of))),
        brightness=shares,
        brightness_sd=shares_sd,
        pairs=pairs,
        course=course,
    )


def share_of_light(
    photons: Array, known: NDArray[np.bool_], plane_of: NDArray[np.int64], pairs: Sequence[NDArray[np.int64] | None]
) -> tuple[Array, Array]:
    """(planes,) relative brightness, summing to 1, and its standard deviation, from every bead's photons (beads,)."""
    log_light, deviation = _compare(np.log(np.maximum(photons, 1e-9)), known, plane_of, pairs, _LIGHT_SD_OF_ONE)
    shares = np.exp(log_light) / np.sum(np.exp(log_light))
    # A plane's light against plane 0's changes every share.
    slopes = np.eye(len(shares)) - shares
    return shares, shares * np.sqrt(slopes**2 @ deviation**2)


def _compare(
    values: Array,
    known: NDArray[np.bool_],
    plane_of: NDArray[np.int64],
    pairs: Sequence[NDArray[np.int64] | None],
    sd_of_one: float,
) -> tuple[Array, Array]:
    """(planes,) how far the beads' values on every plane lie above those on plane 0, with standard deviations.

    `sd_of_one`: of a difference that rests on a single bead, which has no scatter to tell it.
    """
    first = np.nonzero(plane_of == 0)[0]
    found = [(0.0, 0.0)]
    for p, common in enumerate(pairs, start=1):
        other = np.nonzero(plane_of == p)[0]
        found.append(_difference(values[first], known[first], values[other], known[other], common, sd_of_one))
    difference, deviation = np.array(found).T
    return difference, deviation


def _reach(depths: Array, focus_depth: float) -> float:
    """Largest |Δz| that molecules will have: from one end of the sampled depth range to the farthest plane."""
    span = float(np.ptp(depths))
    spacing = span / (len(depths) - 1)
    return span + max(spacing / 2, focus_depth)


def _fitting_beads(fit: DefocusFit, widths: Widths, planes: Sequence[PlaneBeads]) -> NDArray[np.bool_]:
    """Beads that follow the common curve, look like a Gaussian about as well as the others do, and keep their place:
    neither clumps of two nor beads that come off.
    """
    near = fit.used & (np.abs(fit.focus_nm[:, None] - widths.travel_nm) < fit.depth_of_focus_nm)
    misfit = np.concatenate([plane.fits.misfit for plane in planes])
    kept = near.sum(axis=1) >= 2
    for values, least in ((np.abs(fit.residual_nm) / fit.waist_nm, 0.1), (misfit, 0.15)):
        median = np.array([np.median(v[n]) if n.any() else np.inf for v, n in zip(values, near, strict=True)])
        typical = np.median(median[np.isfinite(median)]) if np.isfinite(median).any() else 0.0
        kept &= median <= max(_OUTLIER * typical, least)
    motion = np.concatenate([plane.motion_px for plane in planes])
    # A quartile: of two beads, one that comes off is measured by the other.
    return kept & (motion <= max(_OUTLIER * float(np.quantile(motion, 0.25)), _LARGEST_MOTION_PX))


def _light(
    planes: Sequence[PlaneBeads], fit: DefocusFit, travel: Array, course: Course
) -> tuple[Array, NDArray[np.bool_]]:
    """(beads,) photons of every bead near its focus, had its light kept its mean, and whether there were any."""
    flux = np.concatenate([plane.fits.flux for plane in planes]) / course.light
    near = fit.used & (np.abs(fit.focus_nm[:, None] - travel) < _NEAR_FOCUS * fit.depth_of_focus_nm)
    return np.array([np.median(f[n]) if n.any() else 1.0 for f, n in zip(flux, near, strict=True)]), near.any(axis=1)


def _common_beads(first: PlaneBeads, other: PlaneBeads, shape: tuple[int, int]) -> NDArray[np.int64] | None:
    """Pairs (bead of the first camera, bead of the other) or None where they cannot be told for sure."""
    if min(len(first.beads), len(other.beads)) < _FEWEST_MATCHED:
        return None
    points = [np.column_stack((p.beads.columns, p.beads.rows)) + 0.5 for p in (first, other)]
    match = match_points(points[0], points[1], shape)
    if match is None or len(match.pairs) < _FEWEST_MATCHED:
        return None
    # Whole-pixel positions of a few beads also meet by chance.
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


def astigmatism_nm(fit: PsfFit, counts: NDArray[np.uint16], how: BeadMeasurement) -> Array:
    """(planes,) Distance between the foci of two crossed axes, those where it is largest.

    `counts` are raw, (slices, planes, rows, columns). With foci at ±δ/2 the squared widths along the axes differ by
    δ dw/dΔz.
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
            fits = fit_beads(
                counts[slices, p],
                plane.camera,
                plane.beads,
                how.search.window_px,
                estimator="least_squares",
                elliptical=True,
                axes_deg=axes,
            )
            squared = fits.squared_width_px2 * how.pixel_size_nm**2
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
