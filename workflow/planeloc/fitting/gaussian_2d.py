"""Fits of 2D Gaussians to many small windows at once: Levenberg–Marquardt in float64 with an analytic Jacobian.

The model is the paper's Eq. 4, sampled at pixel centres: peak · exp(−r²/(2w)) + background with w the SQUARED width.
The elliptical form has one squared width per axis, and its axes may be turned, which measures astigmatism.

Two estimators: `least_squares` follows the bright core and tolerates rings, which suits widths; `likelihood` (shot
noise and read noise, Huang et al. 2013, solved by Fisher scoring) reaches the Cramér–Rao bound, which suits positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from planeloc.cameras.noise import NoiseModel
from planeloc.fitting import compiled_gaussians
from planeloc.fitting.levenberg_marquardt import HOPELESS, Damping, minimise

Array = NDArray[np.float64]

ESTIMATORS = ("least_squares", "likelihood")
_SMALLEST_WIDTH_PX2 = 0.02  # narrower than this, all photons fall on one pixel and the width is undefined
_START_WIDTHS = 8
_LARGEST_STEP_PX = 1.0
_DAMPING = Damping(first=1e-2, decrease=5, increase=8, lowest=1e-9, highest=1e9)


@dataclass(frozen=True)
class Accuracy:
    """When a fit has converged."""

    tolerance: float  # largest step: of positions in pixels, of all else relative
    iterations: int  # at most


WELL_CONVERGED = Accuracy(1e-5, 60)


@dataclass(frozen=True)
class GaussianFits:
    """One row per window; positions in pixels from the outer corner of the window."""

    parameters: Array  # (n, 5): x, y, w, peak, background; (n, 6) if elliptical: x, y, w_1, w_2, peak, background
    covariance: Array  # (n, p, p), from the noise model
    relative_residual: Array  # (n,) rms residual beyond noise over rms contrast of the fit
    converged: NDArray[np.bool_]  # (n,)

    @property
    def squared_width_px2(self) -> Array:
        """(n, 1), or (n, 2) for the two axes of the elliptical model."""
        return self.parameters[:, 2:-2]

    @property
    def peak(self) -> Array:
        """(n,) height above the background."""
        return self.parameters[:, -2]

    @property
    def deviations(self) -> Array:
        """(n, p): standard deviation of every parameter."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance, axis1=1, axis2=2), 0.0))

    def rows(self, chosen: NDArray) -> GaussianFits:
        """Return the fits of some of the windows."""
        return GaussianFits(
            self.parameters[chosen], self.covariance[chosen], self.relative_residual[chosen], self.converged[chosen]
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
    u, v, shape_value = _gaussian(parameters, shape, axes_deg)
    c, s = _direction(axes_deg)
    w_u, w_v = parameters[:, 2, None], parameters[:, -3, None]  # the same one for the round model
    signal = parameters[:, -2, None] * shape_value
    du, dv = signal * u / w_u, signal * v / w_v
    widths = (0.5 * du * u / w_u, 0.5 * dv * v / w_v)
    if parameters.shape[1] == 5:
        widths = (widths[0] + widths[1],)
    jacobian = np.stack((c * du - s * dv, s * du + c * dv, *widths, shape_value, np.ones_like(signal)), axis=-1)
    return signal + parameters[:, -1, None], jacobian


def gaussian_values(parameters: Array, shape: tuple[int, int], axes_deg: float = 0.0) -> Array:
    """Values of the model (n, rows·columns), as in `gaussian_model`."""
    return parameters[:, -2, None] * _gaussian(parameters, shape, axes_deg)[2] + parameters[:, -1, None]


def _gaussian(parameters: Array, shape: tuple[int, int], axes_deg: float) -> tuple[Array, Array, Array]:
    """Distances (n, rows·columns) of the pixels from the middle along the two axes, and a Gaussian of height one."""
    grid_x, grid_y = _pixel_centres(shape)
    dx, dy = grid_x - parameters[:, 0, None], grid_y - parameters[:, 1, None]
    c, s = _direction(axes_deg)
    u, v = c * dx + s * dy, c * dy - s * dx
    return u, v, np.exp(-0.5 * (u**2 / parameters[:, 2, None] + v**2 / parameters[:, -3, None]))


def _direction(axes_deg: float) -> tuple[float, float]:
    return float(np.cos(np.deg2rad(axes_deg))), float(np.sin(np.deg2rad(axes_deg)))


@lru_cache(maxsize=16)
def _pixel_centres(shape: tuple[int, int]) -> tuple[Array, Array]:
    """x and y (rows·columns,) of the pixels of a window."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return x.ravel(), y.ravel()


def fit_gaussians(
    windows: ArrayLike,
    *,
    mask: NDArray[np.bool_] | None = None,
    noise: NoiseModel | None = None,
    estimator: str = "likelihood",
    elliptical: bool = False,
    axes_deg: float = 0.0,
    accuracy: Accuracy = WELL_CONVERGED,
    compiled: bool = True,
) -> GaussianFits:
    """Fit one Gaussian to each window, from its middle.

    Parameters
    ----------
    windows : (n, rows, columns)
    mask : (n, rows, columns) pixels to use; all by default.
    noise : slope and read noise, or arrays (n, 1) of them for every window; shot noise alone by default.
    estimator : one of `ESTIMATORS`.
    compiled : whether compiled code may run the fit, where there is some.

    Raises
    ------
    ValueError : unknown estimator.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r} is not one of {', '.join(ESTIMATORS)}")
    windows = np.asarray(windows, dtype=np.float64)
    n, rows, columns = windows.shape
    data = windows.reshape(n, rows * columns)
    use = np.ones_like(data) if mask is None else np.asarray(mask, dtype=np.float64).reshape(n, rows * columns)
    problem = _Problem(data, use, (rows, columns), noise or NoiseModel(), estimator == "likelihood", axes_deg, accuracy)
    if compiled and compiled_gaussians.is_available():
        return _compiled(problem, elliptical)
    start = torch.from_numpy(_first_guess(problem, elliptical))
    found, converged = minimise(problem, start, _DAMPING, accuracy.iterations)
    parameters = found.numpy()
    values, jacobian = problem.model(parameters)
    return GaussianFits(
        parameters,
        _covariance(problem, values, jacobian),
        _relative_residual(problem, values),
        converged.numpy() & _inside(problem, parameters),
    )


