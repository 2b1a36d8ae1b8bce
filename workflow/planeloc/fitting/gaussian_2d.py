"""Fitting 2D Gaussians to many small windows at once: Levenberg–Marquardt in float64 with an analytic Jacobian.

The model is the paper's Eq. 4, sampled at pixel centres: peak · exp(−r²/(2w)) + background with w the SQUARED width.
The elliptical form has one squared width per axis, and the axes may be turned, which is how astigmatism is measured.

Two estimators: `least_squares` follows the bright core and forgives rings, which is what a width should do;
`likelihood` (shot noise plus read noise, as Huang et al. 2013, solved by Fisher scoring) reaches the Cramér–Rao bound,
which is what a position should do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planeloc.cameras.noise import NoiseModel

Array = NDArray[np.float64]

ESTIMATORS = ("least_squares", "likelihood")
_SMALLEST_WIDTH_PX2 = 0.02  # narrower than this, all light falls on one pixel and the width is undefined
_START_WIDTHS = 8
_LARGEST_STEP_PX = 1.0


@dataclass(frozen=True)
class GaussianFits:
    """One row per window; positions in pixels from the outer corner of the window."""

    parameters: Array  # (n, 5): x, y, w, peak, background; (n, 6) if elliptical: x, y, w_1, w_2, peak, background
    covariance: Array  # (n, p, p), from the noise model
    misfit: Array  # (n,) rms residual beyond noise over rms contrast of the fit
    converged: NDArray[np.bool_]  # (n,)

    @property
    def x_px(self) -> Array:
        return self.parameters[:, 0]

    @property
    def y_px(self) -> Array:
        return self.parameters[:, 1]

    @property
    def squared_width_px2(self) -> Array:
        """(n, 1), or (n, 2) for the two axes of the elliptical model."""
        return self.parameters[:, 2:-2]

    @property
    def peak(self) -> Array:
        return self.parameters[:, -2]

    @property
    def background(self) -> Array:
        return self.parameters[:, -1]

    @property
    def deviations(self) -> Array:
        """(n, p): standard deviation of every parameter."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance, axis1=1, axis2=2), 0.0))

    def rows(self, chosen: NDArray) -> GaussianFits:
        """Of some of the windows."""
        return GaussianFits(
            self.parameters[chosen], self.covariance[chosen], self.misfit[chosen], self.converged[chosen]
        )


def gaussian_model(parameters: Array, shape: tuple[int, int], axes_deg: float = 0.0) -> tuple[Array, Array]:
    """Values and Jacobian of the model on every pixel.

    Parameters
    ----------
    parameters : (n, 5) or (n, 6), as in `GaussianFits`.
    shape : (rows, columns) of the window.
    axes_deg : direction of the first axis of the elliptical model, from x towards y.

    Returns
    -------
    values (n, rows·columns) and jacobian (n, rows·columns, p).
    """
    rows, columns = shape
    grid_y, grid_x = np.mgrid[:rows, :columns] + 0.5
    dx = grid_x.ravel() - parameters[:, 0, None]
    dy = grid_y.ravel() - parameters[:, 1, None]
    c, s = np.cos(np.deg2rad(axes_deg)), np.sin(np.deg2rad(axes_deg))
    u, v = c * dx + s * dy, c * dy - s * dx
    w_u, w_v = parameters[:, 2, None], parameters[:, -3, None]  # the same one for the round model
    peak, background = parameters[:, -2, None], parameters[:, -1, None]
    shape_value = np.exp(-0.5 * (u**2 / w_u + v**2 / w_v))
    signal = peak * shape_value
    du, dv = signal * u / w_u, signal * v / w_v
    widths = (0.5 * du * u / w_u, 0.5 * dv * v / w_v)
    if parameters.shape[1] == 5:
        widths = (widths[0] + widths[1],)
    jacobian = np.stack((c * du - s * dv, s * du + c * dv, *widths, shape_value, np.ones_like(signal)), axis=-1)
    return signal + background, jacobian


