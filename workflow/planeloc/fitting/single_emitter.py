"""Fits of emitters with a known point spread function, on all planes at once: maximum likelihood or a posteriori.

Position, depth and photons of one emitter per window, with a known or unknown background on every plane: Fisher scoring
with Levenberg's damping on the likelihood of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653). What the
planes have drifted may be unknown, too, with a normal prior. A bead on the slices of a scan is the same problem:
`PSF.as_scan` makes every slice a plane. Computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.psf import PSF
from planeloc.psf.fisher_information import without_backgrounds

_BATCH_BYTES = 256 << 20  # of derivatives at once
_LARGEST_STEP_PX = 0.5
_LARGEST_STEP_Z_NM = 120.0
_CLOSE_ENOUGH = 1e-3  # nm; of photons, relative
_HOPELESS = 1e8  # damping
_OUTSIDE_PX = 2.0  # beyond the window, where a fit has lost its emitter


@dataclass(frozen=True)
class EmitterFits:
    """One row per window."""

    parameters: Tensor  # (n, 4): x, y from the outer corner of the window on plane 0, z (nm), photons of all planes
    background: Tensor  # (n, planes), photons per pixel
    drift_nm: Tensor  # (n, planes, 2) found beside the windows' shifts; 0 on plane 0 and where none was fitted
    covariance: Tensor  # (n, 4, 4); what was held fixed has none
    misfit: Tensor  # (n,) rms of what the model leaves beyond noise over the rms contrast of the model
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
class Windows:
    """Images of emitters and how they came about."""

    photons: Tensor  # (n, planes, rows, columns)
    use: Tensor  # as photons: 1 where a pixel counts, else 0
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
    ) -> Windows:
        """Windows with what is not given: all pixels count, and all planes see the emitter at the same place."""
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

    def part(self, chosen: Tensor | slice) -> Windows:
        return replace(self, photons=self.photons[chosen], use=self.use[chosen], shifts_nm=self.shifts_nm[chosen])

    def model(self, psf: PSF, parameters: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Expected images and their derivatives by (x, y, z, photons) and, if given, the drift (x, y) of planes 1…."""
        x, y, z, photons = parameters[:, :4].unbind(-1)
        values, derivatives = psf.expected_photons_and_derivatives(
            x, y, z, photons, self.photons.shape[2:], self._displacement(parameters), background
        )
        on_plane = derivatives[..., :2]
        lateral = torch.einsum("nprca,pab->nprcb", on_plane, self.axes)
        parts = [lateral, derivatives[..., 2:]]
        if parameters.shape[1] > 4:
            drifting = torch.eye(self.planes).to(values)[:, 1:]  # each of planes 1… sees its own drift
            parts.append((on_plane[..., None, :] * drifting[:, None, None, :, None]).flatten(-2))
        return values, torch.cat(parts, dim=-1)

    def expected(self, psf: PSF, parameters: Tensor, background: Tensor) -> Tensor:
        x, y, z, photons = parameters[:, :4].unbind(-1)
        shape = self.photons.shape[2:]
        return psf.expected_photons(x, y, z, photons, shape, self._displacement(parameters), background)

    def first_background(self, psf: PSF, start: Tensor) -> Tensor:
        """(n, planes) what the images hold beside a first guess of the emitters, on average."""
        rest = self.use * (self.photons - self.expected(psf, start, start.new_zeros(self.photons.shape[:2])))
        return rest.sum(dim=(2, 3)) / self.use.sum(dim=(2, 3)).clamp(min=1)

    @property
    def planes(self) -> int:
        return self.photons.shape[1]

    def drift_nm(self, parameters: Tensor) -> Tensor:
        """(n, planes, 2) the drift among the parameters; without it, none."""
        drift = torch.zeros_like(self.shifts_nm)
        if parameters.shape[1] > 4:
            drift[:, 1:] = parameters[:, 4:].reshape(-1, self.planes - 1, 2)
        return drift

    def _displacement(self, parameters: Tensor) -> Tensor:
        """From (x, y) to the emitter's place on every plane."""
        lateral = parameters[:, None, :2]
        return (self.axes @ lateral[..., None])[..., 0] + self.shifts_nm + self.drift_nm(parameters) - lateral


