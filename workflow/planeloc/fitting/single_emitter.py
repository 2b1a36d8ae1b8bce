"""Fits of single emitters with a known point spread function, on all planes at once: maximum likelihood or posterior.

Position, depth and photons of one emitter per window, with a known or unknown background on every plane: Fisher
scoring with Levenberg's damping on the likelihood of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653).
Inter-camera drift may be unknown, too, with a normal prior. A bead in the slices of a scan is the same problem:
`PSF.as_scan` makes every slice a plane. Computed in float64; on CPUs, where no drift is fitted and backgrounds are
unknown, as compiled code (`planeloc.fitting.compiled_emitters`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting import compiled_emitters
from planeloc.fitting.levenberg_marquardt import HOPELESS, Damping, minimise
from planeloc.psf import PSF, Emitters
from planeloc.psf.fisher_information import without_backgrounds

_BATCH_BYTES = 4 << 20  # of derivatives at once; more than a processor caches takes 1.7 times as long
_LARGEST_STEP_PX = 0.5
_LARGEST_STEP_Z_NM = 120.0
_LARGEST_LOSS, _LARGEST_GAIN = 0.6, 2.0  # of photons in a step, relative
_CLOSE_ENOUGH = 1e-3  # nm; of photons, relative
_ITERATIONS = 60
_DAMPING = Damping(first=1e-3, decrease=6, increase=10, lowest=1e-12, tolerance=1e-9, must_improve=False)
_OUTSIDE_PX = 2.0  # outside the window; farther away, a fit has lost its emitter


@dataclass(frozen=True)
class EmitterFits:
    """One row per window."""

    parameters: Tensor  # (n, 4): x, y from the outer corner of the window on plane 0, z (nm), photons of all planes
    background: Tensor  # (n, planes), photons per pixel
    drift_nm: Tensor  # (n, planes, 2) inter-camera drift beside the windows' shifts; 0 on plane 0 and where not fitted
    covariance: Tensor  # (n, 4, 4)
    relative_residual: Tensor  # (n,) rms residual beyond noise over the rms contrast of the model
    chi_square: Tensor  # (n,) per degree of freedom
    converged: Tensor  # (n,) bool

    @property
    def positions_nm(self) -> Tensor:
        """(n, 3) x, y, z."""
        return self.parameters[:, :3]

    @property
    def photons(self) -> Tensor:
        """(n,) of all planes together."""
        return self.parameters[:, 3]

    @property
    def deviations(self) -> Tensor:
        """(n, 4) standard deviations."""
        return torch.diagonal(self.covariance, dim1=-2, dim2=-1).clamp(min=0).sqrt()


@dataclass(frozen=True)
class EmitterWindows:
    """Images of emitters, the pixels to use, their noise, and where each plane sees an emitter."""

    photons: Tensor  # (n, planes, rows, columns)
    use: Tensor  # as photons: 1 where a pixel is used, else 0
    noise: PixelNoise
    shifts_nm: Tensor  # (n, planes, 2): the emitter's place on plane p is axes[p] @ (x, y) + shifts[p]
    axes: Tensor  # (planes, 2, 2)

    @classmethod
    def of(
        cls,
        photons: Tensor,
        noise: PixelNoise,
        use: Tensor | None = None,
        shifts_nm: Tensor | None = None,
        axes: Tensor | None = None,
    ) -> EmitterWindows:
        """Windows in double precision.

        Parameters
        ----------
        photons : (n, planes, rows, columns), background included.
        use : of the same shape, 1 where a pixel is used; None: all.
        shifts_nm, axes : see the class; None: all planes see the emitter at the same position.
        """
        photons = photons.double()
        count, planes = photons.shape[:2]
        zero = photons.new_zeros(count, planes, 2)
        return cls(
            photons,
            torch.ones_like(photons) if use is None else use.to(photons),
            noise.to(photons),
            zero if shifts_nm is None else shifts_nm.to(photons),
            torch.eye(2).to(photons).expand(planes, 2, 2) if axes is None else axes.to(photons),
        )

    def part(self, chosen: Tensor | slice) -> EmitterWindows:
        """Some of the n windows."""
        return replace(self, photons=self.photons[chosen], use=self.use[chosen], shifts_nm=self.shifts_nm[chosen])

    def model(self, psf: PSF, parameters: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Expected images and their derivatives by x, y, z, photons and, if fitted, the drift (x, y) of planes 1…."""
        emitters = Emitters(*parameters[:, :4].unbind(-1), self._displacement(parameters), background)
        values, derivatives = psf.expected_photons_and_derivatives(emitters, self.photons.shape[2:])
        on_plane = derivatives[..., :2]
        lateral = torch.einsum("nprca,pab->nprcb", on_plane, self.axes)
        parts = [lateral, derivatives[..., 2:]]
        if parameters.shape[1] > 4:
            drifting = torch.eye(self.planes).to(values)[:, 1:]  # each of planes 1… sees its own drift
            parts.append((on_plane[..., None, :] * drifting[:, None, None, :, None]).flatten(-2))
        return values, torch.cat(parts, dim=-1)

    def expected(self, psf: PSF, parameters: Tensor, background: Tensor) -> Tensor:
        """Expected photons (n, planes, rows, columns) at parameters (n, p) on a background (n, planes)."""
        emitters = Emitters(*parameters[:, :4].unbind(-1), self._displacement(parameters), background)
        return psf.expected_photons(emitters, self.photons.shape[2:])

    def first_background(self, psf: PSF, start: Tensor) -> Tensor:
        """(n, planes) Mean of the images after a first guess of the emitters is subtracted."""
        rest = self.use * (self.photons - self.expected(psf, start, start.new_zeros(self.photons.shape[:2])))
        return rest.sum(dim=(2, 3)) / self.use.sum(dim=(2, 3)).clamp(min=1)

    @property
    def planes(self) -> int:
        """Number of planes."""
        return self.photons.shape[1]

    def drift_nm(self, parameters: Tensor) -> Tensor:
        """(n, planes, 2) Inter-camera drift among the parameters; 0 where it is not fitted."""
        drift = torch.zeros_like(self.shifts_nm)
        if parameters.shape[1] > 4:
            drift[:, 1:] = parameters[:, 4:].reshape(-1, self.planes - 1, 2)
        return drift

    def _displacement(self, parameters: Tensor) -> Tensor:
        """From (x, y) to the emitter's position on every plane."""
        lateral = parameters[:, None, :2]
        return (self.axes @ lateral[..., None])[..., 0] + self.shifts_nm + self.drift_nm(parameters) - lateral


