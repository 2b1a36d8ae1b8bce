"""Errors of the steps of the stage during a bead scan, from the widths of the beads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.calibration.defocus_curve import DefocusFit
from planeloc.core.arrays import Array
from planeloc.core.robust_fit import huber_weights, irls

_SIGMAS = 3.0
_WIDTH_TOLERANCE = 0.02  # of a width
_BIN_NM = 100.0  # of defocus, in which the curve may err by the same slope
_CURVE_ERROR = 0.1  # typical, of the width from slice to slice over the waist
_STEP_ERROR_NM = 100.0  # typical
_REWEIGHTINGS = 5
_HUBER = 1.5


@dataclass(frozen=True)
class StageSteps:
    """Displacement of the stage beyond its step, from each slice to the next."""

    error_nm: Array  # (slices − 1,)
    error_sd_nm: Array

    @property
    def largest_error_nm(self) -> float:
        """Beyond the noise."""
        return float(np.max(self._beyond_noise, initial=0.0))

    @property
    def worst(self) -> int:
        """Index of the slice before it."""
        return int(np.argmax(self._beyond_noise))

    @property
    def _beyond_noise(self) -> Array:
        return np.abs(self.error_nm) - _SIGMAS * self.error_sd_nm


def stage_steps(curve: DefocusFit, width_sd_nm: Array) -> StageSteps:
    """Error of every step of the stage, from the changes of all beads' widths (beads, slices).

    A width that changes otherwise than the curve does so because the curve is wrong at this defocus, for the beads of
    all planes, or because the step was wrong, for all beads on this slice. Both have priors.
    """
    travel_nm = curve.travel_nm
    middle = (travel_nm[1:] + travel_nm[:-1]) / 2
    both = curve.used[:, 1:] & curve.used[:, :-1]
    bead, step = np.nonzero(both)
    steps = len(middle)
    if not len(bead):
        return StageSteps(np.zeros(steps), np.full(steps, np.inf))
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
    # Δz = focus − travel: too long a step lowers the defocus.
    direction = np.sign(np.median(np.diff(travel_nm)))
    design[rows, count + step] = -direction * curve.slope_nm(defocus) / (2 * width)
    prior = np.concatenate((np.full(count, _CURVE_ERROR * curve.waist_nm), np.full(steps, _STEP_ERROR_NM)))

    def fit(weights: Array) -> tuple[tuple[Array, Array], Array]:
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design) + np.diag(prior**-2))
        solution = covariance @ (design.T @ (weights * change))
        ratio = np.abs(change - design @ solution) / np.sqrt(variance)
        return (solution, covariance), huber_weights(ratio, _HUBER * max(1.0, float(np.median(ratio))), 1 / variance)

    (solution, covariance), _ = irls(fit, 1 / variance, _REWEIGHTINGS)
    deviation = np.sqrt(np.diagonal(covariance))
    return StageSteps(solution[count:], deviation[count:])
