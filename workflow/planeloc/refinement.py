"""Maximum-likelihood refinement of what a network has found, on the cameras' own pixels.

A network sees planes that were resampled, and guesses. Its molecules are where a fit of the forward model starts that
uses all the images hold: all molecules of a frame with the drift that they share (`planeloc.frame_fit`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from planeloc.frame_fit import Fit, Start, fit_frames
from planeloc.instrument import Findings, Instrument, under
from planeloc.optics.information import PixelNoise

MODES = ("none", "likelihood")
_LEAST_PROBABILITY = 0.1  # molecules less probable would take light of others that they are only shadows of
_LEAST_PHOTONS = 0.1  # of the dimmest molecule of training, to start from
_MOLECULES_AT_ONCE = 1024  # unless one frame has more


class Refinement:
    """The fit of one movie's molecules."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        cameras = instrument.movie.microscope.cameras
        self._noise = PixelNoise.of(cameras)
        full = [(camera.saturation_counts - camera.offset_counts) * camera.photons_per_count for camera in cameras]
        self._ceiling = torch.tensor(full, device=instrument.device)

    def __call__(self, images: Tensor, level: Tensor, found: Findings) -> Findings:
        """Findings with the places, deviations and light of those that could be fitted, in order of their frames.

        `images` (frames, planes, y, x) are the cameras' photons above the background `level` (planes, y, x).
        """
        with self._instrument.stopwatch("refinement"):
            found = found.at(torch.argsort(found.frame, stable=True)).double()
            sure = torch.nonzero(found.probability >= _LEAST_PROBABILITY)[:, 0]
            for frames, rows in _portions(found.frame[sure]):
                chosen = sure[rows]
                fitted, valid = self._fitted(images[frames], level, found.at(chosen), frames)
                found = found.replaced(chosen[valid], fitted.at(valid))
        return found

    def _fitted(self, images: Tensor, level: Tensor, found: Findings, frames: slice) -> tuple[Findings, Tensor]:
        """The molecules of some frames after the fit, and which of them were fitted."""
        instrument, position = self._instrument, found.position.double()
        least = _LEAST_PHOTONS * instrument.record.scene.photons[0]
        mapped = instrument.on_planes(position)
        start = Start(
            found.frame - frames.start,
            position,
            found.photons.double().clamp(min=least),
            mapped,
            instrument.axes_of_planes(position),
        )
        drift_sd_nm = instrument.drift_sd_nm
        fit = fit_frames(instrument.psf, self._noise, images, level, start, drift_sd_nm, ceiling=self._ceiling)
        return self._findings(found, fit, mapped, level), fit.fitted

    def _findings(self, found: Findings, fit: Fit, mapped: Tensor, level: Tensor) -> Findings:
        deviation = torch.diagonal(fit.covariance, dim1=1, dim2=2)[:, :3].sqrt()
        depths = torch.tensor(self._instrument.psf.plane_depths_nm).to(fit.position)
        plane = (depths - fit.position[:, 2:]).abs().argmin(dim=1)
        excess = fit.excess[torch.arange(len(plane), device=plane.device), plane]
        background = excess + under(level, plane, mapped)
        return Findings(found.frame, fit.position, deviation, found.probability, fit.photons, background)


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
