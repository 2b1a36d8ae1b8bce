"""The multi-emitter fit in PyTorch, for GPUs and as the reference of the compiled one.

On a GPU frames are fitted in large groups: no shape depends on a value, nothing is waited for inside an iteration, and
the number of iterations is fixed, so that an iteration can be queued, captured or compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.core.devices import in_large_groups
from planeloc.fitting import limits
from planeloc.fitting.frame_model import Evaluation, FrameModel
from planeloc.fitting.maximum import Maximum
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.windows import InitialMolecules
from planeloc.psf import PSF


class FitState(NamedTuple):
    """What one iteration leaves to the next."""

    now: Evaluation
    held: Tensor  # (n, p) unknowns that no longer change
    damping: Tensor  # (n,)
    moving: Tensor  # (frames,) whether a frame still changes


class TensorFit:
    """Maximises the posterior of a `FrameModel`; the parameters are those of the model, and the expected deviance."""

    def __init__(
        self,
        psf: PSF,
        noise: PixelNoise,
        images: Tensor,
        background: Tensor,
        start: InitialMolecules,
        drift_sd_nm: float | tuple[float, ...],
        ceiling: Tensor | None,
        expected_deviance: Tensor | None,
        usable: Tensor,
    ) -> None:
        self._start, self._pixel_nm, self._expected_deviance = start, psf.pixel_size_nm, expected_deviance
        self._model = FrameModel(psf, noise, images, background, start, drift_sd_nm, ceiling, usable)
        self._large_group = in_large_groups(images.device)

    def fit(self, iterations: int) -> Maximum:
        """Iterate until nearly all steps of every frame are small."""
        state = self.first_state()
        for number in range(iterations):
            state = self.iterate(state, number < limits.COUPLING_STEPS)
            if not self._large_group and not state.moving.any():
                break
        now, windows = state.now, self._model.windows
        return Maximum(
            now.at,
            now.cost,
            state.held[:, 0],
            now.deviance,
            windows.use.sum(dim=(1, 2)),
            self._model.goodness_of_fit(now, self._expected_deviance),
            *now.equations.covariance(),
            *now.equations.about_drift(),
            windows.corner,
            *self._model.residuals(now.at),
        )

    def first_state(self) -> FitState:
        """The state before the first iteration."""
        now = self._model.evaluate(self._model.start)
        moving = torch.ones_like(now.cost, dtype=torch.bool)
        held = torch.zeros_like(now.at.molecules, dtype=torch.bool)
        return FitState(now, held, torch.full_like(now.deviance, limits.FIRST_DAMPING), moving)

    def iterate(self, state: FitState, update_coupling: bool) -> FitState:
        """One step of all frames that still move: until nearly all steps of a frame were small.

        No shape depends on a value and no value is looked at, so that a GPU's work can be queued, captured or compiled.
        """
        model, frame, (now, held, damping, moving) = self._model, self._start.frame, state
        step = now.equations.damped(torch.where(held, limits.HOLD, damping[:, None])).solve()
        proposed, finite = self._after(now.at, step)
        away = ~held[:, 0] & self._away(proposed.molecules)
        returned = torch.where(away[:, None], model.start.molecules[:, :3], proposed.molecules[:, :3])
        proposed = Unknowns(torch.cat((returned, proposed.molecules[:, 3:]), dim=1), proposed.drift)
        then = model.evaluate(proposed, update_coupling)
        better = finite & (then.cost <= now.cost + limits.COST_TOLERANCE * now.cost.abs()) & moving
        of_better = better[frame]
        stays = away & moving[frame] & (of_better | (damping > limits.HOLD_DAMPING))
        held = torch.cat(((held[:, 0] | stays)[:, None].expand(-1, 3), held[:, 3:]), dim=1)
        raised, lowered = damping * limits.DAMPING_INCREASE, damping / limits.DAMPING_DECREASE
        raised = torch.where(of_better, raised, raised.clamp(min=limits.DAMPING_OF_REJECTED))
        lowered = torch.where(of_better, lowered, damping)
        damping = torch.where(then.deviance > now.deviance, raised, lowered)
        damping = damping.clamp(limits.LEAST_DAMPING, limits.LARGEST_DAMPING)
        large = (now.equations.gradient.molecules * step.molecules).sum(dim=1) > limits.SMALL_STEP
        now = then.in_frames(better, now)
        unfinished = model.table.sums(large.double() - limits.UNFINISHED)
        return FitState(now, held, damping, moving & ~(better & (unfinished <= 0)))

    def _after(self, now: Unknowns, step: Unknowns) -> tuple[Unknowns, Tensor]:
        """The unknowns after a step, and the frames whose steps are finite; the others' unknowns stay."""
        broken = self._model.table.sums(step.molecules.sum(dim=1)) + step.drift.sum(dim=1)
        finite = broken.isfinite()
        moved = Unknowns(self._limited(now.molecules, step.molecules), now.drift + step.drift)
        return moved.in_frames(finite, now, self._start.frame), finite

    def _limited(self, now: Tensor, step: Tensor) -> Tensor:
        """(n, …) After a step that neither jumps across the window nor turns the photons negative."""
        reach = limits.LARGEST_STEP_PX * self._pixel_nm
        lateral, axial = (
            step[:, :2].clamp(-reach, reach),
            step[:, 2:3].clamp(-limits.LARGEST_STEP_Z_NM, limits.LARGEST_STEP_Z_NM),
        )
        photons = torch.maximum(step[:, 3:4], -limits.LARGEST_LOSS * now[:, 3:4])
        photons = torch.minimum(photons, limits.LARGEST_GAIN * now[:, 3:4])
        return now + torch.cat((lateral, axial, photons, step[:, 4:]), dim=1)

    def _away(self, molecules: Tensor) -> Tensor:
        """(n,) Whether molecules are too far from their start, or too dim."""
        moved = (molecules[:, :3] - self._start.position).abs()
        far = (moved[:, :2] > limits.FARTHEST_PX * self._pixel_nm).any(dim=1) | (moved[:, 2] > limits.FARTHEST_Z_NM)
        return far | (molecules[:, 3] < limits.LEAST_PHOTONS * self._start.photons)
