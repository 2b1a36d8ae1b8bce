"""Maximum-likelihood refinement of detections, on the cameras' own pixels.

A network sees resampled planes, and its output is approximate. Its detections start a fit of the forward model: all
molecules of a frame with the inter-camera drift that they share (`planeloc.fitting.multi_emitter`). Molecules that the
residuals of the fit show are added (`planeloc.fitting.residual_search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.expected_deviance import expected_deviances
from planeloc.cameras.noise import PixelNoise
from planeloc.core.devices import in_large_groups, rounded_up, share_of_memory
from planeloc.fitting.drift_information import DriftInformation
from planeloc.fitting.multi_emitter import MoleculeFits, MultiEmitterFit
from planeloc.fitting.residual_search import find_missed
from planeloc.fitting.windows import InitialMolecules
from planeloc.localization.context import LocalizationContext
from planeloc.localization.depth_starts import DepthStarts
from planeloc.localization.detections import Detections, background_at

_LEAST_PROBABILITY = 0.1  # less probable detections may be false positives that would take photons of others
_LEAST_PHOTONS = 0.1  # of the dimmest molecule of training, to start from
_LEAST_OF_MISSED = 0.5  # of the dimmest molecule of training, that an added one has after the fit
_LEAST_SIGNIFICANCE = 6.0  # of its photons, in standard deviations
_HIGHEST_PROBABILITY = 1 - 1e-6
_MOLECULES_AT_ONCE = {"cpu": 1024, "cuda": 1 << 16}  # unless one frame has more
_BYTES_OF_MOLECULE, _SHARE_OF_GPU = 1 << 17, 1 / 4


class KnownOfDrift(NamedTuple):
    """What molecules say of the inter-camera drift of frames; see `planeloc.fitting.drift_information`."""

    precision: Tensor  # (frames, q, q)
    moment: Tensor  # (frames, q)

    @classmethod
    def nothing(cls, frames: int, drifts: int, device: torch.device | str) -> KnownOfDrift:
        """Of frames without molecules."""
        moment = torch.zeros(frames, drifts, dtype=torch.float64, device=device)
        return cls(moment.new_zeros(frames, drifts, drifts), moment)

    def update(self, frames: slice, found: DriftInformation, of_frames: Tensor | None = None) -> None:
        """Write what a fit of `frames` found, or only that of the frames that some molecules are in."""
        chosen = torch.ones(len(found.moment), dtype=torch.bool, device=found.moment.device)
        if of_frames is not None:
            chosen = torch.zeros_like(chosen).index_fill(0, of_frames - frames.start, True)
        for own, new in zip(self, (found.precision, found.moment), strict=True):
            own[frames] = torch.where(chosen.view(-1, *[1] * (new.dim() - 1)), new, own[frames])


class Refinement:
    """Fits the detections of one movie."""

    def __init__(self, context: LocalizationContext) -> None:
        self._context = context
        cameras = context.movie.microscope.cameras
        self._noise = PixelNoise.of(cameras)
        self._expected_deviance = expected_deviances(cameras).to(context.device)
        self._ceiling = torch.tensor([camera.saturated_photons for camera in cameras], device=context.device)

    @cached_property
    def _depth_starts(self) -> DepthStarts:
        return DepthStarts(self._context)

    def __call__(self, images: Tensor, background: Tensor, found: Detections) -> tuple[Detections, KnownOfDrift]:
        """Refine the detections that can be fitted, and add molecules that were missed.

        `images` (frames, planes, y, x) are the cameras' photons above `background` (planes, y, x), or that of every
        frame. Also returns what the molecules say of every frame's inter-camera drift.
        """
        with self._context.stopwatch("refinement"):
            drifts = 2 * (images.shape[1] - 1)
            found = found.at(torch.argsort(found.frame, stable=True)).double().unmoved(drifts)
            known = KnownOfDrift.nothing(len(images), drifts, images.device)
            probable = torch.nonzero(found.probability >= _LEAST_PROBABILITY)[:, 0]
            added = []
            for frames, rows in self._batches(found.frame[probable], len(images)):
                refined, missed = self._refined(images, background, found.at(probable[rows]), frames, known)
                found = found.replaced(probable[rows], refined)
                added.append(missed)
        return Detections.joined([found, *added]), known

    def _refined(
        self, images: Tensor, background: Tensor, found: Detections, frames: slice, known: KnownOfDrift
    ) -> tuple[Detections, Detections]:
        """The refined molecules of some frames, and those that were missed; writes what is known of the drift."""
        problem, fits = self._fit(images, background, found, frames)
        known.update(frames, fits.drift_known)
        refined = self._updated(found, fits, background)
        missed = self._missed(problem, fits, refined)
        if not len(missed.frame):
            return refined, missed
        here = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        here = here.index_fill(0, missed.frame, True)[refined.frame]
        together = Detections.joined([refined.at(here), missed])
        order = torch.argsort(together.frame, stable=True)
        new = order >= len(order) - len(missed.frame)
        _, fits = self._fit(images, background, together.at(order), frames)
        known.update(frames, fits.drift_known, of_frames=together.frame)
        together = self._updated(together.at(order), fits, background)
        refined = refined.replaced(torch.nonzero(here)[:, 0], together.at(~new))
        # A candidate that is no molecule has hardly any photons: another fit without it would change nothing.
        real = new & self._is_molecule(fits)
        probability = torch.erf(_significance(fits.at(real)) / 2**0.5).clamp(max=_HIGHEST_PROBABILITY)
        return refined, together.at(real)._replace(probability=probability)

    def _fit(
        self, images: Tensor, background: Tensor, found: Detections, frames: slice
    ) -> tuple[MultiEmitterFit, MoleculeFits]:
        """Fit all molecules of some frames, from several depths where a camera does not see."""
        problem, fits = self._fit_once(images, background, frames, found)
        return problem, self._depth_starts(problem, fits, found, partial(self._fit_once, images, background, frames))

    def _fit_once(
        self, images: Tensor, background: Tensor, frames: slice, found: Detections, typical: Tensor | None = None
    ) -> tuple[MultiEmitterFit, MoleculeFits]:
        """Fit all molecules of some frames from where they were found."""
        context, position = self._context, found.position
        photons = found.photons.clamp(min=_LEAST_PHOTONS * context.record.scene.photons[0])
        mapped, axes = context.on_planes(position), context.axes_of_planes(position)
        start = InitialMolecules(found.frame - frames.start, position, photons, mapped, axes)
        level = background if background.dim() == 3 else background[frames]
        start = _filled_up(start, rounded_up(len(photons), photons.device))
        problem = MultiEmitterFit(
            context.psf,
            self._noise,
            images[frames],
            level,
            start,
            context.drift_sd_nm,
            self._ceiling,
            self._expected_deviance,
        )
        return problem, problem.fit(typical=typical).at(slice(0, len(photons)))

    def _updated(self, found: Detections, fits: MoleculeFits, background: Tensor) -> Detections:
        """Detections with the values of successful fits; how well the model explains the pixels is said of all."""
        deviation = torch.diagonal(fits.covariance, dim1=1, dim2=2)[:, :3].sqrt()
        plane = self._context.best_focused_plane(fits.position[:, 2])
        excess = fits.excess[torch.arange(len(plane), device=plane.device), plane]
        level = excess + background_at(background, plane, self._context.on_planes(fits.position), found.frame)
        untold = found.deviation.masked_fill(deviation[:, 2:].isinf(), torch.inf)
        judged = found._replace(goodness_of_fit=fits.goodness, deviation=untold)
        fitted = judged._replace(
            position=fits.position,
            deviation=deviation,
            photons=fits.photons,
            background=level,
            response=fits.drift_known.response,
            at_rest=fits.at_rest,
            variance=fits.drift_known.variance.masked_fill(deviation.isinf(), torch.inf),
        )
        return judged.replaced(torch.nonzero(fits.fitted)[:, 0], fitted.at(fits.fitted))

    def _missed(self, problem: MultiEmitterFit, fits: MoleculeFits, refined: Detections) -> Detections:
        """Molecules that may have been missed, in windows with large residuals."""
        suspects = torch.nonzero(fits.suspect)[:, 0]
        if not len(suspects):
            return refined.at(suspects)
        depths_nm = self._context.record.scene.depth_range_nm
        missed = find_missed(self._context.psf, problem.residuals(suspects), depths_nm)
        beside = refined.at(suspects[missed.beside])
        return beside._replace(position=missed.position, photons=missed.photons)

    def _is_molecule(self, fits: MoleculeFits) -> Tensor:
        """(n,) Whether a fit has the photons of a molecule."""
        bright = fits.photons > _LEAST_OF_MISSED * self._context.record.scene.photons[0]
        return fits.fitted & bright & (_significance(fits) > _LEAST_SIGNIFICANCE)

    def _batches(self, frame: Tensor, frames: int) -> Iterator[tuple[slice, slice]]:
        """Frames, and rows of the ascending `frame` (n,), that are fitted together: whole frames."""
        if not in_large_groups(frame.device):
            return _batches(frame, _MOLECULES_AT_ONCE["cpu"])
        most = _MOLECULES_AT_ONCE["cuda"] * _BYTES_OF_MOLECULE
        at_once = share_of_memory(frame.device, _SHARE_OF_GPU, most) // _BYTES_OF_MOLECULE
        whole = [(slice(0, frames), slice(0, len(frame)))] if len(frame) else []
        return iter(whole) if len(frame) <= at_once else _batches(frame, at_once)


def _filled_up(start: InitialMolecules, size: int) -> InitialMolecules:
    """As many molecules as `size`: the last ones have no number of photons, and so take no part in a fit."""
    more = size - len(start.frame)
    if not more:
        return start

    def longer(values: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(values, (0, 0) * (values.dim() - 1) + (0, more), value=value)

    last = torch.cat((start.frame, start.frame[-1:].expand(more)))
    return InitialMolecules(last, *(longer(values, torch.nan) for values in start[1:]))


def _significance(fits: MoleculeFits) -> Tensor:
    return fits.photons / fits.covariance[:, 3, 3].clamp(min=1e-12).sqrt()


def _batches(frame: Tensor, at_once: int) -> Iterator[tuple[slice, slice]]:
    """Frames, and rows of the ascending `frame` (n,), that are fitted together: whole frames."""
    numbers, counts = (values.tolist() for values in torch.unique_consecutive(frame, return_counts=True))
    first, row, stop = 0, 0, 0
    for last, count in enumerate(counts):
        if stop > row and stop + count - row > at_once:
            yield slice(numbers[first], numbers[last - 1] + 1), slice(row, stop)
            first, row = last, stop
        stop += count
    if stop > row:
        yield slice(numbers[first], numbers[-1] + 1), slice(row, stop)
