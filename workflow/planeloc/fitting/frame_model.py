"""Forward model of all molecules of some frames: their images, and the normal equations of a step.

Unknown are x, y, z and photons of every molecule, the inter-camera drift of planes 1…, which all molecules of a frame
share (bundle adjustment; Triggs et al. 2000), and the background of every window on every plane. Where windows overlap,
the background is the mean of theirs, so that a pixel has one expectation, with the photons of all molecules around it.

The background is local since a median over time is wrong locally, and an error of one photon per pixel is as much as a
tenth of a molecule. With one background per frame and plane, z would be 5 % more precise (photons of the paper).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.conjugate_gradients import Neighbourhood
from planeloc.fitting.frame_table import FrameTable
from planeloc.fitting.goodness_of_fit import covariances_on_planes, deviance_over_expectation, leverage
from planeloc.fitting.limits import LEAST_DRIFT_SD_NM, WIDE_NM, WIDE_PHOTONS
from planeloc.fitting.normal_equations import PER_PLANE, Assembly, NormalEquations, Unknowns
from planeloc.fitting.windows import InitialMolecules, MoleculeWindows, window_side
from planeloc.psf import PSF


class Evaluation(NamedTuple):
    """The posterior at some values of the unknowns."""

    at: Unknowns
    equations: NormalEquations
    cost: Tensor  # (frames,) minus twice the logarithm of the posterior
    deviance: Tensor  # (n,) of every window

    def in_frames(self, chosen: Tensor, other: Evaluation) -> Evaluation:
        """Combine `chosen` frames (frames,) of this evaluation with the other frames of another."""
        frame = self.equations.frame
        return Evaluation(
            self.at.in_frames(chosen, other.at, frame),
            self.equations.in_frames(chosen, other.equations),
            torch.where(chosen, self.cost, other.cost),
            torch.where(chosen[frame], self.deviance, other.deviance),
        )


class FrameModel:
    """Images of molecules on all planes, their likelihood and priors.

    Attributes
    ----------
    windows : around every molecule.
    start : the unknowns before the fit.
    """

    def __init__(
        self,
        psf: PSF,
        noise: PixelNoise,
        images: Tensor,
        background: Tensor,
        molecules: InitialMolecules,
        drift_sd_nm: float | tuple[float, ...],
        ceiling: Tensor | None = None,
        usable: Tensor | None = None,
    ) -> None:
        """The parameters are those of `planeloc.fitting.multi_emitter.MultiEmitterFit`.

        `usable` (n,): molecules that are fitted; others, which must be out of sight, keep the values of the start.
        """
        self._psf, self._molecules, self._frames, planes = psf, molecules, len(images), images.shape[1]
        self._noise = noise.to(images)
        position, photons = molecules.position, molecules.photons[:, None]
        side = window_side(psf)
        self.windows = MoleculeWindows.cut(images, background, molecules.frame, molecules.mapped_px, side, ceiling)
        usable = torch.ones_like(molecules.frame, dtype=torch.bool) if usable is None else usable
        self.table = FrameTable.of(molecules.frame, self._frames, usable)
        self._pairs = self.windows.pairs(self.table)
        self._partner = self.windows.pixels_in_partner(self._pairs)
        near = Neighbourhood.of(self.table, self._pairs, 4 + planes, 2 * (planes - 1))
        self._assembly = Assembly(molecules, near, self._pairs)
        self._coupling: Tensor | None = None
        self._brightness = torch.tensor(psf.brightness).to(position)
        self._depths = torch.tensor(psf.plane_depths_nm).to(position)
        self._corner_nm = (molecules.mapped_px - self.windows.corner) * psf.pixel_size_nm
        no_excess = torch.zeros_like(molecules.mapped_px[..., 0])
        first = torch.cat((position, photons, no_excess), dim=1)
        self.start = Unknowns(first, first.new_zeros(self._frames, 2 * (planes - 1)))
        # The background is as uncertain as it is large. The wide priors of molecules only matter where no plane sees
        # them: they make the equations solvable.
        background_sd = (self.windows.background.mean(dim=2).clamp(min=0) + 1).double()
        wide = torch.full_like(position, WIDE_NM)
        drift_sd = torch.as_tensor(drift_sd_nm).to(position).expand(planes - 1).clamp(min=LEAST_DRIFT_SD_NM)
        self.prior_precision = Unknowns(
            torch.cat((wide, WIDE_PHOTONS * photons, background_sd), dim=1) ** -2,
            drift_sd.repeat_interleave(2) ** -2,
        )

    def evaluate(self, at: Unknowns, update_coupling: bool = True) -> Evaluation:
        """Evaluate the posterior; `update_coupling` False takes what pairs share from the last time."""
        windows, prior = self.windows, self.prior_precision
        unit, derivatives = self._unit_images(at)
        expected = self._expected(at, unit)
        weight = windows.use / self._noise.variance(expected[..., None])[..., 0]
        rows = torch.stack((*derivatives, unit, windows.share, windows.photons - expected), dim=2)
        weighted = rows[:, :, :PER_PLANE] * weight[:, :, None]
        products = (weighted @ rows.transpose(2, 3)).double()
        if update_coupling or self._coupling is None:
            self._coupling = self._couplings(weighted, rows)
        moved = Unknowns(at.molecules - self.start.molecules, at.drift)
        likelihood = self._assembly(self._factors(at), products, self._coupling)
        deviance = windows.use * self._noise.deviance(windows.photons[..., None], expected[..., None])[..., 0]
        own = (deviance * windows.share).sum(dim=(1, 2), dtype=torch.float64)
        cost = self.table.sums(own + (prior.molecules * moved.molecules.square()).sum(dim=1))
        cost = cost + (prior.drift * at.drift.square()).sum(dim=1)
        return Evaluation(at, likelihood.with_prior(prior, moved), cost, deviance.sum(dim=(1, 2), dtype=torch.float64))

    def expected(self, at: Unknowns) -> Tensor:
        """(n, planes, pixels) photons, of all molecules and the background."""
        return self._expected(at, self._unit_images(at)[0])

    def residuals(self, at: Unknowns) -> tuple[Tensor, Tensor]:
        """(n, planes, pixels) What the model leaves in every window, and the inverse variances."""
        expected = self.expected(at)
        return self.windows.photons - expected, self.windows.use / self._noise.variance(expected[..., None])[..., 0]

    def goodness_of_fit(self, now: Evaluation, expected_deviance: Tensor | None) -> Tensor:
        """(n,) Deviance around every molecule over its expectation; see `planeloc.fitting.goodness_of_fit`."""
        windows, (unit, derivatives) = self.windows, self._unit_images(now.at)
        expected = self._expected(now.at, unit)
        weight = windows.use / self._noise.variance(expected[..., None])[..., 0]
        turn = self._factors(now.at)[..., None] * self._assembly.turn
        covariance = turn.transpose(2, 3) @ covariances_on_planes(now.equations) @ turn
        taken = leverage(torch.stack((*derivatives, unit, windows.share), dim=2), covariance, weight)
        taken = windows.sum_overlaps(taken * windows.inside)
        photons = (now.at.molecules[:, 3, None] * self._brightness).to(unit)
        share = (photons[..., None] * unit).clamp(min=0) * weight * self._noise.slope[:, None]
        deviance = self._noise.deviance(windows.photons[..., None], expected[..., None])[..., 0]
        return deviance_over_expectation(deviance, expected, taken, share, expected_deviance)

    def _expected(self, at: Unknowns, unit: Tensor) -> Tensor:
        photons = (at.molecules[:, 3, None] * self._brightness).to(unit)
        own = photons[..., None] * unit + at.molecules[:, 4:, None].to(unit) * self.windows.share
        return self.windows.background + self.windows.sum_overlaps(own * self.windows.inside)

    def _unit_images(self, at: Unknowns) -> tuple[Tensor, list[Tensor]]:
        """Images (n, planes, pixels) of one photon on the plane, and derivatives by x, y and defocus there."""
        windows, position = self.windows, in_window_nm(self._molecules, at, self._corner_nm)
        defocus = self._depths - at.molecules[:, 2, None]
        shape = (windows.side, windows.side)
        unit, derivatives = self._psf.unit_derivatives(position.to(windows.use), defocus.to(windows.use), shape)
        return unit.flatten(2), [values.flatten(2) for values in derivatives]

    def _couplings(self, weighted: Tensor, rows: Tensor) -> Tensor:
        """(m, planes, 5, 5) information between the molecules of every pair."""
        pixel, there = self._partner
        partner = rows[self._pairs.second, :, :PER_PLANE]
        partner = partner.gather(3, pixel[:, :, None].expand(-1, -1, PER_PLANE, -1))
        return ((weighted[self._pairs.first] * there[:, :, None]) @ partner.transpose(2, 3)).double()

    def _factors(self, at: Unknowns) -> Tensor:
        """(n, planes, 5) factors of the derivatives of unit images."""
        photons = at.molecules[:, 3, None] * self._brightness
        brightness = self._brightness.expand_as(photons)
        return torch.stack((photons, photons, -photons, brightness, torch.ones_like(photons)), dim=2)  # defocus = d − z


def drift_on_planes(drift: Tensor) -> Tensor:
    """(frames, planes, 2) inter-camera drift (nm) along the axes of the reference camera; 0 on plane 0."""
    return torch.nn.functional.pad(drift.unflatten(1, (-1, 2)), (0, 0, 1, 0))


def in_window_nm(molecules: InitialMolecules, at: Unknowns, start_nm: Tensor) -> Tensor:
    """(n, planes, 2) position of molecules in their windows, where it was `start_nm` before the fit."""
    moved = (at.molecules[:, :2] - molecules.position[:, :2])[:, None] + drift_on_planes(at.drift)[molecules.frame]
    return start_nm + (molecules.axes @ moved[..., None])[..., 0]
