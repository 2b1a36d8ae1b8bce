"""A network that stays on the camera's pixels and says of each whether a molecule lies there, where, how surely.

The idea is that of DECODE (Speiser et al. 2021) and LiteLoc (2025), written anew from the papers and for any number of
planes: a U-Net with two halvings whose output has, for every pixel, the probability of a molecule, its position,
photons, background, and a standard deviation of each. Cost is set by the camera's pixels and not by fine voxels.

Cameras drift, and all molecules of a frame share the drift. The network gathers over the whole window what each of them
tells about it (`DriftEstimate`), and says for every pixel by what shares the planes made up its x and y. With the drift
d of the planes known with deviation s, x is Σ share (x of the plane − d), and Σ share² s² adds to its variance. One
molecule alone cannot be placed better than its planes agree; many together can.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_DRIFT_WEIGHT = 11  # channels: logit; x, y, z, photons; their deviations; background, its deviation; this one;
_SHARES = 12  # and one for every plane
REACH_PX = 1.5  # how far from its centre a pixel may place a molecule
_LEAST_SD, _MOST_SD = 0.004, 3.0
_HALVINGS = 2
_HIDDEN = 64


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; `channels` on the camera's pixels and after each halving."""

    planes: int
    channels: tuple[int, int, int] = (32, 64, 128)
    sums: int = 16  # over the window, from which the drift is estimated

    @property
    def maps(self) -> int:
        """Numbers that are given for every pixel."""
        return _SHARES + self.planes

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        return cls(**{**values, "channels": tuple(values["channels"])})


class Output(NamedTuple):
    """What the network says of a batch of windows."""

    maps: Tensor  # (batch, numbers, rows, columns), to be read by `read_maps`
    drift: Tensor  # (batch, 2, planes − 1, 2): mean and deviation of planes 1… along x and y, px


class Reading(NamedTuple):
    """Maps in the network's units: x and y in px from the pixel's centre, z in half depth ranges from their middle,
    photons in those of the brightest molecule of training, background in photons.
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
        self.drift = DriftEstimate(architecture)
        self.up_fine = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.fine = nn.Sequential(_convolution(fine, fine), _convolution(fine, fine))
        self.output = nn.Conv2d(fine, architecture.maps, 1)
        self.register_buffer("input_scale", torch.tensor(float(input_scale)))
        self._initialize(expected_density)

    def forward(self, photons: Tensor) -> Output:
        rows, columns = photons.shape[-2:]
        side = 2**_HALVINGS
        fine = self.entry(nn.functional.pad(self._stabilized(photons), (0, -columns % side, 0, -rows % side)))
        middle = self.down_middle(fine)
        joined = self.middle(torch.relu_(self.up_middle(self.down_coarse(middle)).add_(middle)))
        maps = self.output(self.fine(torch.relu_(self.up_fine(joined).add_(fine))))
        return Output(maps[..., :rows, :columns], self.drift(joined))

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
        first_guess = [math.log(density / (1 - density)), 0, 0, 0, 0.5, *[-1.0] * 4]
        self.output.bias.data[: len(first_guess)] = torch.tensor(first_guess)


class DriftEstimate(nn.Module):
    """Drift of the planes 1… against plane 0, from all molecules of a window.

    Every pixel gives values v and the weight w ≥ 0 with which it knows them. Σ w v / (1 + Σ w) is the mean of what is
    known in a normal prior of weight 1, and Σ w / (1 + Σ w) says how well it is known; empty pixels weigh nothing, so
    that windows may be of any size.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.planes = architecture.planes
        self.evidence = nn.Conv2d(architecture.channels[1], 2 * architecture.sums, 1)
        self.hidden = nn.Linear(2 * architecture.sums, _HIDDEN)
        self.result = nn.Linear(_HIDDEN, 4 * (architecture.planes - 1))
        nn.init.normal_(self.result.weight, std=0.01)
        nn.init.zeros_(self.result.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, 2, planes − 1, 2): mean and deviation along x and y, px."""
        weight, value = self.evidence(features).float().chunk(2, dim=1)
        weight = torch.relu(weight)
        total = 1 + weight.sum(dim=(2, 3))
        known = torch.cat(((weight * value).sum(dim=(2, 3)) / total, 1 - 1 / total), dim=1)
        with torch.autocast(features.device.type, enabled=False):
            result = self.result(torch.relu(self.hidden(known)))
        mean, raw_sd = result.unflatten(1, (2, self.planes - 1, 2)).unbind(1)
        return torch.stack((mean, _deviation(raw_sd)), dim=1)


def read_maps(maps: Tensor, drift: Tensor) -> Reading:
    """The network's numbers in its own units, without the drift.

    `maps` (numbers, ...) and `drift` (2, planes − 1, 2, ...), whose last dimensions fit each other.
    """
    share = torch.softmax(maps[_SHARES:], dim=0)[1:, None]
    shift = (share * drift[0]).sum(dim=0)
    unknown = (share * drift[1]).square().sum(dim=0) * nn.functional.softplus(maps[_DRIFT_WEIGHT])
    sd = _deviation(maps[5:9])
    lateral_sd = (sd[:2].square() + unknown).sqrt()
    place = REACH_PX * torch.tanh(maps[1:3] / REACH_PX) - shift
    return Reading(
        logit=maps[0],
        mean=torch.cat((place, maps[3:5])),
        sd=torch.cat((lateral_sd, sd[2:])),
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
