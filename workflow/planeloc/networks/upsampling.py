"""The paper's network (Fig. 4): from k planes to the probability that an emitter lies in each fine voxel.

A convolution on the camera's pixels, stride-2 transposed convolutions that each double the lateral resolution (followed
by ReLU and batch normalisation), and a convolution to the depth slices. The paper gives neither kernel sizes nor
channels; the defaults have many channels where pixels are few, since full resolution takes nine tenths of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; `channels` has one entry after the first convolution and one after each doubling."""

    kind: ClassVar[str] = "upsampling"

    planes: int
    depth_slices: int
    channels: tuple[int, ...] = (128, 64, 32, 16)
    first_kernel: int = 9
    first_layers: int = 1  # convolutions on the camera's pixels; those after the first are 3×3
    upsampling_kernel: int = 4  # even; 2m does what an m×m convolution with pixel shuffling does (Shi et al. 2016)
    last_kernel: int = 3

    @property
    def upsampling(self) -> int:
        """Voxels per pixel along each axis."""
        return 2 ** (len(self.channels) - 1)


class UpsamplingNetwork(nn.Module):
    """Photons above background (batch, planes, y, x) → logits (batch, depth slices, y·upsampling, x·upsampling)."""

    def __init__(self, architecture: Architecture, input_scale: float, expected_density: float) -> None:
        """`input_scale`: photons that become 1; `expected_density`: emitters per voxel, the output's first guess."""
        super().__init__()
        self.architecture = architecture
        a = architecture
        convolutions = [nn.Conv2d(a.planes, a.channels[0], a.first_kernel, padding=a.first_kernel // 2)]
        convolutions += [nn.Conv2d(a.channels[0], a.channels[0], 3, padding=1) for _ in range(a.first_layers - 1)]
        padding = (a.upsampling_kernel - 2) // 2
        for before, after in pairwise(a.channels):
            convolutions.append(nn.ConvTranspose2d(before, after, a.upsampling_kernel, stride=2, padding=padding))
        last = nn.Conv2d(a.channels[-1], a.depth_slices, a.last_kernel, padding=a.last_kernel // 2)
        nn.init.constant_(last.bias, math.log(expected_density))
        layers = [layer for own in convolutions for layer in (own, nn.ReLU(), nn.BatchNorm2d(own.out_channels))]
        self.layers = nn.Sequential(*layers, last)
        self.register_buffer("input_scale", torch.tensor(float(input_scale)))

    def forward(self, photons: Tensor) -> Tensor:
        return self.layers(photons / self.input_scale)


def voxel_cross_entropy(logits: Tensor, voxels: Tensor) -> Tensor:
    """The paper's loss, summed over voxels and averaged over images, without building the target volume.

    The sum of −p log q − (1−p) log(1−q) is Σ softplus(logit) − Σ logit over the voxels that hold an emitter.

    Parameters
    ----------
    logits : (batch, depth, rows, columns)
    voxels : (batch, emitters, 3), as depth slice, row, column
    """
    image = torch.arange(len(logits), device=voxels.device)[:, None, None].expand(*voxels.shape[:2], 1)
    occupied = torch.cat((image, voxels), dim=-1).reshape(-1, 4).unique(dim=0)
    return _VoxelCrossEntropy.apply(logits, occupied)


class _VoxelCrossEntropy(torch.autograd.Function):
    """Written out because the logits are large and the targets few: the gradient is one sigmoid and a few
    subtractions.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, occupied: Tensor) -> Tensor:
        ctx.save_for_backward(logits, occupied)
        total = nn.functional.softplus(logits).sum(dtype=torch.float32) - logits[occupied.unbind(-1)].float().sum()
        return total / len(logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, occupied = ctx.saved_tensors
        difference = torch.sigmoid(logits)
        difference[occupied.unbind(-1)] -= 1.0
        return difference.mul_(gradient / len(logits)), None
