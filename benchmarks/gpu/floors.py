"""What a computation needs at least: operations and bytes, counted, over what the device reaches, measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from benchmarks.gpu.machine import Machine
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Ceilings:
    """What the device reaches with large operations alone."""

    bytes_per_s: float  # read and written, of a copy
    flop_per_s: dict[str, float]  # of a matrix product, by precision


def ceilings(machine: Machine) -> Ceilings:
    """Measure them: a second on a GPU."""
    number = machine.size(1 << 29, 1 << 22)
    source = torch.rand(number, device=machine.device)
    target = torch.empty_like(source)
    copied = 8 * number / machine.seconds(lambda: target.copy_(source), repeats=machine.size(10, 2))
    side = machine.size(8192, 256)
    rates = {}
    for precision in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=machine.device).to(precision) for _ in range(2))
        rates[str(precision)[6:]] = 2 * side**3 / machine.seconds(lambda a=a, b=b: a @ b, repeats=machine.size(5, 1))
    return Ceilings(copied, rates)


@dataclass(frozen=True)
class Work:
    """Of one frame through a network."""

    flop: float
    bytes: float  # of the input and output of every layer, each read or written once

    def least_seconds(self, known: Ceilings, precision: str) -> float:
        """The larger of the times that operations and bytes take."""
        return max(self.flop / known.flop_per_s[precision], self.bytes / known.bytes_per_s)


@torch.inference_mode()
def work_of(network: nn.Module, frames: torch.Tensor, precision: str) -> Work:
    """Count the work of a network for frames; convolutions are taken to be joined with what follows each of them."""
    item = torch.finfo(getattr(torch, precision)).bits // 8
    moved = []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        moved.append(item * (inputs[0].numel() + output.numel()))

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with FlopCounterMode(display=False) as counted:
        network(frames)
    for hook in hooks:
        hook.remove()
    return Work(counted.get_total_flops() / len(frames), sum(moved) / len(frames))
