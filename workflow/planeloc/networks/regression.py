"""A network that stays on the camera's pixels and says of each whether a molecule lies there, where, how surely.

The idea is that of DECODE (Speiser et al. 2021) and LiteLoc (2025), written anew from the papers and for any number of
planes: a U-Net with two halvings whose output has, for every pixel, the probability of a molecule, its position,
photons, background, and a standard deviation of each. Cost is set by the camera's pixels and not by fine voxels.

Cameras drift, and all molecules of a frame share the drift. So a pixel also says by what shares the planes make up its
x and y, and how far each plane seems to have moved against the one before. What is made of the two is in `drift`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from planeloc.networks.drift import Drift, Steps

REACH_PX = 1.5  # how far from its centre a pixel may place a molecule
_LEAST_SD, _MOST_SD = 0.004, 3.0
_HALVINGS = 2
_SHARES = 11  # channels before: logit; x, y, z, photons; their deviations; background, its deviation


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; `channels` on the camera's pixels and after each halving."""

    planes: int
    channels: tuple[int, int, int] = (32, 64, 128)

    @property
    def maps(self) -> int:
        """Numbers that are given for every pixel; the last are those of shares and steps."""
        return _SHARES + self.planes + 3 * (self.planes - 1)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        return cls(**{**values, "channels": tuple(values["channels"])})


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
    """Photons above background (batch, planes, y, x) of registered planes, any size → maps (batch, numbers, y, x)."""

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
        self.up_fine = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.fine = nn.Sequential(_convolution(fine, fine), _convolution(fine, fine))
        self.output = nn.Conv2d(fine, architecture.maps, 1)
        self.register_buffer("input_scale", torch.tensor(float(input_scale)))
        self._initialize(expected_density)

    def forward(self, photons: Tensor) -> Tensor:
        rows, columns = photons.shape[-2:]
        side = 2**_HALVINGS
        fine = self.entry(nn.functional.pad(self._stabilized(photons), (0, -columns % side, 0, -rows % side)))
        middle = self.down_middle(fine)
        joined = self.middle(torch.relu_(self.up_middle(self.down_coarse(middle)).add_(middle)))
        maps = self.output(self.fine(torch.relu_(self.up_fine(joined).add_(fine))))
        return maps[..., :rows, :columns]

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


def read_maps(maps: Tensor, drift: Drift) -> Reading:
    """The network's numbers in its own units, where the drift is known so well.

    `maps` (numbers, n, ...), and the drift of each of the n. With d the drift and C its covariance, x is what the
    planes say together less Σ share d, and Σ share C share adds to its variance.
    """
    planes = drift.mean.shape[1] + 1
    share = torch.softmax(maps[_SHARES : _SHARES + planes], dim=0)[1:]
    shift = torch.einsum("pn...,npa->an...", share, drift.mean)
    unknown = torch.einsum("pn...,npq,qn...->n...", share, drift.covariance, share)
    sd = _deviation(maps[5:9])
    return Reading(
        logit=maps[0],
        mean=torch.cat((REACH_PX * torch.tanh(maps[1:3] / REACH_PX) - shift, maps[3:5])),
        sd=torch.cat(((sd[:2].square() + unknown).sqrt(), sd[2:])),
        background=maps[9],
        background_sd=_deviation(maps[10]),
    )


def planes_of(maps: Tensor) -> int:
    """Planes of the network that made `maps` (batch, numbers, rows, columns)."""
    return (maps.shape[1] - _SHARES + 3) // 4


def background_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Photons per pixel beyond those subtracted, and the deviation; `maps` (batch, numbers, rows, columns)."""
    return maps[:, 9], _deviation(maps[:, 10])


def read_steps(maps: Tensor, planes: int) -> Steps:
    """How far each plane seems to have moved against the one before; `maps` (numbers, n)."""
    rest = maps[_SHARES + planes :].t()
    steps = planes - 1
    return Steps(rest[:, : 2 * steps].unflatten(1, (steps, 2)), rest[:, 2 * steps :])


def _deviation(raw: Tensor) -> Tensor:
    """A standard deviation that is neither zero nor endless."""
    return (_LEAST_SD + nn.functional.softplus(raw)).clamp(max=_MOST_SD)


def _convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True))


def _halving(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 2, stride=2), nn.ReLU(inplace=True))
