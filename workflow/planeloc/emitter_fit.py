"""Maximum-likelihood fits of emitters with a known point spread function, on all planes at once.

Position, depth and photons of one emitter per window, with an unknown background on every plane: Fisher scoring with
Levenberg's damping on the likelihood of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653). A bead on the
slices of a scan is the same problem: `PSF.as_scan` makes every slice a plane. Computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planeloc.optics import PSF
from planeloc.optics.information import PixelNoise, without_backgrounds

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
    covariance: Tensor  # (n, 4, 4); what was held fixed has none
    misfit: Tensor  # (n,) rms of what the model leaves beyond noise over the rms contrast of the model
    chi_square: Tensor  # (n,) per degree of freedom
    converged: Tensor  # (n,) bool

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
        """Expected photons, and derivatives by the four parameters."""
        x, y, z, photons = parameters.unbind(-1)
        values, derivatives = psf.expected_photons_and_derivatives(
            x, y, z, photons, self.photons.shape[2:], self._displacement(parameters), background
        )
        lateral = torch.einsum("nprca,pab->nprcb", derivatives[..., :2], self.axes)
        return values, torch.cat((lateral, derivatives[..., 2:]), dim=-1)

    def expected(self, psf: PSF, parameters: Tensor, background: Tensor) -> Tensor:
        x, y, z, photons = parameters.unbind(-1)
        shape = self.photons.shape[2:]
        return psf.expected_photons(x, y, z, photons, shape, self._displacement(parameters), background)

    def first_background(self, psf: PSF, start: Tensor) -> Tensor:
        """(n, planes) what the images hold beside a first guess of the emitters, on average."""
        rest = self.use * (self.photons - self.expected(psf, start, start.new_zeros(self.photons.shape[:2])))
        return rest.sum(dim=(2, 3)) / self.use.sum(dim=(2, 3)).clamp(min=1)

    def _displacement(self, parameters: Tensor) -> Tensor:
        """From (x, y) to the emitter's place on every plane."""
        lateral = parameters[:, None, :2]
        return (self.axes @ lateral[..., None])[..., 0] + self.shifts_nm - lateral


