"""From voxel probabilities to molecules, on the device.

The network distributes a molecule's probability over a few voxels. Their sum is the molecule's probability, their
centroid its position, their spread its standard deviation. Only voxels around those above the threshold are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.networks.tiles import TiledVolume

NOWHERE = -80.0  # logit of voxels that were not computed
_REACH = (2, 3, 3)  # slices, rows, columns around a peak that belong to it
_SMOOTHING = (1, 2, 2)  # reach of the sums whose maxima are peaks: as far as inter-camera drift spreads a molecule
_APART = (2, 4, 4)  # least distance of two peaks
REACH_ROWS = _APART[1] + _SMOOTHING[1]  # voxels that a maximum depends on
_VOXELS_AT_ONCE = 1 << 13  # 5 MB for every thousand


@dataclass(frozen=True)
class Peaks:
    """One entry per molecule; positions and deviations in voxels, positions from the outer corner of the volume."""

    image: Tensor  # (n,) index in the batch
    position: Tensor  # (n, 3): depth, row, column
    deviation: Tensor  # (n, 3)
    probability: Tensor  # (n,)


def find_peaks(logits: Tensor | TiledVolume, threshold: float, rows: tuple[int, int] | None = None) -> Peaks:
    """Find local maxima of the probability summed over 3×5×5 voxels.

    Parameters
    ----------
    logits : (batch, depth, rows, columns), or tiles of such a volume.
    threshold : probability that a maximum's own voxel exceeds.
    rows : only maxima in these rows of voxels, [first, stop); `REACH_ROWS` rows on either side must be there, too.
    """
    volume = logits if isinstance(logits, TiledVolume) else TiledVolume.dense(logits, NOWHERE)
    kept = _maxima(volume, volume.above(math.log(threshold / (1 - threshold))))
    if rows:
        kept = kept[(kept[:, 2] >= rows[0]) & (kept[:, 2] < rows[1])]
    cubes = torch.cat([_probabilities(volume, part, _REACH) for part in kept.split(_VOXELS_AT_ONCE)])
    total = cubes.sum(dim=(1, 2, 3))
    centroid, variance = [], []
    for axis, reach in enumerate(_REACH):
        steps = torch.arange(-reach, reach + 1, device=cubes.device, dtype=cubes.dtype)
        profile = cubes.sum(dim=[d for d in (1, 2, 3) if d != axis + 1])
        mean = (profile * steps).sum(dim=1) / total
        centroid.append(mean)
        variance.append((profile * (steps - mean[:, None]) ** 2).sum(dim=1) / total + 1 / 12)
    position = kept[:, 1:] + 0.5 + torch.stack(centroid, dim=1)
    return Peaks(kept[:, 0], position, torch.stack(variance, dim=1).sqrt(), total.clamp(max=1.0))


def _maxima(volume: TiledVolume, voxels: Tensor) -> Tensor:
    """Those of the voxels whose score no other within `_APART` exceeds.

    Only these voxels compete: the sum may be largest in the empty middle between two molecules. A voxel's own
    probability counts twice, so that the most probable wins; of two equal voxels the first in the volume does.
    """
    scores, here = volume.zeros_at(voxels), voxels.new_zeros(1)
    for part in voxels.split(_VOXELS_AT_ONCE):
        cubes = _probabilities(volume, part, _SMOOTHING)
        places = scores.places(part, here, here).flatten() + part[:, 1]
        scores.values.view(-1)[places] = cubes.sum(dim=(1, 2, 3)) + cubes[:, *_SMOOTHING]
    for reach in ((1, 1, 1), _APART):  # most lose against their direct neighbours
        voxels = torch.cat([part[_wins(scores, part, reach)] for part in voxels.split(_VOXELS_AT_ONCE)])
    return voxels


def _wins(scores: TiledVolume, voxels: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """Whether voxels have the first of the highest scores within `reach`."""
    around = _around(scores, voxels, reach, 0.0).flatten(1)
    return around.argmax(dim=1) == around.shape[1] // 2


def _probabilities(volume: TiledVolume, voxels: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """(n, depth, rows, columns) around voxels; 0 outside the volume."""
    return torch.sigmoid(_around(volume, voxels, reach, NOWHERE).float())


def _around(volume: TiledVolume, voxels: Tensor, reach: tuple[int, int, int], beyond: float) -> Tensor:
    """Values (n, depth, rows, columns) around voxels; `beyond` above and below the volume."""
    steps = [torch.arange(-r, r + 1, device=voxels.device) for r in reach]
    places, flat = volume.places(voxels, steps[1], steps[2]), volume.values.view(-1)
    slices = []
    for step in steps[0].tolist():
        depth = voxels[:, 1] + step
        known = (depth >= 0) & (depth < volume.depth)
        values = flat[places + depth.clamp(0, volume.depth - 1)[:, None, None]]
        slices.append(values.masked_fill(~known[:, None, None], beyond))
    return torch.stack(slices, dim=1)
