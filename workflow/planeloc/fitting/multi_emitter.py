"""Multi-emitter fit: all molecules of a frame and its inter-camera drift at once, maximum a posteriori.

The likelihood is that of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653); the prior of the inter-camera
drift of planes 1… is normal about zero. `planeloc.fitting.frame_model` holds the model.

Fisher scoring with Levenberg's damping; a step that lowers the posterior of its frame is rejected. A molecule that
moves too far from its start is returned to it. If its frame is likelier then, it is held there; if it leaves even with
small steps, it is held where it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting import compiled_fit, limits
from planeloc.fitting.frame_model import FrameModel, drift_on_planes, in_window_nm
from planeloc.fitting.maximum import Maximum, Residuals
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.windows import InitialMolecules
from planeloc.psf import PSF

_EXCESS_DEVIANCE = 1.3  # of a window over the median of the windows that are fitted together
_OUT_OF_SIGHT_PX = -1e5
_BEYOND_ANY_FIELD = 1e9  # nm, pixels or photons


class MoleculeFits(NamedTuple):
    """Molecules after the fit."""

    position: Tensor  # (n, 3) nm in the reference camera's frame
    photons: Tensor  # (n,)
    excess: Tensor  # (n, planes) photons per pixel beyond the given background
    covariance: Tensor  # (n, 4, 4) of x, y, z and photons
    # (n,) bool: False, with the values of the start, for molecules that left it, are dark or explain too little
    fitted: Tensor
    suspect: Tensor  # (n,) bool: the window's residual is larger than others', as if a molecule had been missed
    drift_nm: Tensor  # (frames, planes, 2) inter-camera drift along the axes of the reference camera

    def at(self, rows: Tensor) -> MoleculeFits:
        """Return some of the molecules, with the inter-camera drift of all frames."""
        return MoleculeFits(*(values[rows] for values in self[:-1]), self.drift_nm)


class MultiEmitterFit:
    """Maximises the posterior of a `FrameModel`.

    Parameters
    ----------
    images : (frames, planes, rows, columns) photons above the background.
    background : (planes, rows, columns) photons.
    start : the molecules before the fit.
    drift_sd_nm : inter-camera drift of planes 1… along each axis, standard deviation of all or of each; 0: none.
    ceiling : (planes,) photons from which on a pixel is saturated and not used.
    compiled : whether compiled code may run the fit, where there is some for the model and the device.
    """

    def __init__(
        self,
        psf: PSF,
        noise: PixelNoise,
        images: Tensor,
        background: Tensor,
        start: InitialMolecules,
        drift_sd_nm: float | tuple[float, ...],
        ceiling: Tensor | None = None,
        compiled: bool = True,
    ) -> None:
        self._given, self._usable, self._pixel_nm = start, _usable(start), psf.pixel_size_nm
        self._start = _out_of_sight(start, ~self._usable)
        self._problem = psf, noise, images, background, self._start, drift_sd_nm, ceiling
        self._compiled = compiled and compiled_fit.is_available(psf, images.device)
        self._found: Maximum | None = None

    def fit(self, iterations: int = 6) -> MoleculeFits:
        """Iterate until nearly all steps are small."""
        self._found = (
            compiled_fit.fit_frames(*self._problem, iterations) if self._compiled else self._maximise(iterations)
        )
        return self._result(self._found)

    def residuals(self, rows: Tensor) -> Residuals:
        """What the last fit leaves in some windows."""
        found, start = self._found, self._start
        place = in_window_nm(start, found.at, found.corner, self._pixel_nm)
        position = found.at.molecules[:, :3]
        return Residuals(start.frame, position, place, start.axes, found.residual, found.weight).at(rows)

    def _maximise(self, iterations: int) -> Maximum:
        """The fit in PyTorch."""
        model, frame = FrameModel(*self._problem), self._start.frame
        now = model.evaluate(model.start)
        held = torch.zeros_like(now.at.molecules, dtype=torch.bool)
        damping = torch.full_like(now.deviance, limits.FIRST_DAMPING)
        going = torch.ones_like(now.cost, dtype=torch.bool)  # frames that have not converged
        for number in range(iterations):
            step = now.equations.damped(torch.where(held, limits.HOLD, damping[:, None])).solve()
            proposed, finite = self._after(now.at, step)
            away = ~held[:, 0] & self._away(proposed.molecules)
            proposed.molecules[away, :3] = model.start.molecules[away, :3]
            then = model.evaluate(proposed, number < limits.COUPLING_STEPS)
            better = going & finite & (then.cost <= now.cost + 1e-6 * now.cost.abs())
            held[going[frame] & away & (better[frame] | (damping > limits.HOLD_DAMPING)), :3] = True
            damping = torch.where(then.deviance > now.deviance, damping * 10, damping / 5)
            damping = torch.where(better[frame], damping, damping * 4).clamp(1e-9, 1e6)
            large = (now.equations.gradient.molecules * step.molecules).sum(dim=1) > limits.SMALL_STEP
            share = now.equations.sum_in_frames(large.double() - limits.UNFINISHED)
            now = then.in_frames(better, now)
            going = going & ~(better & (share <= 0))
            if not going.any():
                break
        residual, weight = model.residuals(now.at)
        return Maximum(
            now.at,
            now.cost,
            held[:, 0],
            now.deviance,
            model.windows.use.sum(dim=(1, 2)),
            now.equations.covariance(),
            model.windows.corner,
            residual,
            weight,
        )

    def _after(self, now: Unknowns, step: Unknowns) -> tuple[Unknowns, Tensor]:
        """The unknowns after a step, and the frames whose steps are finite; the others' unknowns stay."""
        frame = self._start.frame
        broken = torch.zeros(len(now.drift), device=frame.device)
        broken.index_add_(0, frame, (~step.molecules.isfinite().all(dim=1)).float())
        finite = (broken == 0) & step.drift.isfinite().all(dim=1)
        moved = Unknowns(self._limited(now.molecules, step.molecules), now.drift + step.drift)
        return moved.in_frames(finite, now, frame), finite

    def _limited(self, now: Tensor, step: Tensor) -> Tensor:
        """(n, …) After a step that neither jumps across the window nor turns the photons negative."""
        reach = limits.LARGEST_STEP_PX * self._pixel_nm
        limited = step.clone()
        limited[:, :2] = step[:, :2].clamp(-reach, reach)
        limited[:, 2] = step[:, 2].clamp(-limits.LARGEST_STEP_Z_NM, limits.LARGEST_STEP_Z_NM)
        limited[:, 3] = torch.minimum(torch.maximum(step[:, 3], -0.8 * now[:, 3]), 4 * now[:, 3])
        return now + limited

    def _away(self, molecules: Tensor) -> Tensor:
        """(n,) Whether molecules are too far from their start, or too dim."""
        moved = (molecules[:, :3] - self._start.position).abs()
        far = (moved[:, :2] > limits.FARTHEST_PX * self._pixel_nm).any(dim=1) | (moved[:, 2] > limits.FARTHEST_Z_NM)
        return far | (molecules[:, 3] < limits.LEAST_PHOTONS * self._start.photons)

    def _result(self, found: Maximum) -> MoleculeFits:
        """A window with a larger residual than others has a molecule too few."""
        molecules = found.at.molecules
        freedom = found.used_pixels - molecules.shape[1]
        seen = freedom > 0
        reduced = found.deviance / freedom.clamp(min=1)
        explained = reduced <= _EXCESS_DEVIANCE * reduced[seen].median() if seen.any() else seen
        covariance = found.covariance[:, :4, :4] * reduced.clamp(min=1)[:, None, None]
        variance = torch.diagonal(covariance, dim1=1, dim2=2)
        known = (variance > 0).all(dim=1) & covariance.isfinite().flatten(1).all(dim=1)
        fitted = self._usable & seen & ~found.held & explained & known
        return MoleculeFits(
            torch.where(fitted[:, None], molecules[:, :3], self._given.position),
            torch.where(fitted, molecules[:, 3], self._given.photons),
            molecules[:, 4:],
            covariance,
            fitted,
            seen & ~explained,
            drift_on_planes(found.at.drift),
        )


def _usable(start: InitialMolecules) -> Tensor:
    """(n,) Molecules whose numbers are finite and not beyond any field, and whose photons are positive."""
    numbers = (start.position, start.mapped_px, start.axes)
    near = [(values.abs() < _BEYOND_ANY_FIELD).flatten(1).all(dim=1) for values in numbers]  # false for NaN
    return torch.stack(near).all(dim=0) & (start.photons > 0) & (start.photons < _BEYOND_ANY_FIELD)


def _out_of_sight(start: InitialMolecules, rows: Tensor) -> InitialMolecules:
    """Put some molecules (n,) where no camera looks, so that they change nothing."""
    return InitialMolecules(
        start.frame,
        start.position.masked_fill(rows[:, None], 0.0),
        start.photons.masked_fill(rows, 1.0),
        start.mapped_px.masked_fill(rows[:, None, None], _OUT_OF_SIGHT_PX),
        start.axes.masked_fill(rows[:, None, None, None], 0.0),
    )
