"""The defocus curve of a bead scan: one shared curve (w0, d, A, B), one focus per bead, fitted robustly to the widths.

Far from focus a real PSF has rings and its fitted width follows no simple curve, so the tolerance of a width grows with
the distance from focus, outliers have less weight, and the curve is positive over the whole range of molecules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import OptimizeResult, least_squares

from planeloc.core.arrays import Array, Mask

_LARGEST_ASYMMETRY = 1.0
_LARGEST_QUARTIC = 3.0
_TYPICAL_ASYMMETRY = 0.1  # prior of A, which a flat focus does not determine beside the common focus
_STARTS_NM = (250.0, 400.0, 700.0)  # of d
_SHARE_OF_PEAK = 0.12  # slices dimmer than this share of the bead's best are left out of the first pass
_LEAST_SHAPE = 0.05  # of the squared width over that in focus
_PENALTY = 100.0  # of a curve that sinks
_TOLERANCE = 0.02  # of a width at focus; doubles some 1.5 d away from it


@dataclass(frozen=True)
class Widths:
    """Measured widths of many beads: arrays (beads, slices)."""

    squared_nm2: Array
    squared_sd_nm2: Array
    peak: Array  # used only to find the focus for a start
    good: Mask

    @property
    def sd_nm(self) -> Array:
        """Of the widths themselves."""
        return self.squared_sd_nm2 / (2 * np.sqrt(self.squared_nm2))


@dataclass(frozen=True)
class DefocusFit:
    """Shared curve and focus of every bead; deviations from the robust fit's covariance."""

    travel_nm: Array  # (slices,) position of the beads along z relative to the planes, up to a constant
    waist_nm: float
    focus_depth_nm: float
    asymmetry: float
    quartic: float
    deviations: Array  # (4,) of the above
    focus_nm: Array  # (beads,) travel at which the bead is in focus
    focus_sd_nm: Array  # of the distance to the mean focus of all beads
    used: Mask  # (beads, slices)
    residual_nm: Array  # (beads, slices) measured minus fitted width; nan where unused

    @property
    def defocus_nm(self) -> Array:
        """(beads, slices) Δz."""
        return self.focus_nm[:, None] - self.travel_nm

    def near(self, depths_of_focus: float) -> Mask:
        """(beads, slices) that are used and closer to a bead's focus than so many depths of focus."""
        return self.used & (np.abs(self.defocus_nm) < depths_of_focus * self.depth_of_focus_nm)

    def largest_defocus_nm(self, depths_nm: Array) -> float:
        """Largest |Δz| that molecules will have: from one end of the sampled depth range to the farthest plane."""
        span = float(np.ptp(depths_nm))
        return span + max(span / (len(depths_nm) - 1) / 2, self.depth_of_focus_nm)

    @property
    def depth_of_focus_nm(self) -> float:
        """Defocus that doubles the squared width, mean of both sides: d itself where A = B = 0."""
        u = np.linspace(0, 3, 3001)
        even, odd = u**2 + self.quartic * u**4, self.asymmetry * u**3
        reached = [u[np.argmax(side >= 1)] if side.max() >= 1 else u[-1] for side in (even + odd, even - odd)]
        return self.focus_depth_nm * float(np.mean(reached))

    def width_nm(self, defocus_nm: Array) -> Array:
        """Root of the curve's squared width."""
        curve = np.array([self.waist_nm, self.focus_depth_nm, self.asymmetry, self.quartic])
        return np.sqrt(_squared_width(curve, defocus_nm))

    def slope_nm(self, defocus_nm: Array) -> Array:
        """dw/dΔz in nm."""
        u = defocus_nm / self.focus_depth_nm
        return self.waist_nm**2 / self.focus_depth_nm * (2 * u + 3 * self.asymmetry * u**2 + 4 * self.quartic * u**3)


def fit_defocus(widths: Widths, travel_nm: Array, reach_nm: float | None = None) -> DefocusFit:
    """Fit the curve; slices further than `reach_nm` from focus are left out, and the curve is positive up to there.

    `travel_nm` (slices,) is the position of the beads along z relative to the planes, up to a constant.
    """
    bright = widths.peak > _SHARE_OF_PEAK * np.max(np.where(widths.good, widths.peak, 0.0), axis=1, keepdims=True)
    used = widths.good & bright
    focus = _first_focus(widths, travel_nm, used)
    waist = float(np.sqrt(np.median([np.min(w[u]) for w, u in zip(widths.squared_nm2, used, strict=True) if u.any()])))
    best, parameters = np.inf, np.empty(0)
    for depth in _STARTS_NM:
        solution = _solve(widths, travel_nm, used, np.concatenate(([waist, depth, 0.0, 0.02], focus)), 1000.0)
        if solution.cost < best:
            best, parameters = solution.cost, solution.x
    reach = reach_nm or 3.5 * parameters[1]
    for _ in range(3):
        defocus = parameters[4:, None] - travel_nm
        used = widths.good & (np.abs(defocus) <= reach)
        solution = _solve(widths, travel_nm, used, parameters, reach)
        parameters = solution.x
    defocus = parameters[4:, None] - travel_nm
    model = np.sqrt(_squared_width(parameters[:4], defocus))
    residual = np.where(used, np.sqrt(widths.squared_nm2) - model, np.nan)
    freedom = max(len(solution.fun) - len(solution.x), 1)
    covariance = (
        np.linalg.pinv((solution.jac.T @ solution.jac).toarray()) * 2 * solution.cost / freedom
    )  # by the scatter found
    deviations = np.sqrt(np.maximum(np.diagonal(covariance)[:4], 0.0))
    # A change of A moves all foci together: only their distances matter, so the common part is taken out.
    centring = np.eye(len(focus)) - 1 / len(focus)
    focus_sd = np.sqrt(np.maximum(np.diagonal(centring @ covariance[4:, 4:] @ centring), 0.0))
    return DefocusFit(travel_nm, *map(float, parameters[:4]), deviations, parameters[4:], focus_sd, used, residual)


