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
_SMOOTHING = (1, 2, 2)  # reach of the sums whose maxima are peaks: as far as an unknown drift spreads a molecule
_APART = (2, 4, 4)  # no two peaks are nearer than this
_NEIGHBOURHOODS_AT_ONCE = 1 << 12  # 5 MB for every thousand


@dataclass(frozen=True)
class Peaks:
    """One entry per molecule; positions and deviations in voxels, positions from the outer corner of the volume."""

    image: Tensor  # (n,) index in the batch
    position: Tensor  # (n, 3): depth, row, column
    deviation: Tensor  # (n, 3)
    probability: Tensor  # (n,)


def find_peaks(logits: Tensor, threshold: float) -> Peaks:
    """Local maxima of the probability summed over 3×5×5 voxels, among voxels whose own probability exceeds `threshold`.

    Parameters
    ----------
    logits : (batch, depth, rows, columns)
    """
    candidates = (logits > math.log(threshold / (1 - threshold))).nonzero()
    parts = [_refine(logits, part, threshold) for part in candidates.split(_NEIGHBOURHOODS_AT_ONCE)]
    return Peaks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _refine(logits: Tensor, candidates: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the candidates that are the maximum of their surroundings and measure them."""
    wide = tuple(apart + smoothing for apart, smoothing in zip(_APART, _SMOOTHING, strict=True))
    cubes = _surroundings(logits, candidates, wide)
    kernel = tuple(2 * reach + 1 for reach in _SMOOTHING)
    sums = math.prod(kernel) * torch.nn.functional.avg_pool3d(cubes[:, None], kernel, stride=1)[:, 0]
    # Only candidates compete: the sum may be largest in the empty middle between two molecules, and nobody would win.
    # A voxel's own probability counts twice, so that the fullest wins. argmax gives the first of equals: of two equal
    # voxels exactly one is the maximum of both surroundings.
    own = _core(cubes, _APART)
    score = torch.where(own > threshold, sums + own, 0.0).flatten(1)
    peak = score.argmax(dim=1) == score.shape[1] // 2
    kept, cubes = candidates[peak], _core(cubes[peak], _REACH)
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


def _core(cubes: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """The middle of (n, depth, rows, columns) cubes, `reach` voxels to each side."""
    parts = (slice(size // 2 - r, size // 2 + r + 1) for size, r in zip(cubes.shape[1:], reach, strict=True))
    return cubes[(slice(None), *parts)]
