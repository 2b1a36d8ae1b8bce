"""The regression network: for every camera pixel the probability of a molecule, its position, photons and precision.

The method is that of DECODE (Speiser et al. 2021) and LiteLoc (2025), implemented from the papers for any number of
planes: a U-Net with two halvings whose output has, for every pixel, the probability of a molecule, its position,
photons, background, and a standard deviation of each. All molecules of a frame share the inter-camera drift, so x and
y are given for every plane, each with its own standard deviation; `frame_drift` combines them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from planeloc.networks.frame_drift import Drift, PlanePositions

REACH_PX = 1.5  # largest distance of a molecule from its pixel's centre
SEEN_PX = 19  # receptive field: pixels on either side along an axis
_LEAST_SD, _MOST_SD = 0.004, 3.0
_HALVINGS = 2
_PLANES_FROM = 7  # channels before x and y: logit; z, photons; their deviations; background, its deviation


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; `channels` on the camera's pixels and after each halving."""

    kind: ClassVar[str] = "regression"

    planes: int
    channels: tuple[int, int, int] = (24, 48, 64)
    coverage: bool = False  # whether it is told which pixels each camera sees

    @property
    def inputs(self) -> int:
        """Channels of the input."""
        return self.planes * (1 + self.coverage)

    @property
    def maps(self) -> int:
        """Channels of the output; the last are x, y and their deviation on every plane."""
        return _PLANES_FROM + 3 * self.planes


class Reading(NamedTuple):
    """Molecules of n pixels: x and y in px from the pixel's centre, z in half depth ranges from the middle, photons
    over those of the brightest molecule of training.
    """

    logit: Tensor  # (n,)
    mean: Tensor  # (n, 4): x, y, z, photons
    sd: Tensor  # (n, 4)


class RegressionNetwork(nn.Module):
    """Photons above background (batch, planes, y, x) of registered planes, any size → (batch, channels, y, x).

    With `coverage`, the input is what `with_coverage` returns: the pixels that each camera sees follow the photons.
    """

    def __init__(self, architecture: Architecture, input_scale: float, expected_density: float) -> None:
        """`input_scale`: variance of a dark pixel, photons²; `expected_density`: molecules per pixel."""
        super().__init__()
        self.architecture = architecture
        fine, middle, coarse = architecture.channels
        self.entry = nn.Sequential(_convolution(architecture.inputs, fine), _convolution(fine, fine))
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
        fine, joined = self.encode(photons)
        maps = self.output(self.fine(torch.relu_(self.up_fine(joined).add_(fine))))
        return maps[..., :rows, :columns]

    def encode(self, photons: Tensor) -> tuple[Tensor, Tensor]:
        """Return features on the camera's pixels, padded to whole pixels of the coarsest grid, and on the next grid.

        `forward` decodes them everywhere, `tiled_regression` only on tiles.
        """
        rows, columns = photons.shape[-2:]
        side = 2**_HALVINGS
        fine = self.entry(nn.functional.pad(self.stabilized(photons), (0, -columns % side, 0, -rows % side)))
        middle = self.down_middle(fine)
        return fine, self.middle(torch.relu_(self.up_middle(self.down_coarse(middle)).add_(middle)))

    def stabilized(self, photons: Tensor) -> Tensor:
        """Return photons in units of the noise, which is then alike in dim and bright pixels (Anscombe)."""
        if not self.architecture.coverage:
            return photons * torch.rsqrt(photons.abs() + self.input_scale)
        photons, seen = photons.split(self.architecture.planes, dim=-3)
        return torch.cat((photons * torch.rsqrt(photons.abs() + self.input_scale), seen), dim=-3)

    def _initialize(self, density: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # of a doubling's kernel, one tap leads to each output
                fan_in = module.in_channels * (module.kernel_size[0] ** 2 if isinstance(module, nn.Conv2d) else 1)
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.output.weight, std=0.01)
        first_guess = [math.log(density / (1 - density)), 0, 0.5, -1.0, -1.0]
        self.output.bias.data[: len(first_guess)] = torch.tensor(first_guess)


def with_coverage(architecture: Architecture, photons: Tensor, seen: Tensor | None) -> Tensor:
    """Return the input of a network for photons (batch, planes, y, x).

    `seen` (planes, y, x) or (batch, planes, y, x) are the pixels that each camera sees; None: all. A network that is
    not told takes the photons alone.
    """
    if not architecture.coverage:
        return photons
    seen = torch.ones_like(photons) if seen is None else seen.to(photons).expand_as(photons)
    return torch.cat((photons, seen), dim=1)


def read_pixels(pixels: Tensor, drift: Drift) -> Reading:
    """Decode the output of some pixels (n, channels), given the inter-camera drift in each."""
    seen = plane_positions(pixels)
    lateral_sd = seen.variance(drift.covariance).sqrt()[:, None].expand(-1, 2)
    return Reading(
        logit=pixels[:, 0],
        mean=torch.cat((seen.place(drift.mean), pixels[:, 1:3]), dim=1),
        sd=torch.cat((lateral_sd, _deviation(pixels[:, 3:5])), dim=1),
    )


def plane_positions(pixels: Tensor) -> PlanePositions:
    """Return positions on every plane, px from the centres of `pixels` (n, channels)."""
    x, y, raw_sd = pixels[:, _PLANES_FROM:].unflatten(1, (3, -1)).unbind(1)
    return PlanePositions(REACH_PX * torch.tanh(torch.stack((x, y), dim=2) / REACH_PX), _deviation(raw_sd) ** -2)


def background_of(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return photons per pixel beyond those subtracted, and their standard deviation, of `pixels` (n, channels)."""
    return pixels[:, 5], _deviation(pixels[:, 6])


def _deviation(raw: Tensor) -> Tensor:
    """A bounded standard deviation."""
    return (_LEAST_SD + nn.functional.softplus(raw)).clamp(max=_MOST_SD)


def _convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True))


def _halving(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 2, stride=2), nn.ReLU(inplace=True))