@dataclass(frozen=True)
class _Unknowns:
    """Which parameters are fitted, and what is known of them before the image is seen."""

    held: Tensor  # (p,) bool
    precision: Tensor  # (p,) inverse variance of the prior about zero; 0 where nothing is known
    background_known: bool

    def prior_deviance(self, parameters: Tensor) -> Tensor:
        """(n,) What the prior adds to the deviance."""
        return (self.precision * parameters**2).sum(dim=1)


def fit_emitters(
    psf: PSF,
    windows: Windows,
    start: Tensor,
    *,
    free: tuple[bool, bool, bool, bool] = (True, True, True, True),
    background: Tensor | None = None,
    drift_sd_nm: float = 0.0,
    iterations: int = 60,
) -> EmitterFits:
    """Fit one emitter to each window.

    Parameters
    ----------
    start : (n, 4) first guess of x, y, z (nm) and photons.
    free : which of them are fitted; the others keep their start.
    background : (n, planes) photons per pixel, where it is known; fitted by default.
    drift_sd_nm : of planes 1… along each axis, normal about the windows' shifts and unknown: the fit is then the one of
        the greatest posterior probability. 0: the windows' shifts are exact.
    """
    count, planes, rows, columns = windows.photons.shape
    parameters = 4 + (2 * (planes - 1) if drift_sd_nm > 0 else 0)
    size = max(1, _BATCH_BYTES // (planes * rows * columns * parameters * 8))
    held = torch.tensor([not f for f in free] + [False] * (parameters - 4), device=start.device)
    precision = torch.zeros(parameters, dtype=torch.float64, device=start.device)
    precision[4:] = drift_sd_nm**-2 if drift_sd_nm > 0 else 0
    unknowns = _Unknowns(held, precision, background is not None)
    start = torch.nn.functional.pad(start.double(), (0, parameters - 4))
    batches = [slice(first, first + size) for first in range(0, count, size)] or [slice(0, 0)]
    fits = []
    for batch in batches:
        part = windows.part(batch)
        level = part.first_background(psf, start[batch]) if background is None else background[batch].to(start)
        fits.append(_fit(psf, part, start[batch], level, unknowns, iterations))
    return EmitterFits(*(torch.cat([getattr(fit, name) for fit in fits]) for name in vars(fits[0])))


def _fit(
    psf: PSF, windows: Windows, start: Tensor, background: Tensor, unknowns: _Unknowns, iterations: int
) -> EmitterFits:
    """Every window has its own damping; windows leave the batch when they have converged."""
    parameters, background = start.clone(), background.clone()
    converged = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    damping = torch.full_like(start[:, 0], 1e-3)
    active = torch.arange(len(start), device=start.device)
    for _ in range(iterations):
        if not len(active):
            break
        part, now, level = windows.part(active), parameters[active], background[active]
        values, derivatives = part.model(psf, now, level)
        step, background_step = _step(part, now, values, derivatives, unknowns, damping[active])
        step = _limited(now, step, psf.pixel_size_nm)
        proposed, proposed_level = now + step, level + background_step
        cost = _deviance(part, values) + unknowns.prior_deviance(now)
        next_cost = _deviance(part, part.expected(psf, proposed, proposed_level)) + unknowns.prior_deviance(proposed)
        better = next_cost <= cost + 1e-9
        parameters[active] = torch.where(better[:, None], proposed, now)
        background[active] = torch.where(better[:, None], proposed_level, level)
        damping[active] = torch.where(better, damping[active] / 6, damping[active] * 10).clamp(min=1e-12)
        scale = torch.ones_like(now)
        scale[:, 3] = now[:, 3]
        # So near the optimum, whether a step is better is a matter of rounding.
        done = (step.abs() <= _CLOSE_ENOUGH * scale).all(dim=1) | (damping[active] > _HOPELESS)
        converged[active[done]] = True
        active = active[~done]
    return _result(psf, windows, parameters, background, unknowns, converged)


def _step(
    windows: Windows, now: Tensor, values: Tensor, derivatives: Tensor, unknowns: _Unknowns, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """Damped step of the parameters, and the one of the backgrounds that goes with it."""
    weights = windows.use / windows.noise.variance(values)
    information, cross, own = without_backgrounds(weights, derivatives, unknowns.background_known)
    rest = weights * (windows.photons - values)
    gradient = (rest[..., None] * derivatives).sum(dim=(1, 2, 3)) - unknowns.precision * now
    information = information + torch.diag(unknowns.precision)
    level_gradient = rest.sum(dim=(2, 3))
    reduced = gradient - (cross @ (level_gradient / own)[..., None])[..., 0]
    diagonal = torch.diagonal(information, dim1=1, dim2=2).clamp(min=1e-30)
    diagonal = torch.where(unknowns.held, 1e300, diagonal)  # what is held never moves
    scale = diagonal.rsqrt()
    system = information * scale[:, :, None] * scale[:, None, :]
    system = system + torch.diag_embed(damping[:, None] + unknowns.held * 1.0)
    step = torch.linalg.solve(system, reduced * scale) * scale
    return step, (level_gradient - (cross.transpose(1, 2) @ step[..., None])[..., 0]) / own


def _limited(now: Tensor, step: Tensor, pixel_size_nm: float) -> Tensor:
    """A step that neither jumps across the window nor turns the photons negative."""
    reach = _LARGEST_STEP_PX * pixel_size_nm
    limited = step.clamp(-reach, reach)
    limited[:, 2] = step[:, 2].clamp(-_LARGEST_STEP_Z_NM, _LARGEST_STEP_Z_NM)
    limited[:, 3] = torch.minimum(torch.maximum(step[:, 3], -0.6 * now[:, 3]), 2 * now[:, 3])
    return limited


def _deviance(windows: Windows, values: Tensor) -> Tensor:
    """(n,) Of all pixels that count."""
    return (windows.use * windows.noise.deviance(windows.photons, values)).sum(dim=(1, 2, 3))


def _result(
    psf: PSF, windows: Windows, parameters: Tensor, background: Tensor, unknowns: _Unknowns, converged: Tensor
) -> EmitterFits:
    values, derivatives = windows.model(psf, parameters, background)
    weights = windows.use / windows.noise.variance(values)
    information, _, _ = without_backgrounds(weights, derivatives, unknowns.background_known)
    information = information + torch.diag(unknowns.precision)
    covariance = torch.zeros_like(information)
    freed = torch.nonzero(~unknowns.held)[:, 0]
    if len(freed):
        inner = information[:, freed[:, None], freed]
        scale = torch.diagonal(inner, dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
        scaling = scale[:, :, None] * scale[:, None, :]
        covariance[:, freed[:, None], freed] = torch.linalg.pinv(inner * scaling, hermitian=True) * scaling
    squared = (windows.photons - values) ** 2
    levels = 0 if unknowns.background_known else windows.planes
    freedom = windows.use.sum(dim=(1, 2, 3)) - len(freed) - levels
    chi_square = (weights * squared).sum(dim=(1, 2, 3)) / freedom.clamp(min=1)
    left = (windows.use * (squared - windows.noise.variance(values))).sum(dim=(1, 2, 3))
    light = windows.use * (values - background[..., None, None])
    mean = light.sum(dim=(2, 3), keepdim=True) / windows.use.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    contrast = (windows.use * (light - mean) ** 2).sum(dim=(1, 2, 3))
    misfit = (left.clamp(min=0) / contrast.clamp(min=1e-12)).sqrt()
    place = parameters[:, :2] / psf.pixel_size_nm
    far = torch.tensor(windows.photons.shape[:1:-1], device=place.device) + _OUTSIDE_PX
    inside = torch.isfinite(parameters).all(dim=1) & (place > -_OUTSIDE_PX).all(dim=1) & (place < far).all(dim=1)
    drift = windows.drift_nm(parameters)
    converged = converged & inside
    return EmitterFits(parameters[:, :4], background, drift, covariance[:, :4, :4], misfit, chi_square, converged)
