"""The Cramér–Rao bound of every molecule on the pixels that the cameras really show of it.

Away from all edges it is that of many molecules at once (`planeloc.psf.bound_table`). Near the edge of a camera's
sensor, or beyond it, it is computed from the pixels on the sensors, for each molecule.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.psf.base import PSF, Emitters
from planeloc.psf.bound_table import many_position_bounds
from planeloc.psf.fisher_information import bound, without_backgrounds
from planeloc.transforms.coverage import Coverage

_REACH_PX = 8  # of the images that a bound is computed for
_AT_ONCE = 256  # molecules
_LEAST_PHOTONS = 1e-3
# Prior standard deviations, nm and photons, so that molecules that no plane shows have a bound.
_WIDE = (1e5, 1e5, 1e5, 1e6)


def bounds_on_cameras(
    psf: PSF,
    noise: PixelNoise,
    position_nm: NDArray[np.float64],
    photons: NDArray[np.float64],
    background: float,
    coverage: Coverage,
) -> NDArray[np.float64]:
    """(n, 3) nm: bounds of x, y and z of single, isolated molecules, with known transforms.

    Parameters
    ----------
    position_nm : (n, 3) on the reference camera.
    photons : (n,) of all planes together, also of those that do not see the molecule.
    background : photons per pixel of every plane; unknown (NaN): the bounds are, too.
    """
    points = position_nm[:, :2] / psf.pixel_size_nm
    cut = coverage.inside_px(points).min(axis=1) < _REACH_PX
    bounds = np.full((len(photons), 3), np.nan)
    bounds[~cut] = many_position_bounds(psf, noise, position_nm[~cut], photons[~cut], background)
    if not np.isfinite(background):
        return bounds
    for rows in np.array_split(np.flatnonzero(cut), max(1, -(-int(cut.sum()) // _AT_ONCE))):
        bounds[rows] = _cut_bounds(psf, noise, position_nm[rows], photons[rows], background, coverage)
    return bounds


def _cut_bounds(
    psf: PSF,
    noise: PixelNoise,
    position_nm: NDArray[np.float64],
    photons: NDArray[np.float64],
    background: float,
    coverage: Coverage,
) -> NDArray[np.float64]:
    points = position_nm[:, :2] / psf.pixel_size_nm
    transforms, (rows, columns) = coverage.registration.transforms, coverage.field_px
    mapped = np.stack([transform(points) for transform in transforms], axis=1)
    axes = torch.from_numpy(np.stack([transform.jacobian(points) for transform in transforms], axis=1))
    corner = np.floor(mapped).astype(np.int64) - _REACH_PX
    steps = np.arange(2 * _REACH_PX + 1)
    x, y = (corner[..., axis, None] + steps for axis in (0, 1))
    shown = ((y >= 0) & (y < rows))[..., :, None] & ((x >= 0) & (x < columns))[..., None, :]
    z = torch.from_numpy(np.ascontiguousarray(position_nm[:, 2]))
    level = torch.full((len(z), psf.planes), background, dtype=torch.float64)
    total = torch.from_numpy(np.maximum(photons, _LEAST_PHOTONS))
    within = torch.from_numpy((mapped - corner) * psf.pixel_size_nm)
    emitters = Emitters(torch.zeros_like(z), torch.zeros_like(z), z, total, within, level)
    expected, derivatives = psf.expected_photons_and_derivatives(emitters, shown.shape[2:])
    lateral = _in_reference(derivatives[..., :2], axes)
    weights = torch.from_numpy(shown) / noise.to(expected).variance(expected)
    derivatives = torch.cat((lateral, derivatives[..., 2:]), dim=-1)
    information = without_backgrounds(weights.unsqueeze(-3), derivatives.unsqueeze(-4))[0].sum(dim=-3)
    return bound(information + torch.diag(torch.tensor(_WIDE, dtype=torch.float64) ** -2))[:, :3].numpy()


def _in_reference(derivatives: Tensor, axes: Tensor) -> Tensor:
    """Derivatives (n, planes, rows, columns, 2) by a camera's x and y → by those of the reference camera."""
    return (derivatives.flatten(2, 3) @ axes).unflatten(2, derivatives.shape[2:4])