def fit_emitters(
    psf: PSF,
    windows: Windows,
    start: Tensor,
    *,
    free: tuple[bool, bool, bool, bool] = (True, True, True, True),
    iterations: int = 60,
) -> EmitterFits:
    """Fit one emitter to each window.

    Parameters
    ----------
    start : (n, 4) first guess of x, y, z (nm) and photons.
    free : which of them are fitted; the others keep their start.
    """
    count, planes, rows, columns = windows.photons.shape
    size = max(1, _BATCH_BYTES // (planes * rows * columns * 4 * 8))
    batches = [slice(first, first + size) for first in range(0, count, size)] or [slice(0, 0)]
    fits = [_fit(psf, windows.part(batch), start[batch].double(), free, iterations) for batch in batches]
    return EmitterFits(*(torch.cat([getattr(fit, name) for fit in fits]) for name in vars(fits[0])))


def _fit(psf: PSF, windows: Windows, start: Tensor, free: tuple[bool, ...], iterations: int) -> EmitterFits:
    """Every window has its own damping; windows leave the batch when they have converged."""
    parameters, background = start.clone(), windows.first_background(psf, start)
    held = torch.tensor([not f for f in free], device=start.device)
    converged = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    damping = torch.full_like(start[:, 0], 1e-3)
    active = torch.arange(len(start), device=start.device)
    for _ in range(iterations):
        if not len(active):
            break
        part, now, level = windows.part(active), parameters[active], background[active]
        values, derivatives = part.model(psf, now, level)
        step, background_step = _step(part, values, derivatives, held, damping[active])
        step = _limited(now, step, psf.pixel_size_nm)
        proposed, proposed_level = now + step, level + background_step
        better = _deviance(part, part.expected(psf, proposed, proposed_level)) <= _deviance(part, values) + 1e-9
        parameters[active] = torch.where(better[:, None], proposed, now)
        background[active] = torch.where(better[:, None], proposed_level, level)
        damping[active] = torch.where(better, damping[active] / 6, damping[active] * 10).clamp(min=1e-12)
        scale = torch.cat((torch.ones_like(now[:, :3]), now[:, 3:]), dim=1)
        # So near the optimum, whether a step is better is a matter of rounding.
        done = (step.abs() <= _CLOSE_ENOUGH * scale).all(dim=1) | (damping[active] > _HOPELESS)
        converged[active[done]] = True
        active = active[~done]
    return _result(psf, windows, parameters, background, held, converged)


def _step(
    windows: Windows, values: Tensor, derivatives: Tensor, held: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """Damped step of the parameters, and the one of the backgrounds that goes with it."""
    weights = windows.use / windows.noise.variance(values)
    information, cross, own = without_backgrounds(weights, derivatives)
    rest = weights * (windows.photons - values)
    gradient = (rest[..., None] * derivatives).sum(dim=(1, 2, 3))
    level_gradient = rest.sum(dim=(2, 3))
    reduced = gradient - (cross @ (level_gradient / own)[..., None])[..., 0]
    diagonal = torch.diagonal(information, dim1=1, dim2=2).clamp(min=1e-30)
    diagonal = torch.where(held, 1e300, diagonal)  # what is held never moves
    scale = diagonal.rsqrt()
    system = information * scale[:, :, None] * scale[:, None, :]
    system = system + torch.diag_embed(damping[:, None] + held * 1.0)
    step = torch.linalg.solve(system, reduced * scale) * scale
    return step, (level_gradient - (cross.transpose(1, 2) @ step[..., None])[..., 0]) / own


def _limited(now: Tensor, step: Tensor, pixel_size_nm: float) -> Tensor:
    """A step that neither jumps across the window nor turns the photons negative."""
    lateral = step[:, :2].clamp(-_LARGEST_STEP_PX * pixel_size_nm, _LARGEST_STEP_PX * pixel_size_nm)
    depth = step[:, 2:3].clamp(-_LARGEST_STEP_Z_NM, _LARGEST_STEP_Z_NM)
    photons = torch.minimum(torch.maximum(step[:, 3:], -0.6 * now[:, 3:]), 2 * now[:, 3:])
    return torch.cat((lateral, depth, photons), dim=1)


def _deviance(windows: Windows, values: Tensor) -> Tensor:
    """(n,) Of a Poisson variable shifted by the read variance (Huang et al. 2013)."""
    slope = windows.noise.slope[:, None, None]
    shift = windows.noise.read_variance[:, None, None] / slope
    expected = (values + shift).clamp(min=1e-6) / slope
    seen = (windows.photons + shift).clamp(min=0) / slope
    logarithm = torch.log(expected / torch.where(seen > 0, seen, expected))
    return 2 * (windows.use * (expected - seen - seen * logarithm)).sum(dim=(1, 2, 3))


def _result(
    psf: PSF, windows: Windows, parameters: Tensor, background: Tensor, held: Tensor, converged: Tensor
) -> EmitterFits:
    values, derivatives = windows.model(psf, parameters, background)
    weights = windows.use / windows.noise.variance(values)
    information, _, _ = without_backgrounds(weights, derivatives)
    covariance = torch.zeros_like(information)
    freed = torch.nonzero(~held)[:, 0]
    if len(freed):
        inner = information[:, freed[:, None], freed]
        scale = torch.diagonal(inner, dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
        scaling = scale[:, :, None] * scale[:, None, :]
        covariance[:, freed[:, None], freed] = torch.linalg.pinv(inner * scaling, hermitian=True) * scaling
    squared = (windows.photons - values) ** 2
    freedom = windows.use.sum(dim=(1, 2, 3)) - len(freed) - background.shape[1]
    chi_square = (weights * squared).sum(dim=(1, 2, 3)) / freedom.clamp(min=1)
    left = (windows.use * (squared - windows.noise.variance(values))).sum(dim=(1, 2, 3))
    light = windows.use * (values - background[..., None, None])
    mean = light.sum(dim=(2, 3), keepdim=True) / windows.use.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    contrast = (windows.use * (light - mean) ** 2).sum(dim=(1, 2, 3))
    misfit = (left.clamp(min=0) / contrast.clamp(min=1e-12)).sqrt()
    place = parameters[:, :2] / psf.pixel_size_nm
    far = torch.tensor(windows.photons.shape[:1:-1], device=place.device) + _OUTSIDE_PX
    inside = torch.isfinite(parameters).all(dim=1) & (place > -_OUTSIDE_PX).all(dim=1) & (place < far).all(dim=1)
    return EmitterFits(parameters, background, covariance, misfit, chi_square, converged & inside)