def _squared_width(curve: Array, defocus_nm: Array) -> Array:
    u = defocus_nm / curve[1]
    return curve[0] ** 2 * np.maximum(1 + u**2 + curve[2] * u**3 + curve[3] * u**4, _LEAST_SHAPE)


def _first_focus(widths: Widths, travel_nm: Array, used: Mask) -> Array:
    """Where the bead is narrowest, by a parabola through the widths of the slices around the brightest."""
    focus = np.empty(len(used))
    for bead, usable in enumerate(used):
        peak = np.where(usable, widths.peak[bead], 0.0)
        near = usable & (peak > 0.5 * peak.max())
        travel, width = travel_nm[near], widths.squared_nm2[bead, near]
        focus[bead] = travel_nm[np.argmax(peak)]
        if len(travel) >= 4:
            bend, slope, _ = np.polyfit(travel - focus[bead], width, 2)
            if bend > 0:
                focus[bead] += np.clip(-slope / (2 * bend), *np.sort(travel - focus[bead])[[0, -1]])
    return focus


@dataclass(frozen=True)
class _Equations:
    """Residuals of the curve (w0, d, A, B) and the foci of all beads, and their derivatives, for `least_squares`."""

    width: Array  # (n,) measured
    tolerance: Array  # (n,)
    bead: Array  # (n,) which
    travel: Array  # (n,)
    grid: Array  # defocus at which the curve must not sink

    def residuals(self, parameters: Array) -> Array:
        """(n + grid + 1,) Deviations of the widths, penalty of a sunken curve, prior of A."""
        model = np.sqrt(_squared_width(parameters[:4], parameters[4:][self.bead] - self.travel))
        sunk, _ = self._sunk(parameters)
        prior = parameters[2] / _TYPICAL_ASYMMETRY
        return np.concatenate(((self.width - model) / self.tolerance, _PENALTY * sunk, [prior]))

    def jacobian(self, parameters: Array) -> sparse.csr_array:
        """(n + grid + 1, 4 + beads) Derivatives of the residuals; every width depends on one focus."""
        waist, depth, asymmetry, quartic = parameters[:4]
        u = (parameters[4:][self.bead] - self.travel) / depth
        shape = 1 + u**2 + asymmetry * u**3 + quartic * u**4
        rises = shape > _LEAST_SHAPE
        shape = np.maximum(shape, _LEAST_SHAPE)
        root = np.sqrt(shape)
        of_shape = np.where(rises, waist / (2 * root), 0.0)  # derivative of the width by the shape
        along_u = of_shape * (2 * u + 3 * asymmetry * u**2 + 4 * quartic * u**3)
        columns = np.column_stack((root, -along_u * u / depth, of_shape * u**3, of_shape * u**4))
        n = len(self.width)
        jacobian = np.zeros((n + len(self.grid) + 1, len(parameters)))
        jacobian[:n, :4] = -columns / self.tolerance[:, None]
        jacobian[np.arange(n), 4 + self.bead] = -along_u / depth / self.tolerance
        sunk, by_curve = self._sunk(parameters)
        jacobian[n:-1, 1:4] = _PENALTY * np.where(sunk[:, None] > 0, by_curve, 0.0)
        jacobian[-1, 2] = 1 / _TYPICAL_ASYMMETRY
        return sparse.csr_array(jacobian)

    def _sunk(self, parameters: Array) -> tuple[Array, Array]:
        """How far the curve is below a third of the symmetric one, where it would turn back or go negative.

        Also its derivatives by d, A and B, where it is.
        """
        _, depth, asymmetry, quartic = parameters[:4]
        u = self.grid / depth
        plain = 1 + u**2
        odd = asymmetry * u**3 + quartic * u**4
        sunk = np.maximum(plain / 3 - (plain + odd), 0.0) / plain
        slope = -(3 * asymmetry * u**2 + 4 * quartic * u**3) / plain + odd * 2 * u / plain**2  # of −odd / plain, by u
        return sunk, np.column_stack((-slope * u / depth, -(u**3) / plain, -(u**4) / plain))


def _solve(widths: Widths, travel_nm: Array, used: Mask, start: Array, reach: float) -> OptimizeResult:
    beads, slices = np.nonzero(used)
    travel = travel_nm[slices]
    width = np.sqrt(widths.squared_nm2[beads, slices])
    defocus = start[4:][beads] - travel
    noise = widths.squared_sd_nm2[beads, slices] / (2 * width)
    tolerance = np.hypot(noise, _TOLERANCE * width * (1 + (defocus / (1.5 * start[1])) ** 2))
    equations = _Equations(width, tolerance, beads, travel, np.linspace(-1.25 * reach, 1.25 * reach, 51))
    lower = np.concatenate(([20.0, 40.0, -_LARGEST_ASYMMETRY, 0.0], np.full(len(start) - 4, -np.inf)))
    upper = np.concatenate(([2000.0, 5000.0, _LARGEST_ASYMMETRY, _LARGEST_QUARTIC], np.full(len(start) - 4, np.inf)))
    start = np.clip(start, lower + 1e-6, upper - 1e-6)
    return least_squares(
        equations.residuals,
        start,
        equations.jacobian,
        bounds=(lower, upper),
        x_scale="jac",
        loss="soft_l1",
        f_scale=2.0,
        max_nfev=100,
        tr_solver="lsmr",
    )