def fit_emitters(
    psf: PSF,
    windows: EmitterWindows,
    start: Tensor,
    *,
    background: Tensor | None = None,
    drift_sd_nm: float = 0.0,
    compiled: bool = True,
) -> EmitterFits:
    """Fit one emitter to each window.

    Parameters
    ----------
    start : (n, 4) first guess of x, y, z (nm) and photons.
    background : (n, planes) photons per pixel, where it is known; fitted by default.
    drift_sd_nm : standard deviation of the unknown inter-camera drift of planes 1… along each axis, normal about the
        windows' shifts; the fit then maximises the posterior probability. 0: the windows' shifts are exact.
    compiled : whether compiled code may run the fit, where it knows the model and the device.
    """
    simple = background is None and not drift_sd_nm > 0
    if compiled and simple and compiled_emitters.is_available(psf, windows.photons):
        return _compiled(psf, windows, start.double())
    count, planes, rows, columns = windows.photons.shape
    parameters = 4 + (2 * (planes - 1) if drift_sd_nm > 0 else 0)
    size = max(1, _BATCH_BYTES // (planes * rows * columns * parameters * 8))
    precision = torch.zeros(parameters, dtype=torch.float64, device=start.device)
    precision[4:] = drift_sd_nm**-2 if drift_sd_nm > 0 else 0
    start = torch.nn.functional.pad(start.double(), (0, parameters - 4))
    fits = []
    for first in range(0, max(count, 1), size):
        batch = slice(first, first + size)
        problem = _Problem(psf, windows.part(batch), precision, background is not None)
        known = (
            problem.windows.first_background(psf, start[batch]) if background is None else background[batch].to(start)
        )
        found, converged = minimise(problem, torch.cat((start[batch], known), dim=1), _DAMPING, _ITERATIONS)
        fits.append(_result(problem, *problem.split(found), converged))
    return EmitterFits(*(torch.cat([getattr(fit, name) for fit in fits]) for name in vars(fits[0])))


def _compiled(psf: PSF, windows: EmitterWindows, start: Tensor) -> EmitterFits:
    """Fits without drift and with unknown backgrounds, as compiled code."""
    limits = {
        "iterations": _ITERATIONS,
        "first_damping": _DAMPING.first,
        "decrease": _DAMPING.decrease,
        "increase": _DAMPING.increase,
        "least_damping": _DAMPING.lowest,
        "tolerance": _DAMPING.tolerance,
        "hopeless": HOPELESS,
        "largest_step_px": _LARGEST_STEP_PX,
        "largest_step_z_nm": _LARGEST_STEP_Z_NM,
        "largest_loss": _LARGEST_LOSS,
        "largest_gain": _LARGEST_GAIN,
        "close_enough": _CLOSE_ENOUGH,
    }
    pixels = windows.photons, windows.use, windows.shifts_nm, windows.axes
    found = compiled_emitters.fit_windows(psf, windows.noise, pixels, start, limits)
    parameters, background = found.parameters.split((4, windows.planes), dim=1)
    freedom = windows.use.sum(dim=(1, 2, 3)) - 4 - windows.planes
    return EmitterFits(
        parameters,
        background,
        torch.zeros_like(windows.shifts_nm),
        _inverse(found.information),
        relative_residual=(found.left.clamp(min=0) / found.contrast.clamp(min=1e-12)).sqrt(),
        chi_square=found.squares / freedom.clamp(min=1),
        converged=found.converged & _inside(windows, parameters, psf.pixel_size_nm),
    )


@dataclass(frozen=True)
class _Problem:
    """What is fitted to windows; a `Problem` of `levenberg_marquardt`.

    A row of its parameters holds x, y, z, photons, the fitted inter-camera drift, and every plane's background.
    """

    psf: PSF
    windows: EmitterWindows
    precision: Tensor  # (p,) inverse variance of the prior about zero; 0 where there is none
    background_known: bool

    def rows(self, chosen: Tensor | slice) -> _Problem:
        return replace(self, windows=self.windows.part(chosen))

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the emitter, and the backgrounds."""
        return parameters[:, : len(self.precision)], parameters[:, len(self.precision) :]

    def cost(self, parameters: Tensor) -> Tensor:
        emitter, background = self.split(parameters)
        return self._cost(emitter, self.windows.expected(self.psf, emitter, background))

    def _cost(self, emitter: Tensor, values: Tensor) -> Tensor:
        """Deviance of all used pixels, and of the prior, (n,)."""
        windows = self.windows
        deviance = (windows.use * windows.noise.deviance(windows.photons, values)).sum(dim=(1, 2, 3))
        return deviance + (self.precision * emitter**2).sum(dim=1)

    def step(self, parameters: Tensor, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        now, background = self.split(parameters)
        windows = self.windows
        values, derivatives = windows.model(self.psf, now, background)
        weights = windows.use / windows.noise.variance(values)
        information, cross, own = without_backgrounds(weights, derivatives, self.background_known)
        rest = weights * (windows.photons - values)
        gradient = (rest[..., None] * derivatives).sum(dim=(1, 2, 3)) - self.precision * now
        information = information + torch.diag(self.precision)
        background_gradient = rest.sum(dim=(2, 3))
        reduced = gradient - (cross @ (background_gradient / own)[..., None])[..., 0]
        scale = torch.diagonal(information, dim1=1, dim2=2).clamp(min=1e-30).rsqrt()
        system = information * scale[:, :, None] * scale[:, None, :]
        system = system + torch.diag_embed(damping[:, None].expand_as(scale))
        step = torch.linalg.solve(system, reduced * scale) * scale
        background_step = (background_gradient - (cross.transpose(1, 2) @ step[..., None])[..., 0]) / own
        step = _limited(now, step, self.psf.pixel_size_nm)
        tolerance = torch.full_like(now, _CLOSE_ENOUGH)
        tolerance[:, 3] = _CLOSE_ENOUGH * now[:, 3]
        small = (step.abs() <= tolerance).all(dim=1)
        return torch.cat((now + step, background + background_step), dim=1), self._cost(now, values), small


def _limited(now: Tensor, step: Tensor, pixel_size_nm: float) -> Tensor:
    """A step that neither jumps across the window nor turns the photons negative."""
    reach = _LARGEST_STEP_PX * pixel_size_nm
    limited = step.clamp(-reach, reach)
    limited[:, 2] = step[:, 2].clamp(-_LARGEST_STEP_Z_NM, _LARGEST_STEP_Z_NM)
    limited[:, 3] = torch.minimum(torch.maximum(step[:, 3], -_LARGEST_LOSS * now[:, 3]), _LARGEST_GAIN * now[:, 3])
    return limited


def _result(problem: _Problem, parameters: Tensor, background: Tensor, converged: Tensor) -> EmitterFits:
    windows = problem.windows
    values, derivatives = windows.model(problem.psf, parameters, background)
    variance = windows.noise.variance(values)
    weights = windows.use / variance
    squared = (windows.photons - values) ** 2
    freedom = windows.use.sum(dim=(1, 2, 3)) - parameters.shape[1]
    freedom = freedom - (0 if problem.background_known else windows.planes)
    left = (windows.use * (squared - variance)).sum(dim=(1, 2, 3))
    emitted = windows.use * (values - background[..., None, None])
    mean = emitted.sum(dim=(2, 3), keepdim=True) / windows.use.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    contrast = (windows.use * (emitted - mean) ** 2).sum(dim=(1, 2, 3))
    return EmitterFits(
        parameters[:, :4],
        background,
        windows.drift_nm(parameters),
        _covariance(problem, weights, derivatives)[:, :4, :4],
        relative_residual=(left.clamp(min=0) / contrast.clamp(min=1e-12)).sqrt(),
        chi_square=(weights * squared).sum(dim=(1, 2, 3)) / freedom.clamp(min=1),
        converged=converged & _inside(windows, parameters, problem.psf.pixel_size_nm),
    )


def _covariance(problem: _Problem, weights: Tensor, derivatives: Tensor) -> Tensor:
    """(n, p, p) Inverse information."""
    information, _, _ = without_backgrounds(weights, derivatives, problem.background_known)
    return _inverse(information + torch.diag(problem.precision))


def _inverse(information: Tensor) -> Tensor:
    """Of matrices (n, p, p) in any units; zero along directions that nothing is known about."""
    scale = torch.diagonal(information, dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
    scaling = scale[:, :, None] * scale[:, None, :]
    return torch.linalg.pinv(information * scaling, hermitian=True) * scaling


def _inside(windows: EmitterWindows, parameters: Tensor, pixel_size_nm: float) -> Tensor:
    """(n,) Whether emitters lie in their windows or just outside."""
    place = parameters[:, :2] / pixel_size_nm
    far = torch.tensor(windows.photons.shape[:1:-1], device=place.device) + _OUTSIDE_PX
    return torch.isfinite(parameters).all(dim=1) & (place > -_OUTSIDE_PX).all(dim=1) & (place < far).all(dim=1)
