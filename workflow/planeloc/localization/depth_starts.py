"""Places to start the fit from where a camera does not see a molecule.

The network reads a plane without photons as "far from this plane", also where the plane's camera does not see the
molecule, and it puts a molecule whose image is cut by an edge inside. Depth and position that it finds there may be
wrong by more than the fit can walk. The fit's own pixels say which others are likely: with neighbours as fitted, and
photons and every plane's background free, the gain in the sum of squares is computed on a grid of depths and lateral
steps, with the closest Gaussian, as in the search for missed molecules. Where another depth gains about as much as the
best, or more than that of the fit, the fit is repeated from there, and the molecule keeps the one that explains its
window best.

With few planes two depths may explain it equally well, such as those above and below the only focal plane. Such a depth
cannot be told, nor one with a large standard deviation: its variance becomes infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.fitting.maximum import Residuals
from planeloc.fitting.multi_emitter import MoleculeFits, MultiEmitterFit
from planeloc.fitting.residual_search import gains
from planeloc.localization.context import LocalizationContext
from planeloc.localization.detections import Detections
from planeloc.transforms.coverage import Coverage

_NEAR_EDGE_PX = 1.0  # a camera that sees a molecule less far from its edge shows less than its whole image
_DEPTH_STEP_NM = 100.0
_STEPS_PX = (-1.0, -0.5, 0.0, 0.5, 1.0)  # along each axis
_STARTS = 2  # that the fit is repeated from, in each round
_ROUNDS = 2
_LEAST_GAIN, _GAIN_SHARE = 30.0, 0.1  # a gain that is less than the best by both is no likely start
_SAME_NM, _SAME_PX = 75.0, 0.6  # starts that are closer than this lead to the same fit
_OTHER_NM = 150.0  # depths that are farther apart than this are told apart, or not
_TOLD = 9.0  # twice the logarithm of the likelihood ratio of two depths: three standard deviations
_FEWEST_PLANES = 2  # that tell depths on both sides of a focus apart
_MOLECULES_AT_ONCE = 32

# From some starts, with the deviance that is typical of windows (`MultiEmitterFit.typical`).
Refit = Callable[[Detections, Tensor | None], tuple[MultiEmitterFit, MoleculeFits]]


class _Explored(NamedTuple):
    """A fit of some molecules."""

    number: Tensor  # (n,) of the molecules, ascending
    position: Tensor  # (n, 3)
    excess: Tensor  # (n,) of the squared residuals over those of the first fit; infinite where the fit failed


class _State(NamedTuple):
    """The best fits so far, of all molecules, and what was tried of those in some `rows`."""

    fits: MoleculeFits
    rows: Tensor  # (n,)
    excess: Tensor  # (n,) of the squared residuals of the best fits over those of the first
    tried: tuple[_Explored, ...]

    @classmethod
    def first(cls, fits: MoleculeFits, rows: Tensor) -> _State:
        """Before anything else was tried."""
        excess = torch.zeros_like(fits.photons[rows])
        first = _Explored(
            torch.arange(len(rows)).to(rows), fits.position[rows], excess.where(fits.fitted[rows], torch.inf)
        )
        return cls(fits, rows, excess, (first,))

    def known(self, position: Tensor, number: Tensor, reach_nm: float) -> Tensor:
        """(m,) Whether a start of some of the n molecules, by number, leads where another one has led."""
        known = torch.zeros(len(number), dtype=torch.bool, device=number.device)
        for other in self.tried:
            place = torch.searchsorted(other.number, number).clamp(max=len(other.number) - 1)
            away = (position - other.position[place]).abs()
            same = (away[:, 2] < _SAME_NM) & (away[:, :2] < reach_nm).all(dim=1)
            known |= (other.number[place] == number) & other.excess[place].isfinite() & same
        return known

    def after(
        self,
        problem: MultiEmitterFit,
        found: Detections,
        refit: Refit,
        number: Tensor,
        position: Tensor,
        photons: Tensor,
    ) -> _State:
        """The state after some of the n molecules, by number, were fitted from other starts, with all of their frames.

        The other molecules start from their best fits. `problem` adopts what is better.
        """
        own, fits = self.rows[number], self.fits
        start = found._replace(
            position=fits.position.index_copy(0, own, position), photons=fits.photons.index_copy(0, own, photons)
        )
        together = torch.nonzero(torch.isin(found.frame, found.frame[own]))[:, 0]
        other, refitted = refit(start.at(together), problem.typical)
        near = torch.nonzero(torch.isin(found.frame[self.rows], found.frame[own]))[:, 0]  # `number` and more
        rows, started = self.rows[near], torch.isin(near, number)
        place = torch.searchsorted(together, rows)
        excess, succeeded = self.excess[near] + other.excess_over(place, problem, rows), refitted.fitted[place]
        # What began at its best fit need not gain, but must not lose.
        limit = self.excess[near] + _TOLD * ~started
        better = torch.where(succeeded == fits.fitted[rows], excess < limit, succeeded)
        there, its_excess = refitted.position[place], excess.where(succeeded, torch.inf)
        explored = _Explored(number, there[started], its_excess[started])
        # All molecules of frames of which every start was better, of others only those that were.
        chosen = ~torch.isin(found.frame[together], found.frame[rows[~better]])
        chosen[place[better & started]] = True
        taken = chosen[place]
        problem.adopt(together[chosen], other, torch.nonzero(chosen)[:, 0])
        frames, left = (problem.frames_of(together[rows]) for rows in (chosen, ~chosen))
        partly = left[torch.isin(left, frames)]
        return _State(
            fits.replaced(together[chosen], refitted.at(chosen), frames, partly),
            self.rows,
            self.excess.index_copy(0, near[taken], excess[taken]),
            (*self.tried, explored),
        )

    def judged(self, few: Tensor, largest_sd_nm: float) -> MoleculeFits:
        """The fits, with an infinite variance of depths that cannot be told.

        That is so where another depth that was tried explains about as much, where the standard deviation is larger
        than `largest_sd_nm`, and where no fit succeeded. Of `few` (n,) molecules that only one plane shows, a depth
        whose fit failed may be the right one, too.
        """
        fits, rows = self.fits, self.rows
        z, like = fits.position[rows, 2], ~fits.fitted[rows] | (fits.covariance[rows, 2, 2] > largest_sd_nm**2)
        for order, other in enumerate(self.tried):
            apart = (other.position[:, 2] - z[other.number]).abs() > _OTHER_NM
            close = other.excess - self.excess[other.number] < _TOLD
            failed = other.excess.isinf() & few[other.number] & (order > 0)  # the first is no start that was likely
            like[other.number] |= apart & (close | failed)
        covariance = fits.covariance.clone()
        covariance[rows[like], 2, 2] = torch.inf
        return fits._replace(covariance=covariance)


class _Starts(NamedTuple):
    """Local maxima over depth of the gain of n molecules, the highest first."""

    position: Tensor  # (n, k, 3)
    photons: Tensor  # (n, k)
    likely: Tensor  # (n, k)


class DepthStarts:
    """Repeats the fit of molecules that some camera does not see."""

    def __init__(self, context: LocalizationContext) -> None:
        self._psf = context.psf
        self._coverage = Coverage(context.registration, context.field_px)
        low, high = context.record.scene.depth_range_nm
        self._largest_sd_nm = (high - low) / context.psf.planes / 2  # half the distance of the planes
        number = max(2, round((high - low) / _DEPTH_STEP_NM) + 1)
        depths = torch.linspace(low, high, number, dtype=torch.float64)
        lateral = torch.tensor(_STEPS_PX, dtype=torch.float64) * context.psf.pixel_size_nm
        self._steps = torch.cartesian_prod(depths, lateral, lateral)[:, [1, 2, 0]].to(context.device)
        self._depths, self._reach_nm = number, _SAME_PX * context.psf.pixel_size_nm

    def __call__(self, problem: MultiEmitterFit, fits: MoleculeFits, found: Detections, refit: Refit) -> MoleculeFits:
        """Return the likeliest fits; `problem` then has their residuals.

        Parameters
        ----------
        problem, fits : of `found`, whose frames ascend.
        refit : fits whole frames from other starts.
        """
        rows = torch.nonzero(self._partly_seen(found.position))[:, 0]
        if not len(rows):
            return fits
        state = _State.first(fits, rows)
        for number in range(_ROUNDS):
            left = torch.nonzero(~state.fits.fitted[rows])[:, 0] if number else torch.arange(len(rows)).to(rows)
            if not len(left):
                break
            starts = self._starts(problem.residuals(rows[left]), state.fits.at(rows[left]))
            for position, photons, likely in zip(*(values.unbind(1) for values in starts), strict=True):
                new = likely & ~state.known(position, left, self._reach_nm)
                if new.any():
                    state = state.after(problem, found, refit, left[new], position[new], photons[new])
        seen = self._coverage.seen(state.fits.position[rows, :2].cpu().numpy() / self._psf.pixel_size_nm)
        few = torch.from_numpy(seen.sum(axis=1) < _FEWEST_PLANES).to(rows.device)
        return state.judged(few, self._largest_sd_nm)

    def _partly_seen(self, position: Tensor) -> Tensor:
        """(n,) Whether some camera shows less than the whole image of molecules at (n, 3) nm, or nothing of it."""
        points = position[:, :2].cpu().numpy() / self._psf.pixel_size_nm
        return torch.from_numpy(self._coverage.inside_px(points).min(axis=1) < _NEAR_EDGE_PX).to(position.device)

    def _starts(self, residuals: Residuals, fits: MoleculeFits) -> _Starts:
        """Likely starts of some molecules."""
        alone = self._alone(residuals, fits)
        parts = torch.arange(len(alone.frame), device=alone.weight.device).split(_MOLECULES_AT_ONCE)
        found = [gains(self._psf, alone.at(part), self._steps) for part in parts]
        gain, photons = (torch.cat(values).unflatten(1, (self._depths, -1)) for values in zip(*found, strict=True))
        gain, step = gain.where(photons > 0, 0.0).max(dim=2)
        beyond = torch.nn.functional.pad(gain, (1, 1), value=-1.0)
        top = (gain > 0) & (gain >= beyond[:, :-2]) & (gain > beyond[:, 2:])
        height, depth = gain.where(top, 0.0).topk(_STARTS, dim=1)
        near = height[:, :1] - torch.clamp(_GAIN_SHARE * height[:, :1], min=_LEAST_GAIN)
        step = step.gather(1, depth)
        place = self._steps.unflatten(0, (self._depths, -1))[depth, step]
        place[..., :2] += alone.position[:, None, :2]
        photons = photons.flatten(1).gather(1, depth * photons.shape[2] + step)
        return _Starts(place, photons.double(), (height > 0) & (height >= near))

    def _alone(self, residuals: Residuals, fits: MoleculeFits) -> Residuals:
        """What windows show beside the neighbours: the residuals, with the molecule's own image."""
        like = residuals.residual
        focus, brightness = (torch.tensor(v).to(like) for v in (self._psf.plane_depths_nm, self._psf.brightness))
        side = round(like.shape[2] ** 0.5)
        own = self._psf.unit_images(
            residuals.in_window_nm.to(like), focus - residuals.position[:, 2:].to(like), (side, side)
        )
        photons = fits.photons.to(like)[:, None] * brightness
        return residuals._replace(residual=like + photons[..., None] * own.flatten(2))
