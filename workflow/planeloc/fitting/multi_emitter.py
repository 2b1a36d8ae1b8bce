"""All molecules of frames fitted at once, together with the planes' drift: the most probable values given the images.

The likelihood is that of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653); the drift of planes 1… is
normal about zero, and all molecules of a frame share it (bundle adjustment; Triggs et al. 2000). Unknown are x, y, z
and photons of every molecule and, on every plane, the background under it: one per window, since what a median over
time leaves wrong is local, and an error of one photon per pixel is as much as a tenth of a molecule. With one per frame
and plane z would be 5 % surer (light of the paper). Where windows overlap, the background is the mean of theirs, so
that a pixel has one expectation, with the light of all molecules around it.

Fisher scoring with Levenberg's damping; a step that does not raise the posterior of its frame is not taken. A molecule
whose step leads too far away is put back to its start. If its frame is likelier so, it is held there; if not even small
steps keep it, it is held where it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.normal_equations import System, Vector
from planeloc.fitting.windows import Views, find_pairs, look, pixel_of_partner, window_side
from planeloc.psf import PSF

_FIRST_DAMPING, _HOLD = 1e-3, 1e12
_LARGEST_STEP_PX, _LARGEST_STEP_Z_NM = 0.5, 150.0
_FARTHEST_PX, _FARTHEST_Z_NM = 1.0, 300.0  # from the start
_STUBBORN = 0.01  # damping of a molecule that wants to leave its place although its frame is no likelier then
_PAIRS_STEPS = 2  # in which what pairs have in common is worked out anew; later it hardly changes
_WIDEST_NM, _WIDEST_LIGHT = 1e4, 100.0  # prior about the start; light relative to it
_LEAST_LIGHT = 0.05  # of the photons at the start
_LEAST_DRIFT_SD_NM = 1e-3
_MORE_LEFT = 1.3  # deviance of a window over the median of the windows that are fitted together
_NEAR = 0.05  # squared length of a step, in standard deviations, after which the next would be much shorter
_MAY_BE_FAR = 0.02  # share of the molecules that need not have come as near
_OUT_OF_SIGHT_PX = -1e5
_LOCAL = 5  # numbers of a molecule on a plane: x, y, defocus, light, background


class Start(NamedTuple):
    """Molecules as they are thought to be before the fit."""

    frame: Tensor  # (n,) ascending
    position: Tensor  # (n, 3) nm on the reference
    photons: Tensor  # (n,) of all planes
    mapped_px: Tensor  # (n, planes, 2): where each camera sees them
    axes: Tensor  # (n, planes, 2, 2): derivative of that place by the place on the reference


class Fit(NamedTuple):
    """The same molecules after the fit."""

    position: Tensor  # (n, 3)
    photons: Tensor  # (n,)
    excess: Tensor  # (n, planes) photons per pixel beyond the background that was given
    covariance: Tensor  # (n, 4, 4) of x, y, z and photons
    fitted: Tensor  # (n,) bool: false where a molecule left its place, has no light or explains too little of its
    # window; it then stays where it was
    suspect: Tensor  # (n,) bool: more is left in the window than in others, as of a molecule that was missed
    drift_nm: Tensor  # (frames, planes, 2) along the axes of the reference

    def at(self, rows: Tensor) -> Fit:
        """Those of the molecules that are named, with the drift of all frames."""
        return Fit(*(values[rows] for values in self[:-1]), self.drift_nm)


class Leftover(NamedTuple):
    """What a fit leaves in windows."""

    frame: Tensor  # (n,)
    position: Tensor  # (n, 3) nm of the molecule on the reference
    place: Tensor  # (n, planes, 2) nm of the molecule in its window
    axes: Tensor  # (n, planes, 2, 2)
    residual: Tensor  # (n, planes, pixels) photons
    weight: Tensor  # (n, planes, pixels) inverse variance; 0 where a pixel does not count

    def at(self, rows: Tensor) -> Leftover:
        return Leftover(*(values[rows] for values in self))


def fit_frames(
    psf: PSF,
    noise: PixelNoise,
    images: Tensor,
    level: Tensor,
    start: Start,
    drift_sd_nm: float | tuple[float, ...],
    *,
    ceiling: Tensor | None = None,
    iterations: int = 6,
) -> Fit:
    """Fit molecules to frames.

    Parameters
    ----------
    images : (frames, planes, rows, columns), photons above the background `level` (planes, rows, columns).
    drift_sd_nm : of planes 1… along each axis, one of all or one of each; 0: they do not drift.
    ceiling : (planes,) photons from which on a pixel is saturated and does not count.
    """
    problem = FrameFit(psf, noise, images, level, start, drift_sd_nm, ceiling)
    return problem.fit(iterations)


class FrameFit:
    """The posterior of molecules and drift, and its maximum."""

    def __init__(
        self,
        psf: PSF,
        noise: PixelNoise,
        images: Tensor,
        level: Tensor,
        start: Start,
        drift_sd_nm: float | tuple[float, ...],
        ceiling: Tensor | None = None,
    ) -> None:
        self._psf, self._given, self._frames, self._planes = psf, start, len(images), images.shape[1]
        self._usable = _usable(start)
        self._start = start = _out_of_sight(start, ~self._usable)
        self.noise = noise.to(images)
        self.views: Views = look(images, level, start.frame, start.mapped_px, window_side(psf), ceiling)
        self.pairs = find_pairs(start.frame, self.views)
        self._partner = pixel_of_partner(self.views, self.pairs)
        self._known_between: Tensor | None = None
        self._brightness = torch.tensor(psf.brightness).to(start.position)
        no_excess = torch.zeros_like(start.mapped_px[..., 0])
        self._first = torch.cat((start.position, start.photons[:, None], no_excess), dim=1)
        drift_sd = torch.as_tensor(drift_sd_nm).to(start.position).expand(self._planes - 1)
        self._drift_precision = drift_sd.clamp(min=_LEAST_DRIFT_SD_NM).repeat_interleave(2) ** -2
        # The background is as uncertain as it is large; of molecules something is known so that equations have a
        # solution also where no plane sees them. Where there is light to fit, neither counts.
        spread = (self.views.level.mean(dim=2).clamp(min=0) + 1).double()
        place = torch.full_like(start.position, _WIDEST_NM)
        self._precision = torch.cat((place, _WIDEST_LIGHT * start.photons[:, None], spread), dim=1) ** -2

    @property
    def first(self) -> Vector:
        """Where the fit starts."""
        return Vector(self._first, self._first.new_zeros(self._frames, 2 * (self._planes - 1)))

    def fit(self, iterations: int) -> Fit:
        now = self.first
        frame = self._start.frame
        held = torch.zeros_like(now.molecules, dtype=torch.bool)
        damping = torch.full_like(now.molecules[:, 0], _FIRST_DAMPING)
        system, cost, of_windows = self.equations(now)
        for number in range(iterations):
            step = system.damped(torch.where(held, _HOLD, damping[:, None])).solve()
            sound = self._none_in_frame(~step.molecules.isfinite().all(dim=1)) & step.drift.isfinite().all(dim=1)
            molecules = self._limited(now.molecules, step.molecules)
            proposed = Vector(
                torch.where(sound[frame][:, None], molecules, now.molecules),
                torch.where(sound[:, None], now.drift + step.drift, now.drift),
            )
            away = ~held[:, 0] & self._away(proposed.molecules)
            proposed.molecules[away, :3] = self._first[away, :3]
            next_system, next_cost, next_of_windows = self.equations(proposed, number < _PAIRS_STEPS)
            better = sound & (next_cost <= cost + 1e-6 * cost.abs())
            held[away & (better[frame] | (damping > _STUBBORN)), :3] = True
            damping = torch.where(next_of_windows > of_windows, damping * 10, damping / 5)
            damping = torch.where(better[frame], damping, damping * 4).clamp(1e-9, 1e6)
            far = (system.gradient.molecules * step.molecules).sum(dim=1) > _NEAR
            molecules = torch.where(better[frame][:, None], proposed.molecules, now.molecules)
            now = Vector(molecules, torch.where(better[:, None], proposed.drift, now.drift))
            system = next_system.in_frames(better, system)
            cost = torch.where(better, next_cost, cost)
            of_windows = torch.where(better[frame], next_of_windows, of_windows)
            if better.all() and far.sum() <= _MAY_BE_FAR * len(far):
                break
        self._last = now
        return self._result(now, system, held[:, 0], of_windows)

    def leftover(self, rows: Tensor) -> Leftover:
        """What the last fit leaves in some windows."""
        at, views = self._last, self.views
        unit, _ = self._unit_images(at)
        expected = self._expected(at, unit)
        weight = views.use / self.noise.variance(expected[..., None])[..., 0]
        position, place, axes = at.molecules[:, :3], self._place(at), self._start.axes
        return Leftover(self._start.frame, position, place, axes, views.photons - expected, weight).at(rows)

    def equations(self, at: Vector, pairs_anew: bool = True) -> tuple[System, Tensor, Tensor]:
        """The normal equations, minus twice the logarithm of the posterior of every frame, and each window's part.

        `pairs_anew`: false takes what pairs have in common from the last time that it was worked out.
        """
        views = self.views
        unit, by_place = self._unit_images(at)
        expected = self._expected(at, unit)
        weight = views.use / self.noise.variance(expected[..., None])[..., 0]
        rows = torch.stack((*by_place, unit, views.share, views.photons - expected), dim=2)
        weighted = rows[:, :, :_LOCAL] * weight[:, :, None]
        products = (weighted @ rows.transpose(2, 3)).double()
        if pairs_anew or self._known_between is None:
            self._known_between = self._between(weighted, rows)
        deviance = views.use * self.noise.deviance(views.photons[..., None], expected[..., None])[..., 0]
        of_windows = deviance.sum(dim=(1, 2), dtype=torch.float64)
        prior = (self._precision * self._moved(at).square()).sum(dim=1)
        shared = (deviance * views.share).sum(dim=(1, 2), dtype=torch.float64)
        cost = (self._drift_precision * at.drift.square()).sum(dim=1)
        cost = cost.index_add(0, self._start.frame, shared + prior)
        return self._assembled(at, products, self._known_between), cost, of_windows

    def _expected(self, at: Vector, unit: Tensor) -> Tensor:
        """(n, planes, pixels) photons, of all molecules and the background."""
        light = (at.molecules[:, 3, None] * self._brightness).to(unit)
        own = light[..., None] * unit + at.molecules[:, 4:, None].to(unit) * self.views.share
        return self.views.level + self.views.sum_of_overlaps(own * self.views.inside)

    def _moved(self, at: Vector) -> Tensor:
        """(n, 4 + planes) from the start; the background from what was given."""
        return at.molecules - self._first

    def _unit_images(self, at: Vector) -> tuple[Tensor, list[Tensor]]:
        """Shares of a plane's light (n, planes, pixels), and their derivatives by x, y and defocus on the plane."""
        views, place = self.views, self._place(at)
        defocus = torch.tensor(self._psf.plane_depths_nm).to(place) - at.molecules[:, 2, None]
        shape = (views.side, views.side)
        unit, by_place = self._psf.unit_derivatives(place.to(views.use), defocus.to(views.use), shape)
        return unit.flatten(2), [values.flatten(2) for values in by_place]

    def _place(self, at: Vector) -> Tensor:
        """(n, planes, 2) nm of the molecules in their windows."""
        start = self._start
        moved = at.molecules[:, None, :2] - start.position[:, None, :2]
        place = (start.mapped_px - self.views.corner) * self._psf.pixel_size_nm
        return place + (start.axes @ (moved + self.drift_nm(at)[start.frame])[..., None])[..., 0]

    def drift_nm(self, at: Vector) -> Tensor:
        """(frames, planes, 2), along the axes of the reference; 0 on plane 0."""
        return torch.nn.functional.pad(at.drift.reshape(self._frames, -1, 2), (0, 0, 1, 0))

    def _between(self, weighted: Tensor, rows: Tensor) -> Tensor:
        """(m, planes, 5, 5) information between the molecules of every pair."""
        pixel, there = self._partner
        partner = rows[self.pairs.second, :, :_LOCAL].gather(3, pixel[:, :, None].expand(-1, -1, _LOCAL, -1))
        return ((weighted[self.pairs.first] * there[:, :, None]) @ partner.transpose(2, 3)).double()

    def _assembled(self, at: Vector, products: Tensor, between: Tensor) -> System:
        """From numbers on every plane, about the place on that plane, to the unknowns."""
        pairs, frame = self.pairs, self._start.frame
        axes, factors = self._start.axes, self._factors(at)
        products = _turned(products, axes, None) * factors[..., None]
        gradient, blocks = products[..., _LOCAL], _turned(products[..., :_LOCAL], None, axes) * factors[..., None, :]
        between = _turned(between, axes[pairs.first], axes[pairs.second])
        between = between * factors[pairs.first][..., None] * factors[pairs.second][..., None, :]
        # A drift moves all molecules: what a plane's drift does to a molecule's pixels, its neighbours do, too.
        moving = blocks[..., :2].index_add(0, pairs.first, between[..., :2])
        moving = moving.index_add(0, pairs.second, between[..., :2, :].transpose(2, 3))
        pull = gradient.new_zeros(at.drift.shape).index_add(0, frame, gradient[:, 1:, :2].flatten(1))
        own_gradient = torch.cat((gradient[..., :4].sum(dim=1), gradient[..., 4]), dim=1)
        return System(
            frame,
            _of_molecules(blocks) + torch.diag_embed(self._precision),
            pairs,
            _of_molecules(between),
            _with_drift(moving),
            _with_drift(blocks[..., :2]),
            self._about_drift(moving),
            self._about_drift(blocks[..., :2]),
            Vector(own_gradient - self._precision * self._moved(at), pull - self._drift_precision * at.drift),
        )

    def _about_drift(self, moving: Tensor) -> Tensor:
        """(frames, q, q) information about the drift, from (n, planes, 5, 2) of molecules, and from the prior."""
        drifts = self._planes - 1
        about = moving.new_zeros(self._frames, drifts, 2, 2).index_add(0, self._start.frame, moving[:, 1:, :2])
        whole = moving.new_zeros(self._frames, drifts, 2, drifts, 2)
        each = torch.arange(drifts, device=moving.device)
        whole[:, each, :, each] = about.transpose(0, 1)
        whole = whole.flatten(3).flatten(1, 2)
        return whole + torch.diag(self._drift_precision)

    def _factors(self, at: Vector) -> Tensor:
        """(n, planes, 5) by what the derivatives of unit images are multiplied."""
        light = at.molecules[:, 3, None] * self._brightness
        share = self._brightness.expand_as(light)
        return torch.stack((light, light, -light, share, torch.ones_like(light)), dim=2)  # Δz = d − z

    def _limited(self, now: Tensor, step: Tensor) -> Tensor:
        """(n, …) After a step that neither jumps across the window nor turns the light negative."""
        reach = _LARGEST_STEP_PX * self._psf.pixel_size_nm
        limited = step.clone()
        limited[:, :2] = step[:, :2].clamp(-reach, reach)
        limited[:, 2] = step[:, 2].clamp(-_LARGEST_STEP_Z_NM, _LARGEST_STEP_Z_NM)
        limited[:, 3] = torch.minimum(torch.maximum(step[:, 3], -0.8 * now[:, 3]), 4 * now[:, 3])
        return now + limited

    def _away(self, molecules: Tensor) -> Tensor:
        """(n,) Whether molecules have run from their start, or have lost their light."""
        moved = (molecules[:, :3] - self._start.position).abs()
        far = (moved[:, :2] > _FARTHEST_PX * self._psf.pixel_size_nm).any(dim=1) | (moved[:, 2] > _FARTHEST_Z_NM)
        return far | (molecules[:, 3] < _LEAST_LIGHT * self._start.photons)

    def _none_in_frame(self, molecules: Tensor) -> Tensor:
        """(frames,) whether none of a frame's molecules is among those chosen (n,)."""
        return (
            torch.zeros(self._frames, device=molecules.device).index_add_(0, self._start.frame, molecules.float()) == 0
        )

    def _result(self, at: Vector, system: System, lost: Tensor, of_windows: Tensor) -> Fit:
        """A window in which more is left than in others has a molecule too few, of which the network knew as little,
        but did not move another one for it.
        """
        freedom = self.views.use.sum(dim=(1, 2)) - at.molecules.shape[1]
        seen = freedom > 0
        left = of_windows / freedom.clamp(min=1)
        explained = left <= _MORE_LEFT * left[seen].median() if seen.any() else seen
        covariance = system.covariance()[:, :4, :4] * left.clamp(min=1)[:, None, None]
        variance = torch.diagonal(covariance, dim1=1, dim2=2)
        known = (variance > 0).all(dim=1) & covariance.isfinite().flatten(1).all(dim=1)
        fitted = self._usable & seen & ~lost & explained & known
        position = torch.where(fitted[:, None], at.molecules[:, :3], self._given.position)
        photons = torch.where(fitted, at.molecules[:, 3], self._given.photons)
        return Fit(position, photons, at.molecules[:, 4:], covariance, fitted, seen & ~explained, self.drift_nm(at))


