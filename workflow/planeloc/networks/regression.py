"""A network that stays on the camera's pixels and says of each whether a molecule lies there, where, how surely.

The idea is that of DECODE (Speiser et al. 2021) and LiteLoc (2025), written anew from the papers and for any number of
planes: a U-Net with two halvings whose output has, for every pixel, the probability of a molecule, its position,
photons, background, and a standard deviation of each. Cost is set by the camera's pixels and not by fine voxels.

Cameras drift, and all molecules of a frame share the drift. So the middle of the network gathers, over the whole
window, what each molecule tells about it, and hands the sum back to all of them (`Context`). One molecule alone cannot
be placed better than its planes agree; many together can.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CHANNELS = 11  # logit; x, y, z, photons; their deviations; background, its deviation
REACH_PX = 1.5  # how far from its centre a pixel may place a molecule
_LEAST_SD, _MOST_SD = 0.004, 3.0
_HALVINGS = 2


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; `channels` on the camera's pixels and after each halving."""

    planes: int
    channels: tuple[int, int, int] = (32, 64, 128)
    context: int = 16  # sums over the window that are handed back to every pixel; 0: none

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        return cls(**{**values, "channels": tuple(values["channels"])})


class Output(NamedTuple):
    """What the network says of a batch of windows."""

    maps: Tensor  # (batch, CHANNELS, rows, columns), to be read by `read_maps`
    drift: Tensor | None  # (batch, 2, planes − 1, 2): mean and deviation of planes 1… along x and y, px


class Reading(NamedTuple):
    """Maps in the network's units: x and y in px from the pixel's centre, z in half depth ranges from their middle,
    photons in those of the brightest molecule of training, background in photons. Channels first or last, as given.
    """

    logit: Tensor  # (...)
    mean: Tensor  # (4, ...): x, y, z, photons
    sd: Tensor  # (4, ...)
    background: Tensor  # (...)
    background_sd: Tensor  # (...)


class RegressionNetwork(nn.Module):
    """Photons above background (batch, planes, y, x) of registered planes → `Output` on the same pixels, any size."""

    def __init__(self, architecture: Architecture, input_scale: float, expected_density: float) -> None:
        """`input_scale`: variance of a dark pixel, photons²; `expected_density`: molecules per pixel."""
        super().__init__()
        self.architecture = architecture
        fine, middle, coarse = architecture.channels
        self.entry = nn.Sequential(_convolution(architecture.planes, fine), _convolution(fine, fine))
        self.down_middle = nn.Sequential(_halving(fine, middle), _convolution(middle, middle))
        self.down_coarse = nn.Sequential(
            _halving(middle, coarse), _convolution(coarse, coarse), _convolution(coarse, coarse)
        )
        self.up_middle = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.middle = _convolution(middle, middle)
        self.context = Context(architecture) if architecture.context else None
        self.up_fine = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.fine = nn.Sequential(_convolution(fine, fine), _convolution(fine, fine))
        self.output = nn.Conv2d(fine, CHANNELS, 1)
        self.register_buffer("input_scale", torch.tensor(float(input_scale)))
        self._initialize(expected_density)

    def forward(self, photons: Tensor) -> Output:
        rows, columns = photons.shape[-2:]
        side = 2**_HALVINGS
        fine = self.entry(nn.functional.pad(self._stabilized(photons), (0, -columns % side, 0, -rows % side)))
        middle = self.down_middle(fine)
        joined = self.middle(torch.relu_(self.up_middle(self.down_coarse(middle)).add_(middle)))
        drift = None
        if self.context is not None:
            joined, drift = self.context(joined)
        maps = self.output(self.fine(torch.relu_(self.up_fine(joined).add_(fine))))
        return Output(maps[..., :rows, :columns], drift)

    def _stabilized(self, photons: Tensor) -> Tensor:
        """In units of the noise, which grows as the root: dim and bright pixels are alike in it (Anscombe)."""
        return photons * torch.rsqrt(photons.abs() + self.input_scale)

    def _initialize(self, density: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # of a doubling's kernel, one tap leads to each output
                fan_in = module.in_channels * (module.kernel_size[0] ** 2 if isinstance(module, nn.Conv2d) else 1)
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.output.weight, std=0.01)
        first_guess = torch.tensor([math.log(density / (1 - density)), 0, 0, 0, 0.5, *[-1.0] * 4, 0, 0])
        self.output.bias.data.copy_(first_guess)


class Context(nn.Module):
    """What all molecules of a window tell together, handed to each.

    Every pixel gives values v and the weight w ≥ 0 with which it knows them. Σ w v / (1 + Σ w) is the mean of what is
    known in a normal prior of weight 1, and Σ w / (1 + Σ w) says how well it is known; empty pixels weigh nothing, so
    that windows may be of any size. Both scale and shift the features of all pixels; from both the drift is read, which
    training compares with the true one.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        features, sums = architecture.channels[1], architecture.context
        self.evidence = nn.Conv2d(features, 2 * sums, 1)
        self.modulation = nn.Linear(2 * sums, 2 * features)
        self.drift = nn.Linear(2 * sums, 2 * 2 * (architecture.planes - 1))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weight, value = self.evidence(features).float().chunk(2, dim=1)
        weight = torch.relu(weight)
        total = 1 + weight.sum(dim=(2, 3))
        known = torch.cat(((weight * value).sum(dim=(2, 3)) / total, 1 - 1 / total), dim=1)
        scale, shift = self.modulation(known).to(features.dtype)[..., None, None].chunk(2, dim=1)
        mean, raw_sd = self.drift(known).float().chunk(2, dim=1)
        drift = torch.stack((mean, _deviation(raw_sd)), dim=1).unflatten(2, (-1, 2))
        return torch.addcmul(features + shift, features, scale), drift


def read_maps(maps: Tensor) -> Reading:
    """The network's numbers in its own units; `maps` (CHANNELS, ...), in float32."""
    place = REACH_PX * torch.tanh(maps[1:3] / REACH_PX)
    return Reading(
        logit=maps[0],
        mean=torch.cat((place, maps[3:5])),
        sd=_deviation(maps[5:9]),
        background=maps[9],
        background_sd=_deviation(maps[10]),
    )


def _deviation(raw: Tensor) -> Tensor:
    """A standard deviation that is neither zero nor endless."""
    return (_LEAST_SD + nn.functional.softplus(raw)).clamp(max=_MOST_SD)


def _convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True))


def _halving(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 2, stride=2), nn.ReLU(inplace=True))
