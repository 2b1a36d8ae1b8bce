"""How a bead scan went, as its beads tell: whether light faded, the stage kept its steps, the sample its place.

All three are common to the beads of all cameras and belong to the slice, whereas what the optics do belongs to the
defocus; planes that focus on different slices tell the two apart. For a light that falls evenly they do not: a spot
that holds less light on one side of focus looks the same, as spherical aberration can make it. So a fading is taken
out of the planes' brightness only if the settings say that the beads bleach, and if it is the same near focus and
away from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.detection import BeadFits, Beads, cut_out, noise_model
from planeloc.calibration.defocus_curve import DefocusFit
from planeloc.cameras.camera import Camera

Array = NDArray[np.float64]

_NEAR, _FAR = 0.7, 1.6  # of the depth of focus: two ranges of defocus in which the light is followed
_LEAST_LIGHT_SD = 0.01  # of a bead on a slice, relative: pixels and model limit it whatever the photons
_EMPTY = 0.7  # of a window: farther than this from any spot the field is empty
_FEWEST_EMPTY = 100  # pixels; with fewer, the darkest share of the image is taken
_DARKEST = 0.2
_FADING_SIGMAS = 4.0  # a fading that is less sure than this is taken for noise
_AGREE = 0.3  # relative: within which the fading near focus and the one away from it must be the same for sure
_STEP_SIGMAS = 3.0
_WIDTH_TOLERANCE = 0.02  # of a width
_BIN_NM = 100.0  # of defocus, in which the curve may err by the same slope
_CURVE_ERROR = 0.1  # typical, of the width from slice to slice over the waist
_STEP_ERROR_NM = 100.0  # typical
_BRIGHT = 0.3  # of a bead's highest peak: slices on which its place is compared
_REWEIGHTINGS = 5
_HUBER = 1.5


@dataclass(frozen=True)
class Course:
    """What changed from slice to slice."""

    light: Array  # (slices,) over the scan's mean; all one where no fading is to be taken out
    faded: float  # share of the light lost from the first slice to the last, at least; negative if it rose
    faded_sd: float
    step_error_nm: Array  # (slices − 1,) way of the stage beyond its step
    step_error_sd_nm: Array

    @property
    def largest_step_error_nm(self) -> float:
        """Beyond the noise."""
        return float(np.max(np.abs(self.step_error_nm) - _STEP_SIGMAS * self.step_error_sd_nm, initial=0.0))

    @property
    def worst_step(self) -> int:
        """Index of the slice before it."""
        return int(np.argmax(np.abs(self.step_error_nm) - _STEP_SIGMAS * self.step_error_sd_nm))


def light_of(counts: NDArray[np.uint16], camera: Camera, beads: Beads, window_px: int) -> tuple[Array, Array]:
    """(beads, slices) Photons in the beads' windows above the level of the field, and their standard deviations.

    A sum holds all the light that falls into a window, whatever its shape.
    """
    windows, masks = cut_out(counts, camera, beads, window_px)
    windows = windows.reshape(len(beads), len(counts), window_px, window_px).astype(np.float64)
    row, column = np.indices(counts.shape[1:])
    away = np.ones(counts.shape[1:], dtype=bool)
    for x, y in beads.others:
        away &= np.hypot(column - x, row - y) > _EMPTY * window_px
    empty = np.count_nonzero(away) >= _FEWEST_EMPTY
    level = np.array([camera.photons(np.median(c[away]) if empty else np.quantile(c, _DARKEST)) for c in counts])
    light = ((windows - level[:, None, None]) * masks[:, None]).sum(axis=(2, 3))
    variance = masks.sum(axis=(1, 2))[:, None] * noise_model(camera).variance(np.maximum(level, 0.0))
    return light, np.sqrt(variance + noise_model(camera).slope * np.maximum(light, 0.0))


def course_of(
    curve: DefocusFit, travel_nm: Array, width_sd_nm: Array, flux: Array, flux_sd: Array, *, bleached: bool
) -> Course:
    """The course of a scan from the beads of all planes: arrays (beads, slices) but for `travel_nm` (slices,).

    `bleached` says that a fading is the beads', so that it may be taken out.
    """
    rate, rate_sd, sure = _fading(curve, travel_nm, flux, flux_sd)
    slices = np.arange(len(travel_nm)) - (len(travel_nm) - 1) / 2
    light = np.exp(rate * slices) if sure and bleached else np.ones(len(slices))
    way = rate * (len(slices) - 1)
    error, deviation = _step_errors(curve, travel_nm, width_sd_nm)
    return Course(light / light.mean(), float(-np.expm1(way)), rate_sd * (len(slices) - 1), error, deviation)


def _fading(curve: DefocusFit, travel_nm: Array, flux: Array, flux_sd: Array) -> tuple[float, float, bool]:
    """Change of the logarithm of the light per slice, its standard deviation, and whether it is sure."""
    defocus = curve.focus_nm[:, None] - travel_nm
    away = np.abs(defocus) / curve.depth_of_focus_nm
    bright = curve.used & (flux > 3 * flux_sd)
    (near, near_sd), (far, far_sd) = (
        _rate(defocus / curve.depth_of_focus_nm, bright & within, flux, flux_sd)
        for within in (away < _NEAR, (away >= _NEAR) & (away < _FAR))
    )
    if not np.isfinite(near_sd + far_sd):
        return 0.0, float("inf"), False
    both_sd = 1 / np.hypot(1 / near_sd, 1 / far_sd)
    both = both_sd**2 * (near / near_sd**2 + far / far_sd**2)
    apart = abs(near - far) + np.hypot(near_sd, far_sd)
    if apart < _AGREE * abs(both):
        return both, both_sd, bool(abs(both) > _FADING_SIGMAS * both_sd)
    least = max(min(abs(near), abs(far)) - apart, 0.0) if near * far > 0 else 0.0
    return float(np.sign(near) * least), apart, False


def _rate(defocus: Array, usable: NDArray[np.bool_], flux: Array, flux_sd: Array) -> tuple[float, float]:
    """Change of the logarithm of the light per slice, and its standard deviation, where (beads, slices) are usable.

    log flux = bead + c Δz² + rate · slice: what a window loses by defocus is taken to be even about focus.
    """
    usable &= usable.sum(axis=1, keepdims=True) >= 3
    bead, place = np.nonzero(usable)
    if len(np.unique(place)) < 3:
        return 0.0, np.inf
    value = np.log(flux[usable])
    variance = (flux_sd[usable] / flux[usable]) ** 2 + _LEAST_LIGHT_SD**2
    columns = np.column_stack((defocus[usable] ** 2, place.astype(float)))
    weights = 1 / variance
    for _ in range(_REWEIGHTINGS):
        design, target = (_without_means(array, bead, weights) for array in (columns, value[:, None]))
        normal = design.T @ (weights[:, None] * design)
        solution = np.linalg.lstsq(normal, design.T @ (weights * target[:, 0]), rcond=None)[0]
        ratio = np.abs(target[:, 0] - design @ solution) / np.sqrt(variance)
        scale = max(1.0, 1.4826 * float(np.median(ratio)))
        weights = 1 / variance / np.maximum(ratio / (_HUBER * scale), 1.0)
    return float(solution[1]), scale * float(np.sqrt(np.linalg.pinv(normal)[1, 1]))


def _without_means(values: Array, group: NDArray[np.int64], weights: Array) -> Array:
    """Values (n, k) less the weighted mean of their group."""
    total = np.bincount(group, weights)
    means = np.stack([np.bincount(group, weights * column) for column in values.T], axis=1)
    return values - (means / np.maximum(total, 1e-300)[:, None])[group]


def _step_errors(curve: DefocusFit, travel_nm: Array, width_sd_nm: Array) -> tuple[Array, Array]:
    """(slices − 1,) How much further the stage went than it should, from the changes of all beads' widths.

    A width that changes otherwise than the curve says does so because the curve is wrong at this defocus, for the beads
    of all planes, or because the step was wrong, for all beads on this slice. Both are held by priors.
    """
    middle = (travel_nm[1:] + travel_nm[:-1]) / 2
    both = curve.used[:, 1:] & curve.used[:, :-1]
    bead, step = np.nonzero(both)
    steps = len(middle)
    if not len(bead):
        return np.zeros(steps), np.full(steps, np.inf)
    change = np.diff(curve.residual_nm, axis=1)[both]
    defocus = curve.focus_nm[bead] - middle[step]
    width = curve.width_nm(defocus)
    variance = (width_sd_nm[:, 1:] ** 2 + width_sd_nm[:, :-1] ** 2)[both] + (_WIDTH_TOLERANCE * width) ** 2
    bins = np.floor(defocus / _BIN_NM).astype(int)
    bins -= bins.min()
    count = int(bins.max()) + 1
    design = np.zeros((len(bead), count + steps))
    rows = np.arange(len(bead))
    design[rows, bins] = 1
    # Δz = focus − travel: a step that is too long lowers the defocus.
    direction = np.sign(np.median(np.diff(travel_nm)))
    design[rows, count + step] = -direction * curve.slope_nm(defocus) / (2 * width)
    prior = np.concatenate((np.full(count, _CURVE_ERROR * curve.waist_nm), np.full(steps, _STEP_ERROR_NM)))
    weights = 1 / variance
    for _ in range(_REWEIGHTINGS):
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design) + np.diag(prior**-2))
        solution = covariance @ (design.T @ (weights * change))
        ratio = np.abs(change - design @ solution) / np.sqrt(variance)
        weights = 1 / variance / np.maximum(ratio / (_HUBER * max(1.0, float(np.median(ratio)))), 1.0)
    deviation = np.sqrt(np.diagonal(covariance))
    return solution[count:], deviation[count:]


def common_way_px(planes: Sequence[BeadFits]) -> Array:
    """(planes,) rms way that all beads of a plane go together during the scan, per axis, less the noise."""
    return np.array([_common_way(fits) for fits in planes])


def _common_way(fits: BeadFits) -> float:
    bright = fits.good & (fits.peak > _BRIGHT * fits.peak.max(axis=1, keepdims=True))
    squared, weight = 0.0, 1e-12
    for at, sd in ((fits.x_px, fits.x_sd_px), (fits.y_px, fits.y_sd_px)):
        weights = np.where(bright, 1 / (sd**2 + 1e-4), 0.0)
        total = weights.sum(axis=0)
        away = at - np.sum(weights * at, axis=1, keepdims=True) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        seen = bright.any(axis=0)
        way = np.array([np.median(away[bright[:, s], s]) for s in np.nonzero(seen)[0]])
        # π/2: variance of a median over the one of a mean.
        squared += float(np.sum(total[seen] * way**2 - np.pi / 2))
        weight += float(total.sum())
    return float(np.sqrt(max(squared, 0.0) / weight))