def _usable(start: Start) -> Tensor:
    """(n,) Molecules of which all is a number, and which have light."""
    numbers = [values.isfinite().flatten(1).all(dim=1) for values in (start.position, start.mapped_px, start.axes)]
    return torch.stack(numbers).all(dim=0) & start.photons.isfinite() & (start.photons > 0)


def _out_of_sight(start: Start, rows: Tensor) -> Start:
    """With some molecules (n,) where no camera looks, so that they change nothing."""
    return Start(
        start.frame,
        start.position.masked_fill(rows[:, None], 0.0),
        start.photons.masked_fill(rows, 1.0),
        start.mapped_px.masked_fill(rows[:, None, None], _OUT_OF_SIGHT_PX),
        start.axes.masked_fill(rows[:, None, None, None], 0.0),
    )


def _turned(products: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """(…, rows, columns) of which the first two are along a camera's axes, along those of the reference."""
    if left is not None:
        products = torch.cat((left.transpose(-1, -2) @ products[..., :2, :], products[..., 2:, :]), dim=-2)
    if right is not None:
        products = torch.cat((products[..., :2] @ right, products[..., 2:]), dim=-1)
    return products


def _with_drift(moving: Tensor) -> Tensor:
    """(n, 4 + planes, 2 · (planes − 1)) information between unknowns and drift, of (n, planes, 5, 2)."""
    planes = moving.shape[1]
    whole = moving.new_zeros(len(moving), 4 + planes, planes - 1, 2)
    whole[:, :4] = moving[:, 1:, :4].transpose(1, 2)
    each = torch.arange(planes - 1, device=moving.device)
    whole[:, 5 + each, each] = moving[:, 1:, 4]
    return whole.flatten(2)


def _of_molecules(blocks: Tensor) -> Tensor:
    """(n, 4 + planes, 4 + planes) from every plane's (n, planes, 5, 5): each has a background of its own."""
    planes = blocks.shape[1]
    whole = blocks.new_zeros(len(blocks), 4 + planes, 4 + planes)
    whole[:, :4, :4] = blocks[..., :4, :4].sum(dim=1)
    whole[:, :4, 4:] = blocks[..., :4, 4].transpose(1, 2)
    whole[:, 4:, :4] = blocks[..., 4, :4]
    whole.diagonal(dim1=1, dim2=2)[:, 4:] = blocks[..., 4, 4]
    return whole
