"""Noise of a pixel: read variance plus shot noise, which grows with the expected photons.

With quantum efficiency QE, EM gain G and excess noise F² = 2 − 1/G, a pixel that expects N photons has the variance

    (read noise / G / QE)² + F² / QE · N        photons²

Everything that weighs pixels, fits them or simulates their noise takes its variance from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.camera import Camera

DARKEST_PHOTONS = 0.05  # least expected photons: without read noise, darker pixels would get unlimited weight


@dataclass(frozen=True)
class NoiseModel:
    """Noise of one camera: variance = slope · expected + read_variance, in the units of the image (photons).

    Of images (n, …) of several cameras, `slope` and `read_variance` are arrays (n, 1, …).
    """

    slope: float | NDArray[np.float64] = 1.0
    read_variance: float | NDArray[np.float64] = 0.0

    @classmethod
    def of(cls, camera: Camera) -> NoiseModel:
        """Noise of a camera, in photons."""
        return cls(camera.excess_noise / camera.quantum_efficiency, camera.read_noise_photons() ** 2)

    @classmethod
    def repeated(cls, models: Sequence[NoiseModel], times: Sequence[int]) -> NoiseModel:
        """Noise of images that are in turn by one camera after the other, so many by each."""
        pairs = np.array([(model.slope, model.read_variance) for model in models], dtype=np.float64)
        pairs = np.repeat(pairs, times, axis=0)
        return cls(pairs[:, :1], pairs[:, 1:])

    def rows(self, chosen: NDArray) -> NoiseModel:
        """Noise of some of the images."""
        if isinstance(self.slope, float):
            return self
        return NoiseModel(self.slope[chosen], self.read_variance[chosen])

    def variance(self, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance of pixels of any shape; never zero."""
        return np.maximum(self.slope * np.maximum(expected, 0.0) + self.read_variance, 1e-6 * self.slope)

    def deviance(self, photons: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Deviance of every pixel; see `PixelNoise.deviance`, whose logarithm is rounded differently."""
        shift = self.read_variance / self.slope
        mean = np.maximum(expected + shift, 1e-6) / self.slope
        seen = np.maximum(photons + shift, 0.0) / self.slope
        return 2 * (mean - seen - seen * np.log(mean / np.where(seen > 0, seen, mean)))

    def in_counts(self, camera: Camera) -> NoiseModel:
        """The photon transfer line: variance in counts² over counts above the offset."""
        unit = camera.photons_per_count
        return NoiseModel(self.slope / unit, self.read_variance / unit**2)


@dataclass(frozen=True)
class PixelNoise:
    """Noise of all planes, as tensors (planes,); variance = slope · expected + read_variance, photons²."""

    slope: Tensor
    read_variance: Tensor

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> PixelNoise:
        """From the cameras of all planes."""
        return cls.from_models([NoiseModel.of(camera) for camera in cameras])

    @classmethod
    def from_models(cls, models: Sequence[NoiseModel]) -> PixelNoise:
        """From the noise of every plane's camera."""
        pairs = torch.tensor([(m.slope, m.read_variance) for m in models], dtype=torch.float64)
        return cls(*pairs.unbind(1))

    def repeated(self, plane: int, times: int) -> PixelNoise:
        """The noise of one plane's camera, for every slice of its scan."""
        return PixelNoise(self.slope[plane].expand(times), self.read_variance[plane].expand(times))

    def to(self, like: Tensor) -> PixelNoise:
        """On the device and in the precision of a tensor."""
        return PixelNoise(self.slope.to(like), self.read_variance.to(like))

    def variance(self, expected: Tensor) -> Tensor:
        """Variance of expected photons (..., planes, rows, columns); never zero."""
        slope, read = self.slope[:, None, None], self.read_variance[:, None, None]
        return slope * expected.clamp(min=DARKEST_PHOTONS) + read

    def deviance(self, photons: Tensor, expected: Tensor) -> Tensor:
        """Deviance of every pixel: twice the log-likelihood that it lacks of the best; shapes as in `variance`.

        Pixels are Poisson variables shifted by the read variance (Huang et al. 2013).
        """
        slope = self.slope[:, None, None]
        shift = self.read_variance[:, None, None] / slope
        mean = (expected + shift).clamp(min=1e-6) / slope
        seen = (photons + shift).clamp(min=0) / slope
        return 2 * (mean - seen - seen * torch.log(mean / torch.where(seen > 0, seen, mean)))
