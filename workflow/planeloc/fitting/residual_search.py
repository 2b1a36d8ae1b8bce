"""Search for missed molecules in the residuals of a fit.

Where two molecules overlap, a network may detect only one. The residual of the fit is then larger in this window than
in others. A second molecule is tried there, at positions and depths around the first on a grid; for a unit image u,
residual r and weights w (inverse variances), (Σ w r u)² / Σ w u² is the gain: by how much it lowers the sum of squares.
Σ w r u / Σ w u² are its photons. The unit images are those of the closest Gaussian, products of a profile along x and
one along y, so that no image is made: what is found only starts another fit, with the whole model. On CPUs the search
is compiled code (`planeloc.fitting.compiled_search`).
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.core.devices import in_large_groups
from planeloc.fitting import compiled_search
from planeloc.fitting.maximum import Residuals
from planeloc.psf import PSF

_STEPS_PX = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the second molecule from the first along each axis
_DEPTH_STEP_NM = 200.0
_LEAST_GAIN = 30.0  # noise exceeds it in one of a million windows, over all positions tried
_SAME_PX = 1.5  # candidates of two windows that are nearer than this are one molecule
_WINDOWS_AT_ONCE, _IN_LARGE_GROUPS = 32, 2048  # each with every step


class MissedMolecules(NamedTuple):
    """Candidates for second molecules, to start a fit from."""

    beside: Tensor  # (m,) row of the molecule in whose window each was found
    position: Tensor  # (m, 3) nm in the reference camera's frame
    photons: Tensor  # (m,) of all planes


def find_missed(
    psf: PSF, residuals: Residuals, depth_range_nm: tuple[float, float], compiled: bool = True
) -> MissedMolecules:
    """Find the best second molecule of every window, no two of a frame at the same position.

    `compiled`: whether compiled code may search, where there is some for the model and the device.
    """
    steps = _steps(psf, depth_range_nm).to(residuals.position)
    if compiled and compiled_search.is_available(psf, residuals):
        best, gain, photons = compiled_search.best_steps(psf, residuals, steps)
    else:
        at_once = _IN_LARGE_GROUPS if in_large_groups(steps.device) else _WINDOWS_AT_ONCE
        rows = torch.arange(len(residuals.frame), device=steps.device).split(at_once)
        batches = [_best(psf, residuals.at(part), steps) for part in rows]
        best, gain, photons = (torch.cat(values) for values in zip(*batches, strict=True))
    position = torch.cat((residuals.position[:, :2] + steps[best, :2], steps[best, 2:]), dim=1)
    gain = torch.where(photons > 0, gain, 0.0)
    known = (values.cpu().numpy() for values in (residuals.frame, gain, position[:, :2]))
    rows = torch.from_numpy(_distinct(*known, _SAME_PX * psf.pixel_size_nm)).to(gain.device)
    return MissedMolecules(rows, position[rows], photons[rows])


def gains(psf: PSF, images: Residuals, steps: Tensor) -> tuple[Tensor, Tensor]:
    """How much one molecule explains of windows, at many places, with every plane's background free.

    Parameters
    ----------
    images : windows that show a molecule and background, in place of residuals.
    steps : (k, 3) steps in x and y from the molecule's position, and depth.

    Returns
    -------
    gain, photons : (n, k) by how much the molecule lowers the sum of squares, and its photons.
    """
    weight = images.weight.unflatten(2, (-1, round(images.weight.shape[2] ** 0.5)))
    y, x = _profiles(psf, images, steps.to(images.position), weight.shape[-1])
    shown = weight * images.residual.view_as(weight)
    total = images.weight.sum(dim=2).clamp(min=1e-12)[..., None]
    level = shown.sum(dim=(2, 3))[..., None]
    covered = ((y @ weight) * x).sum(dim=3)
    match = (((y @ shown) * x).sum(dim=3) - covered * level / total).sum(dim=1)
    energy = (((y.square() @ weight) * x.square()).sum(dim=3) - covered.square() / total).sum(dim=1).clamp(min=1e-12)
    return match.square() / energy, match / energy


def _distinct(frame: NDArray[np.int64], gain: NDArray, position: NDArray, same_nm: float) -> NDArray[np.int64]:
    """Rows of enough gain, ascending; of two of a frame at the same position the one of more gain."""
    kept: dict[int, list[int]] = {}
    for row in np.argsort(-gain, kind="stable"):
        if not gain[row] > _LEAST_GAIN:
            break
        others = kept.setdefault(int(frame[row]), [])
        if all(np.abs(position[row] - position[other]).max() >= same_nm for other in others):
            others.append(int(row))
    return np.sort(np.fromiter(chain.from_iterable(kept.values()), dtype=np.int64))


def _steps(psf: PSF, depth_range_nm: tuple[float, float]) -> Tensor:
    """(k, 3): steps in x and y, and depth."""
    lateral = torch.tensor(_STEPS_PX, dtype=torch.float64) * psf.pixel_size_nm
    low, high = depth_range_nm
    depths = torch.linspace(low, high, max(2, round((high - low) / _DEPTH_STEP_NM) + 1), dtype=torch.float64)
    return torch.cartesian_prod(lateral, lateral, depths)


def _best(psf: PSF, residuals: Residuals, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number, gain and photons (n,) of the best of the steps (k, 3) in every window."""
    weight = residuals.weight.unflatten(2, (-1, round(residuals.weight.shape[2] ** 0.5)))
    y, x = _profiles(psf, residuals, steps, weight.shape[-1])
    match = ((y @ (weight * residuals.residual.view_as(weight))) * x).sum(dim=(1, 3))
    energy = ((y.square() @ weight) * x.square()).sum(dim=(1, 3)).clamp(min=1e-12)
    gain, best = (match.clamp(min=0) ** 2 / energy).max(dim=1)
    photons = (match / energy).gather(1, best[:, None])[:, 0]
    return best, gain, photons


def _profiles(psf: PSF, residuals: Residuals, steps: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(n, planes, k, side) along y and x of one photon at every step; their product is the image on a plane."""
    like = residuals.weight
    moved = (residuals.axes[:, None] @ steps[:, None, :2, None])[..., 0]  # (n, k, planes, 2)
    place = (residuals.in_window_nm[:, None] + moved).transpose(1, 2).to(like)
    defocus = torch.tensor(psf.plane_depths_nm).to(like)[:, None] - steps[:, 2].to(like)
    brightness = torch.tensor(psf.brightness).to(like)[:, None, None]
    x, y = (psf.gaussian.profile(place[..., axis], defocus, side) for axis in (0, 1))
    return brightness * y, x
