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
from planeloc.core.devices import in_large_groups
from planeloc.fitting.frame_model import Evaluation, FrameModel, Residuals
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.windows import InitialMolecules
from planeloc.psf import PSF

_FIRST_DAMPING, _HOLD = 1e-3, 1e12
_LARGEST_STEP_PX, _LARGEST_STEP_Z_NM = 0.5, 150.0
_FARTHEST_PX, _FARTHEST_Z_NM = 1.0, 300.0  # from the start
_HOLD_DAMPING = 0.01  # a molecule that leaves its start despite more damping is held, even if its frame is less likely
_COUPLING_STEPS = 2  # after which the coupling of pairs is kept: it hardly changes any more
_LEAST_PHOTONS = 0.05  # of those at the start
_EXCESS_DEVIANCE = 1.3  # of a window over the median of the windows that are fitted together
_SMALL_STEP = 0.05  # squared length, in standard deviations, after which the next step would be much shorter
_UNFINISHED = 0.02  # fraction of the molecules whose steps need not have become small
_OUT_OF_SIGHT_PX = -1e5


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
        """Return some of the molecules, with the drift of all frames."""
        return MoleculeFits(*(values[rows] for values in self[:-1]), self.drift_nm)


class FitState(NamedTuple):
    """What one iteration leaves to the next."""

    now: Evaluation
    held: Tensor  # (n, p) unknowns that no longer change
    damping: Tensor  # (n,)
    moving: Tensor  # (frames,) whether a frame still changes


