"""How densely molecules lie and what light is not theirs, from how pixels flicker: none need be told from another.

Molecules that blink are drawn anew all the time, and by Campbell's theorem the cumulants of the light on a pixel are
κ_n = ρ E[N^n] Σ h^n, with ρ molecules per pixel and frame, N their photons and h a molecule's share on each pixel,
averaged over depth. Steady light has no κ2 and κ3, so κ2³ / κ3² gives the density, whatever the background and however
bright molecules are; what of the mean is left, is background. Photons and a camera's gain add known cumulants to those
of the light, which are taken off (as in the analysis of fluorescence fluctuations, Müller 2004).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.diagnostics.light import Stretch
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene

Array = NDArray[np.float64]

_TILE_PX = 16  # what a network sees at once
_REACH_PX = 25  # window that holds a molecule's light, whatever its depth
_DEPTHS, _PLACES = 33, 3  # of molecules, over the depth range, and within a pixel along each axis
_FEWEST_FRAMES = 4


@dataclass(frozen=True)
class Flicker:
    """Of one stretch: (planes,) means over the field of the cumulants of the light, and where it comes from."""

    mean: Array  # photons
    second: Array  # photons²
    third: Array  # photons³
    halves: tuple[Array, Array]  # (planes, tiles) second cumulant in the first and in the last frames


@dataclass(frozen=True)
class Cumulants:
    """Of the light on the pixels, mean over the field and the movie."""

    mean: Array  # (planes,) photons
    second: Array  # (planes,) photons²
    third: Array  # (planes,) photons³
    crowding: float  # density where the molecules are over density of the field


def measure_flicker(stretch: Stretch, cameras: tuple[Camera, ...]) -> Flicker:
    """Over the frames of a stretch, pixel by pixel: what changes more slowly is not seen."""
    photons = stretch.photons
    middle = len(photons) // 2
    if middle < _FEWEST_FRAMES:
        none = np.zeros(len(cameras))
        return Flicker(photons.mean(axis=(0, 2, 3), dtype=np.float64), none, none, (np.zeros((1, 1)),) * 2)
    cumulants = (values.mean(axis=(1, 2)) for values in _light_cumulants(photons, cameras))
    first, last = (_tiles(_light_cumulants(part, cameras)[1]) for part in (photons[:middle], photons[middle:]))
    return Flicker(*cumulants, (first, last))


def mean_cumulants(parts: list[Flicker]) -> Cumulants:
    """Of some stretches, without those that are too short."""
    parts = [part for part in parts if part.second.any()] or parts
    first, last = (np.mean([part.halves[half] for part in parts], axis=0) for half in (0, 1))
    means = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("mean", "second", "third"))
    return Cumulants(*means, _crowding(first, last))


def _light_cumulants(photons: NDArray[np.float32], cameras: tuple[Camera, ...]) -> tuple[Array, Array, Array]:
    """First to third cumulants (planes, y, x) of the light, unbiased, from (frames, planes, y, x) photons as read.

    An electron leaves 1/QE photons on average; m2 and m3 are the mean square and cube, with EM gain those of a gamma
    distribution. Read noise adds a variance alone.
    """
    n = len(photons)
    mean = photons.mean(axis=0, dtype=np.float64)
    away = photons - mean.astype(np.float32)
    square = np.einsum("fpyx,fpyx->pyx", away, away, dtype=np.float64) / (n - 1)
    cube = np.einsum("fpyx,fpyx,fpyx->pyx", away, away, away, dtype=np.float64) * n / ((n - 1) * (n - 2))
    noise = [NoiseModel.of(camera) for camera in cameras]
    m2 = _per_plane(model.slope for model in noise)
    m3 = _per_plane(c.excess_noise * (2 * c.excess_noise - 1) / c.quantum_efficiency**2 for c in cameras)
    rounding = _per_plane(camera.photons_per_count**2 / 12 for camera in cameras)
    second = square - m2 * mean - _per_plane(model.read_variance for model in noise) - rounding
    return mean, second, cube - 3 * m2 * second - m3 * mean


def _per_plane(values: Iterable[float]) -> Array:
    return np.array(list(values))[:, None, None]


def _tiles(second: Array) -> Array:
    """(planes, tiles) means over tiles; a field smaller than a tile is one."""
    rows, columns = (max(1, size // _TILE_PX) for size in second.shape[1:])
    label = (np.arange(second.shape[1]) * rows // second.shape[1])[:, None] * columns
    label = label + np.arange(second.shape[2]) * columns // second.shape[2]
    return np.stack([ndimage.mean(plane, label, np.arange(rows * columns)) for plane in second])


def _crowding(first: Array, last: Array) -> float:
    """Mean square of a density (planes, tiles) over its squared mean, from two measurements of it."""
    squared_mean = (first.mean(axis=1) * last.mean(axis=1)).sum()
    return float(max((first * last).mean(axis=1).sum() / squared_mean, 1.0)) if squared_mean > 0 else 1.0


@dataclass(frozen=True)
class Crowd:
    """How many molecules there are, and the light that is not theirs."""

    density: float  # molecules per pixel and frame, where they are
    background: Array  # (planes,) photons per pixel


def crowd(cumulants: Cumulants, psf: PSF, scene: Scene) -> Crowd:
    """Density and background, for molecules whose photons are distributed as in `scene`, at all its depths.

    Where molecules lie on few depths, planes that are out of focus see their light spread, and take it for more
    molecules: the plane that sees the fewest counts.
    """
    shares = _powers_of_shares(psf, scene)
    moments = [_moment(scene.photons, n) for n in (1, 2, 3)]
    usable = (cumulants.second > 0) & (cumulants.third > 0)
    if not usable.any():
        return Crowd(0.0, cumulants.mean)
    second, third = (np.where(usable, values, 1.0) for values in (cumulants.second, cumulants.third))
    second, third = second / (shares[0] * moments[1]), third / (shares[1] * moments[2])
    density = float(np.min((second**3 / third**2)[usable]))
    plane = int(np.argmin(np.where(usable, second**3 / third**2, np.inf)))
    scale = third[plane] / second[plane]  # photons, relative to those of the scene
    light = density * scale * moments[0] * np.array(psf.brightness)
    return Crowd(density * cumulants.crowding, cumulants.mean - light)


def _powers_of_shares(psf: PSF, scene: Scene) -> Array:
    """(2, planes): Σ h² and Σ h³ over the pixels, means over depth and place."""
    z = torch.linspace(*scene.depth_range_nm, _DEPTHS, dtype=torch.float64)
    within = (torch.arange(_PLACES, dtype=torch.float64) + 0.5) / _PLACES + _REACH_PX // 2
    x, y, z = torch.meshgrid(within * psf.pixel_size_nm, within * psf.pixel_size_nm, z, indexing="ij")
    images = psf.expected_photons(x, y, z, torch.ones_like(z), (_REACH_PX, _REACH_PX))
    return np.stack([(images**n).sum(dim=(-2, -1)).mean(dim=(0, 1, 2)).numpy() for n in (2, 3)])


def _moment(interval: tuple[float, float], n: int) -> float:
    """Mean of the n-th power of a number that is uniform in an interval."""
    low, high = interval
    return low**n if high == low else (high ** (n + 1) - low ** (n + 1)) / ((n + 1) * (high - low))
