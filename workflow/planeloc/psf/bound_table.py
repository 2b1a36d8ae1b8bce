"""The Cramér–Rao bound of very many emitters, from a table of exact bounds.

With one background, the bound depends on the depth, the photons and the position within a pixel alone, and its
logarithm is smooth in the depth, the logarithm of the photons and that position. It is computed at a few thousand
nodes, refined by cubic splines, and interpolated linearly for every emitter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates

from planeloc.cameras.noise import PixelNoise
from planeloc.psf.base import PSF
from planeloc.psf.fisher_information import LEAST_PHOTONS, position_bound

_PHASES = 4  # nodes per pixel along x and y
_DEPTH_STEP_NM = 25.0
_PHOTON_STEPS = 4  # nodes per decade
_REFINED = 4  # intervals between nodes after refinement
_LEAST_NODES = 4  # along an axis: a cubic polynomial
_ROWS = 1 << 18  # looked up at once


def many_position_bounds(
    psf: PSF,
    noise: PixelNoise,
    position_nm: NDArray[np.float64],
    photons: NDArray[np.float64],
    background: float,
) -> NDArray[np.float64]:
    """As `position_bound` for one background of all emitters, in a time that hardly grows with their number.

    Bounds are exact where there are fewer emitters than nodes of the table; else their error is below 1 %. An
    unknown background (NaN) gives unknown bounds.
    """
    if not math.isfinite(background):
        return np.full((len(photons), 3), np.nan)
    brightness = np.log10(np.maximum(photons, LEAST_PHOTONS))
    table = _Table.over(position_nm[:, 2], brightness) if len(photons) else None
    if table is None or len(photons) <= table.nodes:
        return position_bound(psf, noise, position_nm, photons, np.full(len(photons), background))
    values = table.log_bounds(psf, noise, background)
    bounds = np.empty((len(photons), 3))
    for start in range(0, len(bounds), _ROWS):
        rows = slice(start, start + _ROWS)
        place = table.place(position_nm[rows], brightness[rows], psf.pixel_size_nm)
        for axis in range(3):
            bounds[rows, axis] = np.exp(map_coordinates(values[axis], place, order=1, mode="nearest"))
    return bounds


@dataclass(frozen=True)
class _Table:
    """Nodes of depth (nm) and brightness (decades of photons), equally spaced."""

    depth_nm: NDArray[np.float64]
    brightness: NDArray[np.float64]

    @classmethod
    def over(cls, depth_nm: NDArray[np.float64], brightness: NDArray[np.float64]) -> _Table:
        return cls(_covering(depth_nm, _DEPTH_STEP_NM), _covering(brightness, 1 / _PHOTON_STEPS))

    @property
    def nodes(self) -> int:
        return _PHASES**2 * len(self.depth_nm) * len(self.brightness)

    def log_bounds(self, psf: PSF, noise: PixelNoise, background: float) -> NDArray[np.float64]:
        """Logarithms of the bounds, (3, x, y, depth, brightness), at the nodes and at those between them."""
        phases = np.arange(_PHASES) / _PHASES * psf.pixel_size_nm
        x, y, z, photons = (a.ravel() for a in np.meshgrid(phases, phases, self.depth_nm, 10**self.brightness))
        exact = position_bound(psf, noise, np.column_stack([x, y, z]), photons, np.full(len(x), background))
        shape = (_PHASES, _PHASES, len(self.depth_nm), len(self.brightness), 3)
        values = np.moveaxis(np.log(exact).reshape(shape).swapaxes(0, 1), -1, 0)  # meshgrid has y first
        for axis in (1, 2):
            values = _refined(np.concatenate([values, values.take([0], axis)], axis), axis, "periodic")
        for axis in (3, 4):
            values = _refined(values, axis, "not-a-knot")
        return values

    def place(
        self, position_nm: NDArray[np.float64], brightness: NDArray[np.float64], pixel_nm: float
    ) -> NDArray[np.float64]:
        """Coordinates in the refined table, (4, n)."""
        x, y, z = position_nm.T
        nodes = (
            np.remainder(x, pixel_nm) * (_PHASES / pixel_nm),
            np.remainder(y, pixel_nm) * (_PHASES / pixel_nm),
            (z - self.depth_nm[0]) / _DEPTH_STEP_NM,
            (brightness - self.brightness[0]) * _PHOTON_STEPS,
        )
        return _REFINED * np.stack(nodes)


def _covering(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Nodes from the lowest value to beyond the highest."""
    low, high = values.min(), values.max()
    return low + step * np.arange(max(_LEAST_NODES, math.ceil((high - low) / step) + 1))


def _refined(values: NDArray[np.float64], axis: int, ends: str) -> NDArray[np.float64]:
    """Values at the nodes along an axis, and between them."""
    nodes = values.shape[axis]
    between = np.linspace(0, nodes - 1, (nodes - 1) * _REFINED + 1)
    return CubicSpline(np.arange(nodes), values, axis, ends)(between)
