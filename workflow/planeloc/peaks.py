"""From voxel probabilities to molecules, on the device, without keeping the volume.

The network spreads a molecule's probability over the few voxels where it may be. Their sum is the probability that it
is there, their centroid its position, their spread its uncertainty. Only the surroundings of voxels above the threshold
are ever looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_REACH = (2, 3, 3)  # slices, rows, columns around a peak that belong to it
_NEIGHBOURHOODS_AT_ONCE = 1 << 14  # 14 MB for every thousand


@dataclass(frozen=True)
class Peaks:
    """One entry per molecule; positions and deviations in voxels, positions from the outer corner of the volume."""

    image: Tensor  # (n,) index in the batch
    position: Tensor  # (n, 3): depth, row, column
    deviation: Tensor  # (n, 3)
    probability: Tensor  # (n,)


def find_peaks(logits: Tensor, threshold: float) -> Peaks:
    """Local maxima of the probability summed over 3×3×3 voxels, among voxels whose own probability exceeds `threshold`.

    Parameters
    ----------
    logits : (batch, depth, rows, columns)
    """
    candidates = (logits > math.log(threshold / (1 - threshold))).nonzero()
    parts = [_refine(logits, part) for part in candidates.split(_NEIGHBOURHOODS_AT_ONCE)]
    return Peaks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _refine(logits: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the candidates that are the maximum of their surroundings and measure them."""
    wide = tuple(r + 1 for r in _REACH)  # one more on each side, for the sums over 3×3×3
    cubes = _surroundings(logits, candidates, wide)
    sums = torch.nn.functional.avg_pool3d(cubes[:, None], 3, stride=1)[:, 0].flatten(1)
    # argmax gives the first of equals, so of two equal voxels exactly one is the maximum of both surroundings
    peak = sums.argmax(dim=1) == sums.shape[1] // 2
    kept, cubes = candidates[peak], cubes[peak][:, 1:-1, 1:-1, 1:-1]
    total = cubes.sum(dim=(1, 2, 3))
    centroid, variance = [], []
    for axis in range(3):
        reach = _REACH[axis]
        steps = torch.arange(-reach, reach + 1, device=logits.device, dtype=cubes.dtype)
        profile = cubes.sum(dim=[d for d in (1, 2, 3) if d != axis + 1])
        mean = (profile * steps).sum(dim=1) / total
        centroid.append(mean)
        variance.append((profile * (steps - mean[:, None]) ** 2).sum(dim=1) / total + 1 / 12)
    position = kept[:, 1:] + 0.5 + torch.stack(centroid, dim=1)
    return kept[:, 0], position, torch.stack(variance, dim=1).sqrt(), total.clamp(max=1.0)


def _surroundings(logits: Tensor, centres: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """Probabilities (n, 2·reach+1 …) around (n, 4) centres; 0 outside the volume."""
    index = []
    inside = torch.ones((), dtype=torch.bool, device=logits.device)
    for axis in range(3):
        steps = torch.arange(-reach[axis], reach[axis] + 1, device=logits.device)
        place = centres[:, axis + 1, None] + steps
        shape = [len(centres), 1, 1, 1]
        shape[axis + 1] = len(steps)
        limit = logits.shape[axis + 1]
        inside = inside & ((place >= 0) & (place < limit)).reshape(shape)
        index.append(place.clamp(0, limit - 1).reshape(shape))
    values = logits[centres[:, 0].reshape(-1, 1, 1, 1), index[0], index[1], index[2]]
    return torch.where(inside, torch.sigmoid(values.float()), 0.0)