def fit_gaussians(
    windows: ArrayLike,
    *,
    start_px: Array | None = None,
    mask: NDArray[np.bool_] | None = None,
    noise: NoiseModel | None = None,
    estimator: str = "likelihood",
    elliptical: bool = False,
    axes_deg: float = 0.0,
    iterations: int = 60,
) -> GaussianFits:
    """Fit one Gaussian to each window.

    Parameters
    ----------
    windows : (n, rows, columns)
    start_px : (n, 2), optional: first guess of (x, y); the middle of the window by default.
    mask : (n, rows, columns), optional: pixels to use.
    noise : slope and read noise; shot noise alone by default.
    estimator : one of `ESTIMATORS`.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r} is not one of {', '.join(ESTIMATORS)}")
    windows = np.asarray(windows, dtype=np.float64)
    n, rows, columns = windows.shape
    data = windows.reshape(n, rows * columns)
    use = np.ones_like(data) if mask is None else np.asarray(mask, dtype=np.float64).reshape(n, rows * columns)
    noise = noise or NoiseModel()
    if start_px is None:
        start_px = np.broadcast_to(np.array([columns / 2, rows / 2]), (n, 2))
    problem = _Problem(data, use, (rows, columns), noise, estimator == "likelihood", axes_deg)
    parameters = _first_guess(problem, np.asarray(start_px, dtype=np.float64), elliptical)
    parameters, converged = _levenberg_marquardt(problem, parameters, iterations)
    values, jacobian = gaussian_model(parameters, problem.shape, axes_deg)
    inside = (parameters[:, 0] > 0) & (parameters[:, 0] < columns) & (parameters[:, 1] > 0) & (parameters[:, 1] < rows)
    return GaussianFits(
        parameters, _covariance(problem, values, jacobian), _misfit(problem, values), converged & inside
    )


@dataclass(frozen=True)
class _Problem:
    data: Array  # (n, pixels)
    use: Array  # (n, pixels), 0 or 1
    shape: tuple[int, int]
    noise: NoiseModel
    likelihood: bool
    axes_deg: float

    def rows(self, chosen: NDArray) -> _Problem:
        return _Problem(self.data[chosen], self.use[chosen], self.shape, self.noise, self.likelihood, self.axes_deg)

    def weights(self, values: Array) -> Array:
        return self.use / self.noise.variance(values) if self.likelihood else self.use

    def cost(self, values: Array) -> Array:
        """Sum of squares, or deviance of a Poisson variable shifted by the read variance, (n,)."""
        if not self.likelihood:
            return np.sum(self.use * (self.data - values) ** 2, axis=1)
        shift = self.noise.read_variance / self.noise.slope
        expected = np.maximum(values + shift, 1e-6) / self.noise.slope
        seen = np.maximum(self.data + shift, 0.0) / self.noise.slope
        logarithm = np.log(expected / np.where(seen > 0, seen, expected))
        return 2 * np.sum(self.use * (expected - seen - seen * logarithm), axis=1)


def _first_guess(problem: _Problem, start_px: Array, elliptical: bool) -> Array:
    """Best of a ladder of widths at the given centre; peak and background follow linearly."""
    rows, columns = problem.shape
    n = len(problem.data)
    best_cost = np.full(n, np.inf)
    best = np.zeros((n, 5))
    count = problem.use.sum(axis=1)
    mean = np.sum(problem.use * problem.data, axis=1) / count
    for width in np.geomspace(0.4, (min(rows, columns) / 3) ** 2, _START_WIDTHS):
        trial = np.column_stack((start_px, np.full(n, width), np.ones(n), np.zeros(n)))
        profile, _ = gaussian_model(trial, problem.shape)
        profile_mean = np.sum(problem.use * profile, axis=1) / count
        centred = problem.use * (profile - profile_mean[:, None])
        peak = np.sum(centred * problem.data, axis=1) / np.maximum(np.sum(centred * profile, axis=1), 1e-12)
        background = mean - peak * profile_mean
        residual = problem.data - peak[:, None] * profile - background[:, None]
        cost = np.sum(problem.use * residual**2, axis=1) + np.where(peak > 0, 0.0, 1e30)
        better = cost < best_cost
        best_cost = np.where(better, cost, best_cost)
        trial[:, 3], trial[:, 4] = np.maximum(peak, 1e-3), background
        best[better] = trial[better]
    if problem.likelihood:  # a negative background has no likelihood
        best[:, 4] = np.maximum(best[:, 4], 1e-3)
    return np.insert(best, 3, best[:, 2], axis=1) if elliptical else best


def _levenberg_marquardt(problem: _Problem, parameters: Array, iterations: int) -> tuple[Array, NDArray[np.bool_]]:
    """Every window has its own damping; windows leave the batch when they have converged."""
    n, p = parameters.shape
    parameters = parameters.copy()
    converged = np.zeros(n, dtype=bool)
    damping = np.full(n, 1e-2)
    active = np.arange(n)
    identity = np.eye(p)
    for _ in range(iterations):
        part = problem.rows(active)
        now = parameters[active]
        values, jacobian = gaussian_model(now, part.shape, part.axes_deg)
        weighted = jacobian * part.weights(values)[..., None]
        hessian = np.swapaxes(weighted, 1, 2) @ jacobian
        gradient = np.einsum("nkp,nk->np", weighted, part.data - values)
        diagonal = np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-12)
        # Scaled to a unit diagonal: the parameters differ by orders of magnitude.
        scale = 1 / np.sqrt(diagonal)
        system = hessian * scale[:, :, None] * scale[:, None, :]
        system += (damping[active, None, None] + 1e-12) * identity
        step = scale * np.linalg.solve(system, (gradient * scale)[..., None])[..., 0]
        proposed = _limited(now, step)
        cost_now = part.cost(values)
        cost_next = part.cost(gaussian_model(proposed, part.shape, part.axes_deg)[0])
        better = cost_next <= cost_now
        parameters[active[better]] = proposed[better]
        damping[active] = np.where(better, np.maximum(damping[active] / 5, 1e-9), np.minimum(damping[active] * 8, 1e9))
        still = np.abs(proposed - now) <= 1e-5 * np.column_stack((np.ones((len(now), 2)), np.abs(now[:, 2:]) + 1e-3))
        finished = (better & still.all(axis=1)) | (~better & (damping[active] >= 1e8))
        converged[active[finished]] = True
        active = active[~finished]
        if not len(active):
            break
    return parameters, converged


def _limited(now: Array, step: Array) -> Array:
    """Apply a step that neither jumps across the window nor changes a width or the peak out of reason."""
    proposed = now + step
    proposed[:, :2] = now[:, :2] + np.clip(step[:, :2], -_LARGEST_STEP_PX, _LARGEST_STEP_PX)
    widths = np.clip(proposed[:, 2:-2], now[:, 2:-2] / 2.5, now[:, 2:-2] * 2.5)
    proposed[:, 2:-2] = np.clip(widths, _SMALLEST_WIDTH_PX2, 1e4)
    proposed[:, -2] = np.maximum(proposed[:, -2], now[:, -2] / 10)
    return proposed


def _covariance(problem: _Problem, values: Array, jacobian: Array) -> Array:
    """(JᵀWJ)⁻¹ JᵀWVWJ (JᵀWJ)⁻¹ with the noise model's V; for the likelihood, W = V⁻¹, the inverse Fisher matrix."""
    weights = problem.weights(values)
    middle = np.swapaxes(jacobian * (weights**2 * problem.noise.variance(values))[..., None], 1, 2) @ jacobian
    hessian = np.swapaxes(jacobian * weights[..., None], 1, 2) @ jacobian
    scale = 1 / np.sqrt(np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-12))
    scaling = scale[:, :, None] * scale[:, None, :]
    inverse = np.linalg.pinv(hessian * scaling, hermitian=True) * scaling
    return inverse @ middle @ inverse


def _misfit(problem: _Problem, values: Array) -> Array:
    left_over = np.sum(problem.use * ((problem.data - values) ** 2 - problem.noise.variance(values)), axis=1)
    # Contrast, not signal: a very broad Gaussian on a negative background has a large signal and explains nothing.
    mean = np.sum(problem.use * values, axis=1, keepdims=True) / problem.use.sum(axis=1, keepdims=True)
    contrast = np.sum(problem.use * (values - mean) ** 2, axis=1)
    return np.sqrt(np.maximum(left_over, 0.0) / np.maximum(contrast, 1e-12))
