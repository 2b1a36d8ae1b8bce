"""Molecules that a network did not tell from their neighbours, found in what the fit of the others leaves.

Where two molecules overlap, a network may see one. The fit then leaves light: more in this window than in others. A
second molecule is tried there, at places and depths around the first on a grid; of unit image u, residual r and weights
w (inverse variances), (Σ w r u)² / Σ w u² is by how much it lowers the squares, and Σ w r u / Σ w u² its photons.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.fitting.multi_emitter import Leftover
from planeloc.psf import PSF

_STEPS_PX = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the second molecule from the first along each axis
_DEPTH_STEP_NM = 200.0
_LEAST_GAIN = 30.0  # that noise reaches once in a million windows, over all places tried
_AT_ONCE = 8  # windows, each with every step


class Missed(NamedTuple):
    """Where second molecules may be, as starts of a fit."""

    beside: Tensor  # (m,) which molecule's window each was found in
    position: Tensor  # (m, 3) nm on the reference
    photons: Tensor  # (m,) of all planes


def find_missed(psf: PSF, left: Leftover, depth_range_nm: tuple[float, float]) -> Missed:
    """The best second molecule in every window that has one, no two of a frame at the same place."""
    steps = _steps(psf, depth_range_nm).to(left.position)
    parts = [_best(psf, left.at(part), steps) for part in torch.arange(len(left.frame)).split(_AT_ONCE)]
    gain, position, photons = (torch.cat(values) for values in zip(*parts, strict=True))
    order = torch.argsort(gain, descending=True, stable=True)
    kept: list[int] = []
    for row in order[(gain > _LEAST_GAIN)[order] & (photons > 0)[order]].tolist():
        others = torch.tensor(kept, dtype=torch.long)
        near = (position[others] - position[row]).abs()
        same = (near[:, :2].amax(dim=1) < 1.5 * psf.pixel_size_nm) if kept else torch.zeros(0, dtype=torch.bool)
        if not (same & (left.frame[others] == left.frame[row])).any():
            kept.append(row)
    rows = torch.tensor(sorted(kept), dtype=torch.long, device=gain.device)
    return Missed(rows, position[rows], photons[rows])


def _steps(psf: PSF, depth_range_nm: tuple[float, float]) -> Tensor:
    """(k, 3): steps in x and y, and depth."""
    lateral = torch.tensor(_STEPS_PX, dtype=torch.float64) * psf.pixel_size_nm
    low, high = depth_range_nm
    depths = torch.linspace(low, high, max(2, round((high - low) / _DEPTH_STEP_NM) + 1), dtype=torch.float64)
    return torch.cartesian_prod(lateral, lateral, depths)


def _best(psf: PSF, left: Leftover, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain, position (n, 3) and photons of the best of the steps (k, 3) in every window."""
    side = round(left.residual.shape[-1] ** 0.5)
    moved = (left.axes[:, None] @ steps[:, None, :2, None])[..., 0]  # (n, k, planes, 2)
    place = (left.place[:, None] + moved).flatten(0, 1)
    zero = torch.zeros_like(place[:, 0, 0])
    unit = psf.expected_photons(zero, zero, steps[:, 2].repeat(len(left.frame)), zero + 1, (side, side), place)
    unit = unit.reshape(len(left.frame), len(steps), -1).to(left.weight)
    weight = left.weight.flatten(1)[..., None]
    match = (unit @ (weight * left.residual.flatten(1)[..., None]))[..., 0]
    energy = ((unit * unit) @ weight)[..., 0].clamp(min=1e-12)
    gain, best = (match.clamp(min=0) ** 2 / energy).max(dim=1)
    photons = (match / energy).gather(1, best[:, None])[:, 0]
    position = torch.cat((left.position[:, :2] + steps[best, :2], steps[best, 2:]), dim=1)
    return gain, position, photons