class MultiEmitterFit:
    """Maximises the posterior of a `FrameModel`.

    Parameters
    ----------
    images : (frames, planes, rows, columns) photons above the background.
    background : (planes, rows, columns) photons, or (frames, planes, rows, columns).
    start : the molecules before the fit.
    drift_sd_nm : inter-camera drift of planes 1… along each axis, standard deviation of all or of each; 0: none.
    ceiling : (planes,) photons from which on a pixel is saturated and not used.
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
    ) -> None:
        self._given, self._usable, self._pixel_nm = start, _usable(start), psf.pixel_size_nm
        self._start = _out_of_sight(start, ~self._usable)
        self._model = FrameModel(psf, noise, images, background, self._start, drift_sd_nm, ceiling, self._usable)
        self._last = self._model.start
        self._large_group = in_large_groups(images.device)

    def fit(self, iterations: int = 6) -> MoleculeFits:
        """Iterate until nearly all steps are small; in large groups, until all steps of a frame are."""
        state = self.first_state()
        for number in range(iterations):
            state, small = self.iterate(state, number < _COUPLING_STEPS)
            if not self._large_group and bool(small):
                break
        self._last = state.now.at
        return self._result(state.now, state.held[:, 0])

    def first_state(self) -> FitState:
        """The state before the first iteration."""
        now = self._model.evaluate(self._model.start)
        moving = torch.ones_like(now.cost, dtype=torch.bool)
        held = torch.zeros_like(now.at.molecules, dtype=torch.bool)
        return FitState(now, held, torch.full_like(now.deviance, _FIRST_DAMPING), moving)

    def iterate(self, state: FitState, update_coupling: bool) -> tuple[FitState, Tensor]:
        """One step of all frames that still move, and whether nearly all steps were small.

        No shape depends on a value and no value is looked at, so that a GPU's work can be queued, captured or compiled.
        """
        model, frame, (now, held, damping, moving) = self._model, self._start.frame, state
        step = now.equations.damped(torch.where(held, _HOLD, damping[:, None])).solve()
        proposed, finite = self._after(now.at, step)
        away = ~held[:, 0] & self._away(proposed.molecules)
        returned = torch.where(away[:, None], model.start.molecules[:, :3], proposed.molecules[:, :3])
        proposed = Unknowns(torch.cat((returned, proposed.molecules[:, 3:]), dim=1), proposed.drift)
        then = model.evaluate(proposed, update_coupling)
        better = finite & (then.cost <= now.cost + 1e-6 * now.cost.abs()) & moving
        of_better = better[frame]
        stays = away & moving[frame] & (of_better | (damping > _HOLD_DAMPING))
        held = torch.cat(((held[:, 0] | stays)[:, None].expand(-1, 3), held[:, 3:]), dim=1)
        damping = torch.where(then.deviance > now.deviance, damping * 10, damping / 5)
        damping = torch.where(of_better, damping, damping * 4).clamp(1e-9, 1e6)
        large = (now.equations.gradient.molecules * step.molecules).sum(dim=1) > _SMALL_STEP
        now = then.in_frames(better, now)
        small = better.all() & (large.sum() <= _UNFINISHED * len(large))
        if self._large_group:
            moving = moving & ~(better & (model.table.sums(large.double()) == 0))
        return FitState(now, held, damping, moving), small

    def residuals(self, rows: Tensor) -> Residuals:
        """What the last fit leaves in some windows."""
        return self._model.residuals(self._last, rows)

    def _after(self, now: Unknowns, step: Unknowns) -> tuple[Unknowns, Tensor]:
        """The unknowns after a step, and the frames whose steps are finite; the others' unknowns stay."""
        broken = self._model.table.sums(step.molecules.sum(dim=1)) + step.drift.sum(dim=1)
        finite = broken.isfinite()
        moved = Unknowns(self._limited(now.molecules, step.molecules), now.drift + step.drift)
        return moved.in_frames(finite, now, self._start.frame), finite

    def _limited(self, now: Tensor, step: Tensor) -> Tensor:
        """(n, …) After a step that neither jumps across the window nor turns the photons negative."""
        reach = _LARGEST_STEP_PX * self._pixel_nm
        lateral, axial = step[:, :2].clamp(-reach, reach), step[:, 2:3].clamp(-_LARGEST_STEP_Z_NM, _LARGEST_STEP_Z_NM)
        photons = torch.minimum(torch.maximum(step[:, 3:4], -0.8 * now[:, 3:4]), 4 * now[:, 3:4])
        return now + torch.cat((lateral, axial, photons, step[:, 4:]), dim=1)

    def _away(self, molecules: Tensor) -> Tensor:
        """(n,) Whether molecules are too far from their start, or too dim."""
        moved = (molecules[:, :3] - self._start.position).abs()
        far = (moved[:, :2] > _FARTHEST_PX * self._pixel_nm).any(dim=1) | (moved[:, 2] > _FARTHEST_Z_NM)
        return far | (molecules[:, 3] < _LEAST_PHOTONS * self._start.photons)

    def _result(self, last: Evaluation, held: Tensor) -> MoleculeFits:
        """A window with a larger residual than others has a molecule too few."""
        molecules = last.at.molecules
        freedom = self._model.windows.use.sum(dim=(1, 2)) - molecules.shape[1]
        seen = freedom > 0
        reduced = last.deviance / freedom.clamp(min=1)
        explained = reduced <= _EXCESS_DEVIANCE * reduced[seen].median() if seen.any() else seen
        covariance = last.equations.covariance()[:, :4, :4] * reduced.clamp(min=1)[:, None, None]
        variance = torch.diagonal(covariance, dim1=1, dim2=2)
        known = (variance > 0).all(dim=1) & covariance.isfinite().flatten(1).all(dim=1)
        fitted = self._usable & seen & ~held & explained & known
        return MoleculeFits(
            torch.where(fitted[:, None], molecules[:, :3], self._given.position),
            torch.where(fitted, molecules[:, 3], self._given.photons),
            molecules[:, 4:],
            covariance,
            fitted,
            seen & ~explained,
            self._model.drift_nm(last.at),
        )


def _usable(start: InitialMolecules) -> Tensor:
    """(n,) Molecules whose numbers are finite and whose photons are positive."""
    finite = [values.isfinite().flatten(1).all(dim=1) for values in (start.position, start.mapped_px, start.axes)]
    return torch.stack(finite).all(dim=0) & start.photons.isfinite() & (start.photons > 0)


def _out_of_sight(start: InitialMolecules, rows: Tensor) -> InitialMolecules:
    """Put some molecules (n,) where no camera looks, so that they change nothing."""
    return InitialMolecules(
        start.frame,
        start.position.masked_fill(rows[:, None], 0.0),
        start.photons.masked_fill(rows, 1.0),
        start.mapped_px.masked_fill(rows[:, None, None], _OUT_OF_SIGHT_PX),
        start.axes.masked_fill(rows[:, None, None, None], 0.0),
    )
