"""The paper's network for inference: on square regions of the field, each with the margin that its result depends on.

It computes the same as `planeloc.networks.upsampling`. A transposed convolution of stride 2 is a convolution on the
coarse pixels whose channels become 2×2 fine pixels (Shi et al. 2016), so no layer needs padding, and a region costs its
own pixels and a thin rim. Batch normalisation is merged into the weights of the next layer. Where a region extends over
the edge of the field, features are set to what padding with zeros gives: regions and the whole field agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from planeloc.networks.tiles import inside_field
from planeloc.networks.upsampling import UpsamplingNetwork


@dataclass(frozen=True)
class _Layer:
    """A convolution without padding; positions of its output are in its own pixels from the region's corner."""

    weight: Tensor
    bias: Tensor
    doubles: bool  # output channels are (row parity, column parity, channel)
    skip: int  # rows and columns before the output that is needed
    first: int  # where the output that is needed begins
    stop: int  # where it ends
    scale: int  # output pixels per camera pixel
    beyond: Tensor | None  # what stands for zeros beyond the field's edge; None: the last layer

    def on(self, device: torch.device, precision: torch.dtype) -> _Layer:
        weight, bias = (tensor.to(device, precision) for tensor in (self.weight, self.bias))
        beyond = None if self.beyond is None else self.beyond.to(device, precision)
        return replace(self, weight=weight.contiguous(memory_format=torch.channels_last), bias=bias, beyond=beyond)


class TiledUpsamplingNetwork:
    """Photons above background in windows → logits of the regions in their middle.

    Attributes
    ----------
    side_px : side of a region, camera pixels.
    precision : type of the logits.
    margin_px : margin of a window around the region, camera pixels.
    """

    def __init__(
        self,
        network: UpsamplingNetwork,
        side_px: int,
        field_px: tuple[int, int],
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        """`field_px`: rows and columns of the field, beyond which features are as padded."""
        self.side_px = side_px
        self.field_px = field_px
        self.architecture = network.architecture
        self.precision = precision
        layers, first = _layers(network, side_px)
        self.margin_px = -first
        self._layers = [layer.on(device, precision) for layer in layers]

    @property
    def operations(self) -> int:
        """Multiplications (each with an addition) for one region."""
        total, size = 0, self.side_px + 2 * self.margin_px
        for layer in self._layers:
            size -= layer.weight.shape[-1] - 1
            total += size**2 * layer.weight.numel()
            size = layer.stop - layer.first
        return total

    @torch.inference_mode()
    def __call__(self, windows: Tensor, corners: Tensor) -> Tensor:
        """Logits (n, rows, columns, depth slices) of regions.

        Parameters
        ----------
        windows : (n, planes, side + 2·margin, side + 2·margin), zero beyond the field.
        corners : (n, 2), row and column of each region's first pixel, on the CPU.
        """
        edges = (corners < self.margin_px).any(dim=1)
        edges |= (corners + self.side_px + self.margin_px > torch.tensor(self.field_px)).any(dim=1)
        at_edge = edges.nonzero()[:, 0].to(windows.device) if edges.any() else None
        values = windows.to(self.precision).contiguous(memory_format=torch.channels_last)
        for layer in self._layers:
            values = nn.functional.conv2d(values, layer.weight, layer.bias)
            if layer.doubles:
                values = _deal_out(values)
            needed = slice(layer.skip, layer.skip + layer.stop - layer.first)
            values = values[:, :, needed, needed]
            if layer.beyond is not None:
                values = values.relu_()
                if at_edge is not None:
                    values[at_edge] = self._cut_at_edge(values[at_edge], corners[edges].to(values.device), layer)
        return values.permute(0, 2, 3, 1)

    def _cut_at_edge(self, values: Tensor, corners: Tensor, layer: _Layer) -> Tensor:
        """Replace what lies beyond the field's edge."""
        steps = torch.arange(layer.first, layer.stop, device=values.device)
        rows, columns = (corners.T[..., None] * layer.scale + steps).unbind()
        height, width = self.field_px
        kept = inside_field(rows, columns, (height * layer.scale, width * layer.scale))
        return torch.where(kept[:, None], values, layer.beyond)


def _deal_out(values: Tensor) -> Tensor:
    """(n, 4·channels, rows, columns) → (n, channels, 2·rows, 2·columns), in memory with channels last."""
    n, channels, rows, columns = values.shape
    parts = values.permute(0, 2, 3, 1).reshape(n, rows, columns, 2, 2, channels // 4)
    return parts.transpose(2, 3).reshape(n, 2 * rows, 2 * columns, channels // 4).permute(0, 3, 1, 2)


def _layers(network: UpsamplingNetwork, side_px: int) -> tuple[list[_Layer], int]:
    """The layers for regions of a size, and the first pixel of the window that they need (negative)."""
    modules = list(network.layers)
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    scale = network.architecture.upsampling
    first, stop = 0, side_px * scale
    layers: list[_Layer] = []
    for index in reversed(range(len(convolutions))):
        weight, bias, doubles = _as_convolution(convolutions[index])
        if index == 0:
            weight = weight / network.input_scale.double()
        else:
            gain, shift = _scale_and_shift(norms[index - 1])
            bias = bias + (weight * shift[:, None, None]).sum(dim=(1, 2, 3))
            weight = weight * gain[:, None, None]
        beyond = None
        if index < len(norms):
            gain, shift = _scale_and_shift(norms[index])
            beyond = (-shift / gain)[:, None, None]
        size = weight.shape[-1]
        skip, before, after = 0, first - size // 2, stop + size // 2
        if doubles:
            before, after = (first - size + 1) // 2, (stop - size) // 2 + size
            skip = first - (2 * before + size - 1)
        layers.insert(0, _Layer(weight, bias, doubles, skip, first, stop, scale, beyond))
        first, stop, scale = before, after, scale // 2 if doubles else scale
    return layers, first


def _as_convolution(module: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Tensor, Tensor, bool]:
    """Weight and bias in double precision of a convolution, or of the equivalent of a transposed one."""
    weight, bias = module.weight.detach().double(), module.bias.detach().double()
    if isinstance(module, nn.Conv2d):
        return weight, bias, False
    # (in, out, 2m, 2m) → rows and columns as (tap, parity), taps reversed → (parities, out), in, m, m
    inner, outer, size, _ = weight.shape
    taps = weight.reshape(inner, outer, size // 2, 2, size // 2, 2).flip(2, 4)
    weight = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * outer, inner, size // 2, size // 2)
    return weight, bias.repeat(4), True


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A trained batch normalisation as gain · x + shift, with gains that are not zero."""
    gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    gain = torch.where(gain.abs() < 1e-6, 1e-6, gain)
    return gain, norm.bias.detach().double() - norm.running_mean.double() * gain