def _compiled(problem: _Problem, elliptical: bool) -> GaussianFits:
    """The same by `planeloc.fitting.compiled_gaussians`."""
    cosine, sine = _direction(problem.axes_deg)
    slope, read = (
        np.broadcast_to(v, (len(problem.data), 1))[:, 0] for v in (problem.noise.slope, problem.noise.read_variance)
    )
    found = compiled_gaussians.fit_windows(
        problem.data,
        problem.use,
        problem.shape,
        slope,
        read,
        _start_widths(problem.shape),
        size=6 if elliptical else 5,
        likelihood=problem.likelihood,
        iterations=problem.accuracy.iterations,
        cosine=cosine,
        sine=sine,
        first_damping=_DAMPING.first,
        decrease=_DAMPING.decrease,
        increase=_DAMPING.increase,
        least_damping=_DAMPING.lowest,
        largest_damping=_DAMPING.highest,
        hopeless=HOPELESS,
        close_enough=problem.accuracy.tolerance,
        largest_step_px=_LARGEST_STEP_PX,
        smallest_width=_SMALLEST_WIDTH_PX2,
    )
    return GaussianFits(
        found.parameters,
        _sandwich(found.hessian, found.middle),
        np.sqrt(np.maximum(found.left, 0.0) / np.maximum(found.contrast, 1e-12)),
        found.converged & _inside(problem, found.parameters),
    )


def _inside(problem: _Problem, parameters: Array) -> NDArray[np.bool_]:
    """(n,) Whether Gaussians lie in their windows."""
    rows, columns = problem.shape
    x, y = parameters[:, 0], parameters[:, 1]
    return (x > 0) & (x < columns) & (y > 0) & (y < rows)


