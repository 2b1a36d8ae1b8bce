"""Maximum-likelihood refinement of what a network has found, on the cameras' own pixels.

A network sees planes that were resampled, and guesses. Its molecules are where a fit of the forward model starts that
uses all the images hold: all molecules of a frame with the drift that they share (`planeloc.fitting.multi_emitter`).
Where the fit shows that a molecule was missed, it is added (`planeloc.fitting.residual_search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.multi_emitter import Fit, FrameFit, Start
from planeloc.fitting.residual_search import find_missed
from planeloc.localization.context import Findings, Instrument, under

_LEAST_PROBABILITY = 0.1  # molecules less probable would take light of others that they are only shadows of
_LEAST_PHOTONS = 0.1  # of the dimmest molecule of training, to start from
_LEAST_OF_MISSED = 0.5  # of the dimmest molecule of training, that a missed one has after the fit
_LEAST_SIGNIFICANCE = 6.0  # of its photons, in standard deviations
_SURE = 1 - 1e-6
_ITERATIONS = 6
_MOLECULES_AT_ONCE = 1024  # unless one frame has more
_MOST_COUNTS = 65535  # of 16 bits


class Refinement:
    """The fit of one movie's molecules."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        cameras = instrument.movie.microscope.cameras
        self._noise = PixelNoise.of(cameras)
        self._ceiling = torch.tensor([_ceiling(camera) for camera in cameras], device=instrument.device)

    def __call__(self, images: Tensor, level: Tensor, found: Findings) -> Findings:
        """Findings with the places, deviations and light of those that could be fitted, and molecules that were missed.

        `images` (frames, planes, y, x) are the cameras' photons above the background `level` (planes, y, x).
        """
        with self._instrument.stopwatch("refinement"):
            found = found.at(torch.argsort(found.frame, stable=True)).double()
            sure = torch.nonzero(found.probability >= _LEAST_PROBABILITY)[:, 0]
            parts = [found]
            for frames, rows in _portions(found.frame[sure]):
                refined, missed = self._refined(images, level, found.at(sure[rows]), frames)
                parts[0] = parts[0].replaced(sure[rows], refined)
                parts.append(missed)
        return Findings.joined(parts)

    def _refined(self, images: Tensor, level: Tensor, found: Findings, frames: slice) -> tuple[Findings, Findings]:
        """The molecules of some frames, fitted where they could be, and those that were missed."""
        problem, fit = self._fit(images, level, found, frames)
        refined = self._taken_over(found, fit, level)
        missed = self._missed(problem, fit, refined)
        if not len(missed.frame):
            return refined, missed
        here = torch.isin(refined.frame, missed.frame)
        together = Findings.joined([refined.at(here), missed])
        order = torch.argsort(together.frame, stable=True)
        new = order >= int(here.sum())
        _, fit = self._fit(images, level, together.at(order), frames)
        together = self._taken_over(together.at(order), fit, level)
        refined = refined.replaced(torch.nonzero(here)[:, 0], together.at(~new))
        # One that is none has hardly any light, which is left to it: another fit without it would tell nothing new.
        real = new & self._is_molecule(fit)
        return refined, self._as_sure_as(fit.at(real), together.at(real))

    def _fit(self, images: Tensor, level: Tensor, found: Findings, frames: slice) -> tuple[FrameFit, Fit]:
        """A fit of all molecules of some frames."""
        instrument, position = self._instrument, found.position
        least = _LEAST_PHOTONS * instrument.record.scene.photons[0]
        mapped, axes = instrument.on_planes(position), instrument.axes_of_planes(position)
        start = Start(found.frame - frames.start, position, found.photons.clamp(min=least), mapped, axes)
        problem = FrameFit(
            instrument.psf, self._noise, images[frames], level, start, instrument.drift_sd_nm, self._ceiling
        )
        return problem, problem.fit(_ITERATIONS)

    def _taken_over(self, found: Findings, fit: Fit, level: Tensor) -> Findings:
        """Findings with the fit's values where it has any."""
        deviation = torch.diagonal(fit.covariance, dim1=1, dim2=2)[:, :3].sqrt()
        depths = torch.tensor(self._instrument.psf.plane_depths_nm).to(fit.position)
        plane = (depths - fit.position[:, 2:]).abs().argmin(dim=1)
        excess = fit.excess[torch.arange(len(plane), device=plane.device), plane]
        background = excess + under(level, plane, self._instrument.on_planes(fit.position))
        fitted = Findings(found.frame, fit.position, deviation, found.probability, fit.photons, background)
        return found.replaced(torch.nonzero(fit.fitted)[:, 0], fitted.at(fit.fitted))

    def _missed(self, problem: FrameFit, fit: Fit, refined: Findings) -> Findings:
        """Molecules that may have been missed, in frames where the fit leaves more than noise."""
        suspects = torch.nonzero(fit.suspect)[:, 0]
        if not len(suspects):
            return refined.at(suspects)
        depths_nm = self._instrument.record.scene.depth_range_nm
        missed = find_missed(self._instrument.psf, problem.leftover(suspects), depths_nm)
        beside = refined.at(suspects[missed.beside])
        return replace(beside, position=missed.position, photons=missed.photons)

    def _is_molecule(self, fit: Fit) -> Tensor:
        """(n,) whether there is light enough for a molecule of its own."""
        bright = fit.photons > _LEAST_OF_MISSED * self._instrument.record.scene.photons[0]
        return fit.fitted & bright & (_significance(fit) > _LEAST_SIGNIFICANCE)

    def _as_sure_as(self, fit: Fit, found: Findings) -> Findings:
        """With the probability that the light is none of noise."""
        return replace(found, probability=torch.erf(_significance(fit) / 2**0.5).clamp(max=_SURE))


def _ceiling(camera: Camera) -> float:
    """Photons from which on a pixel is saturated: half a count lower, beyond the rounding of counts to photons."""
    counts = min(camera.saturation_counts, _MOST_COUNTS) - 0.5
    return (counts - camera.offset_counts) * camera.photons_per_count


def _significance(fit: Fit) -> Tensor:
    return fit.photons / fit.covariance[:, 3, 3].clamp(min=1e-12).sqrt()


def _portions(frame: Tensor) -> Iterator[tuple[slice, slice]]:
    """Frames, and rows of the ascending `frame` (n,), that are fitted together: whole frames."""
    numbers, counts = (values.tolist() for values in torch.unique_consecutive(frame, return_counts=True))
    first, row, stop = 0, 0, 0
    for last, count in enumerate(counts):
        if stop > row and stop + count - row > _MOLECULES_AT_ONCE:
            yield slice(numbers[first], numbers[last - 1] + 1), slice(row, stop)
            first, row = last, stop
        stop += count
    if stop > row:
        yield slice(numbers[first], numbers[-1] + 1), slice(row, stop)
