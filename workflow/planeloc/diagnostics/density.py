"""Density of molecules and background of a movie, from the cumulants of pixels over time; no molecule is detected.

Where molecules blink, the cumulants of the photons on a pixel are κ_n = ρ E[N^n] Σ h^n (Campbell's theorem), with ρ
molecules per pixel and frame, N photons of a molecule, and h its share on each pixel, averaged over depth. Steady
background has no κ2 and κ3: κ2³ / κ3² gives the density, whatever the background and the brightness of the molecules.
The rest of the mean is background. The cumulants of shot noise, EM gain and read noise are known and subtracted
(as in fluorescence fluctuation analysis, Müller 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.movie.background import Stretch
from planeloc.psf import PSF, Emitters
from planeloc.scenes.scene import Scene

Array = NDArray[np.float64]

_TILE_PX = 16  # window of a network
_WINDOW_PX = 25  # holds a molecule's photons at every depth
_DEPTHS, _POSITIONS = 33, 2  # of molecules: over the depth range, and within a pixel along each axis
_FEWEST_FRAMES = 4
_SAMPLED_PX = 128**2  # of larger fields every second pixel is taken, and so on: neighbours see the same molecules


@dataclass(frozen=True)
class Cumulants:
    """Cumulants of the photons on a pixel, means over the field, of one stretch of a movie or of several."""

    moments: Array  # (3, planes): first to third cumulant, photons to photons³
    halves: Array  # (2, planes, tiles): second cumulant in the first and in the last frames

    @property
    def clustering(self) -> float:
        """Density where the molecules are over mean density of the field: mean square over squared mean."""
        first, last = self.halves  # their noise is independent
        squared_mean = (first.mean(axis=1) * last.mean(axis=1)).sum()
        return float(max((first * last).mean(axis=1).sum() / squared_mean, 1.0)) if squared_mean > 0 else 1.0


def measure_cumulants(stretch: Stretch, cameras: tuple[Camera, ...]) -> Cumulants:
    """Measure the cumulants of every pixel over the frames of a stretch; the mean only, if it is too short."""
    every = max(1, round(math.sqrt(stretch.field_px / _SAMPLED_PX)))
    photons = stretch.photons(every_px=every)
    middle = len(photons) // 2
    if middle < _FEWEST_FRAMES:
        mean = photons.mean(axis=(0, 2, 3), dtype=np.float64)
        return Cumulants(np.stack((mean, np.zeros_like(mean), np.zeros_like(mean))), np.zeros((2, 1, 1)))
    moments = [values.mean(axis=(1, 2)) for values in _photon_cumulants(photons, cameras)]
    halves = [_tiles(_photon_cumulants(part, cameras)[1], every) for part in (photons[:middle], photons[middle:])]
    return Cumulants(np.stack(moments), np.stack(halves))


def mean_cumulants(parts: list[Cumulants]) -> Cumulants:
    """Average over stretches, without those that are too short."""
    parts = [part for part in parts if part.moments[1].any()] or parts
    moments = np.mean([part.moments for part in parts], axis=0)
    return Cumulants(moments, np.mean([part.halves for part in parts], axis=0))


def _photon_cumulants(photons: NDArray[np.float32], cameras: tuple[Camera, ...]) -> tuple[Array, Array, Array]:
    """First to third cumulants (planes, y, x) without noise, unbiased, from measured photons (frames, planes, y, x).

    Read noise and rounding add to the variance only.
    """
    n = len(photons)
    mean = photons.mean(axis=0, dtype=np.float64)
    away = photons - mean.astype(np.float32)
    square = np.einsum("fpyx,fpyx->pyx", away, away, dtype=np.float64) / (n - 1)
    cube = np.einsum("fpyx,fpyx,fpyx->pyx", away, away, away, dtype=np.float64) * n / ((n - 1) * (n - 2))
    m2, m3, read_variance, rounding = np.transpose([_noise_constants(camera) for camera in cameras])[..., None, None]
    second = square - m2 * mean - read_variance - rounding
    return mean, second, cube - 3 * m2 * second - m3 * mean


def _noise_constants(camera: Camera) -> tuple[float, float, float, float]:
    """Mean square and cube of the photons that an electron stands for, read variance, and that of rounding.

    The mean is 1/QE; with EM gain, the photons of an electron follow a gamma distribution.
    """
    noise, excess = NoiseModel.of(camera), camera.excess_noise
    cube = excess * (2 * excess - 1) / camera.quantum_efficiency**2
    return noise.slope, cube, noise.read_variance, camera.photons_per_count**2 / 12


def _tiles(second: Array, every_px: int) -> Array:
    """(planes, tiles) means over tiles of pixels `every_px` apart; a field smaller than a tile is one tile."""
    rows, columns = (max(1, size * every_px // _TILE_PX) for size in second.shape[1:])
    label = (np.arange(second.shape[1]) * rows // second.shape[1])[:, None] * columns
    label = label + np.arange(second.shape[2]) * columns // second.shape[2]
    tile, tiles = label.ravel(), rows * columns
    number = np.bincount(tile, minlength=tiles)
    return np.stack([np.bincount(tile, plane.ravel(), tiles) / number for plane in second])


@dataclass(frozen=True)
class DensityEstimate:
    """Density of the molecules, and background."""

    density: float  # molecules per pixel and frame, where they are
    background: Array  # (planes,) photons per pixel


def estimate_density(cumulants: Cumulants, psf: PSF, scene: Scene) -> DensityEstimate:
    """Estimate density and background, for molecules with the photons and depths of `scene`.

    Where molecules lie at few depths, planes out of focus overestimate the density: the smallest estimate counts.
    """
    shares = _powers_of_shares(psf, scene)
    moments = [_moment(scene.photons, n) for n in (1, 2, 3)]
    mean, second, third = cumulants.moments
    usable = (second > 0) & (third > 0)
    if not usable.any():
        return DensityEstimate(0.0, mean)
    second, third = (np.where(usable, values, 1.0) for values in (second, third))
    second, third = second / (shares[0] * moments[1]), third / (shares[1] * moments[2])
    densities = np.where(usable, second**3 / third**2, np.inf)
    plane, density = int(densities.argmin()), float(densities.min())
    scale = third[plane] / second[plane]  # photons, relative to those of the scene
    of_molecules = density * scale * moments[0] * np.array(psf.brightness)
    return DensityEstimate(density * cumulants.clustering, mean - of_molecules)


def _powers_of_shares(psf: PSF, scene: Scene) -> Array:
    """(2, planes): Σ h² and Σ h³ over the pixels, means over depth and position."""
    z = torch.linspace(*scene.depth_range_nm, _DEPTHS, dtype=torch.float64)
    within = (torch.arange(_POSITIONS, dtype=torch.float64) + 0.5) / _POSITIONS + _WINDOW_PX // 2
    x, y, z = torch.meshgrid(within * psf.pixel_size_nm, within * psf.pixel_size_nm, z, indexing="ij")
    images = psf.expected_photons(Emitters(x, y, z, torch.ones_like(z)), (_WINDOW_PX, _WINDOW_PX))
    return np.stack([(images**n).sum(dim=(-2, -1)).mean(dim=(0, 1, 2)).numpy() for n in (2, 3)])


def _moment(interval: tuple[float, float], n: int) -> float:
    """n-th moment of the uniform distribution over an interval."""
    low, high = interval
    return low**n if high == low else (high ** (n + 1) - low ** (n + 1)) / ((n + 1) * (high - low))
