"""Photobleaching of the beads during a scan.

It is common to the beads of all cameras and belongs to the slice, whereas the effect of the optics belongs to the
defocus; planes that focus on different slices distinguish the two. They do not for a brightness that falls evenly: a
spot that holds fewer photons on one side of focus looks the same, as spherical aberration can make it. So
photobleaching is removed from the planes' brightness only if the settings say that the beads bleach, and if it is the
same near focus and away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.calibration.defocus_curve import DefocusFit
from planeloc.core.arrays import Array, Mask
from planeloc.core.robust_fit import huber_weights, irls, without_group_means

_NEAR, _FAR = 0.7, 1.6  # of the depth of focus: two ranges of defocus in which the brightness is followed
_LEAST_BRIGHTNESS_SD = 0.01  # of a bead on a slice, relative: pixels and model limit it whatever the photons
_SIGMAS = 4.0  # less significant bleaching is taken for noise
_AGREE = 0.3  # relative: largest sure difference between the bleaching near focus and away from it
_REWEIGHTINGS = 5
_HUBER = 1.5


@dataclass(frozen=True)
class Photobleaching:
    """Change of the beads' brightness from slice to slice."""

    brightness: Array  # (slices,) over the scan's mean; all one where no photobleaching is removed
    lost: float  # share of the photons lost from the first slice to the last, at least; negative if they rose
    lost_sd: float


def photobleaching(curve: DefocusFit, photons: Array, photons_sd: Array, *, remove: bool) -> Photobleaching:
    """Measure photobleaching from the photons of the beads.

    Parameters
    ----------
    photons, photons_sd : (beads, slices) of all planes.
    remove : a loss of brightness is photobleaching of the beads, and may be removed.
    """
    rate, rate_sd, sure = _bleaching(curve, photons, photons_sd)
    steps = photons.shape[1] - 1
    slices = np.arange(steps + 1) - steps / 2
    brightness = np.exp(rate * slices) if sure and remove else np.ones(len(slices))
    return Photobleaching(brightness / brightness.mean(), float(-np.expm1(rate * steps)), rate_sd * steps)


def _bleaching(curve: DefocusFit, photons: Array, photons_sd: Array) -> tuple[float, float, bool]:
    """Change of the logarithm of the photons per slice, its standard deviation, and whether it is sure."""
    defocus = curve.defocus_nm / curve.depth_of_focus_nm
    bright = photons > 3 * photons_sd
    (near, near_sd), (far, far_sd) = (
        _rate(defocus, bright & within, photons, photons_sd)
        for within in (curve.near(_NEAR), curve.near(_FAR) & ~curve.near(_NEAR))
    )
    if not np.isfinite(near_sd + far_sd):
        return 0.0, float("inf"), False
    both_sd = 1 / np.hypot(1 / near_sd, 1 / far_sd)
    both = both_sd**2 * (near / near_sd**2 + far / far_sd**2)
    apart = abs(near - far) + np.hypot(near_sd, far_sd)
    if apart < _AGREE * abs(both):
        return both, both_sd, bool(abs(both) > _SIGMAS * both_sd)
    least = max(min(abs(near), abs(far)) - apart, 0.0) if near * far > 0 else 0.0
    return float(np.sign(near) * least), apart, False


def _rate(defocus: Array, usable: Mask, photons: Array, photons_sd: Array) -> tuple[float, float]:
    """Change of the logarithm of the photons per slice, and its standard deviation, where (beads, slices) are usable.

    log photons = bead + c Δz² + rate · slice: the loss of a window by defocus is taken to be even about focus.
    """
    usable &= usable.sum(axis=1, keepdims=True) >= 3
    bead, place = np.nonzero(usable)
    if len(np.unique(place)) < 3:
        return 0.0, np.inf
    value = np.log(photons[usable])
    variance = (photons_sd[usable] / photons[usable]) ** 2 + _LEAST_BRIGHTNESS_SD**2
    columns = np.column_stack((defocus[usable] ** 2, place.astype(float)))

    def fit(weights: Array) -> tuple[tuple[Array, Array, float], Array]:
        design, target = (without_group_means(array, bead, weights) for array in (columns, value[:, None]))
        normal = design.T @ (weights[:, None] * design)
        solution = np.linalg.lstsq(normal, design.T @ (weights * target[:, 0]), rcond=None)[0]
        ratio = np.abs(target[:, 0] - design @ solution) / np.sqrt(variance)
        scale = max(1.0, 1.4826 * float(np.median(ratio)))
        return (solution, normal, scale), huber_weights(ratio, _HUBER * scale, 1 / variance)

    (solution, normal, scale), _ = irls(fit, 1 / variance, _REWEIGHTINGS)
    return float(solution[1]), scale * float(np.sqrt(np.linalg.pinv(normal)[1, 1]))