@dataclass(frozen=True)
class _Problem:
    """Windows and their estimator; a `Problem` of `levenberg_marquardt`, computed in numpy."""

    data: Array  # (n, pixels)
    use: Array  # (n, pixels), 0 or 1
    shape: tuple[int, int]
    noise: NoiseModel
    likelihood: bool
    axes_deg: float
    accuracy: Accuracy

    def rows(self, chosen: Tensor) -> _Problem:
        kept = chosen.numpy()
        return replace(self, data=self.data[kept], use=self.use[kept], noise=self.noise.rows(kept))

    def model(self, parameters: Array) -> tuple[Array, Array]:
        return gaussian_model(parameters, self.shape, self.axes_deg)

    def weights(self, values: Array) -> Array:
        return self.use / self.noise.variance(values) if self.likelihood else self.use

    def cost(self, parameters: Tensor) -> Tensor:
        return self._cost(gaussian_values(parameters.numpy(), self.shape, self.axes_deg))

    def _cost(self, values: Array) -> Tensor:
        """Sum of squares or deviance, (n,)."""
        of_pixels = self.noise.deviance(self.data, values) if self.likelihood else (self.data - values) ** 2
        return torch.from_numpy(np.sum(self.use * of_pixels, axis=1))

    def step(self, parameters: Tensor, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        now = parameters.numpy()
        values, jacobian = self.model(now)
        weighted = jacobian * self.weights(values)[..., None]
        hessian = np.swapaxes(weighted, 1, 2) @ jacobian
        gradient = np.einsum("nkp,nk->np", weighted, self.data - values)
        # Scaled to a unit diagonal: the parameters differ by orders of magnitude.
        scale = 1 / np.sqrt(np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-12))
        system = hessian * scale[:, :, None] * scale[:, None, :]
        system += (damping.numpy()[:, None, None] + 1e-12) * np.eye(now.shape[1])
        step = scale * np.linalg.solve(system, (gradient * scale)[..., None])[..., 0]
        proposed = _limited(now, step)
        tolerance = self.accuracy.tolerance * np.column_stack((np.ones((len(now), 2)), np.abs(now[:, 2:]) + 1e-3))
        tiny = (np.abs(proposed - now) <= tolerance).all(axis=1)
        return torch.from_numpy(proposed), self._cost(values), torch.from_numpy(tiny)


def _first_guess(problem: _Problem, elliptical: bool) -> Array:
    """Best of a ladder of widths in the middle of the window; peak and background follow linearly."""
    rows, columns = problem.shape
    n = len(problem.data)
    best_cost = np.full(n, np.inf)
    best = np.zeros((n, 5))
    count = problem.use.sum(axis=1)
    mean = np.sum(problem.use * problem.data, axis=1) / count
    for width in _start_widths(problem.shape):
        trial = np.tile([columns / 2, rows / 2, width, 1.0, 0.0], (n, 1))
        profile = gaussian_values(trial, problem.shape)
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


def _start_widths(shape: tuple[int, int]) -> Array:
    """Squared widths, px²."""
    return np.geomspace(0.4, (min(shape) / 3) ** 2, _START_WIDTHS)


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
    return _sandwich(hessian, middle)


def _sandwich(hessian: Array, middle: Array) -> Array:
    """Inverse hessian · middle · inverse hessian, (n, p, p)."""
    scale = 1 / np.sqrt(np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-12))
    scaling = scale[:, :, None] * scale[:, None, :]
    inverse = np.linalg.pinv(hessian * scaling, hermitian=True) * scaling
    return inverse @ middle @ inverse


def _relative_residual(problem: _Problem, values: Array) -> Array:
    left_over = np.sum(problem.use * ((problem.data - values) ** 2 - problem.noise.variance(values)), axis=1)
    # Contrast, not signal: a very broad Gaussian on a negative background has a large signal and explains nothing.
    mean = np.sum(problem.use * values, axis=1, keepdims=True) / problem.use.sum(axis=1, keepdims=True)
    contrast = np.sum(problem.use * (values - mean) ** 2, axis=1)
    return np.sqrt(np.maximum(left_over, 0.0) / np.maximum(contrast, 1e-12))
