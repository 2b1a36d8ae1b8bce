"""The regression network against its floor, the multiplications it needs at the speed of the processor, on one thread.

    python -m benchmarks.speed.regression_network [--size 256] [--molecules 10 50 200]

The floor is counted from the layers; the speed is that of the fastest convolution of 64 channels seen here (some 90 %
of what the arithmetic units do). For each number of molecules per frame, randomly placed, the network runs on the whole
frames and as `localize` runs it, on tiles near molecules. Times are CPU times, the shortest of interleaved runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, Column
from torch import nn

from planeloc.core.memory import keep_freed_memory
from planeloc.networks.lit_tiles import grown
from planeloc.networks.tiled_regression import TILE_PX, costs, maps_on_tiles
from planeloc.networks.tiles import TileGrid
from planeloc.networks.weight_files import load_network

SPOT_REACH_PX = 1
ROUNDS = 7


def speed(rounds: int = 30) -> float:
    """Multiplications per second of a 3×3 convolution of 64 channels on 64×64 pixels, the fastest of all rounds."""
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.randn(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
    return layer.weight.numel() * 64**2 / min(seconds(lambda: layer(image)) for _ in range(rounds))


def seconds(compute: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    compute()
    return time.process_time() - start


def bright_marks(size: int, frames: int, molecules: int) -> torch.Tensor:
    """Tiles near randomly placed molecules."""
    place = torch.randint(size, (frames * molecules, 2), generator=torch.Generator().manual_seed(molecules))
    image = torch.arange(frames).repeat_interleave(molecules)
    return TileGrid(TILE_PX, (size, size)).around(torch.cat((image[:, None], place), dim=1), SPOT_REACH_PX, frames)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT / "resources" / "regression.safetensors")
    parser.add_argument("--size", type=int, default=256, help="of a frame, px")
    parser.add_argument("--molecules", type=int, nargs="+", default=[10, 50, 200], help="per frame")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    network = load_network(options.weights)[0].eval().to(memory_format=torch.channels_last)
    frames = max(1, (1 << 18) // options.size**2)
    photons = 30 * torch.randn(frames, network.architecture.planes, options.size, options.size)
    record, tiles = Record("regression_network", options.json), (options.size / TILE_PX) ** 2
    with torch.inference_mode():
        per_second = speed()
        for molecules in options.molecules:
            marks = bright_marks(options.size, frames, molecules)
            rings = [marks, grown(marks, 1), grown(marks, 2)]
            counted = costs(network, *(ring.float().mean().item() for ring in rings), cost_on_tiles=1.0)
            runs = [
                (seconds(lambda: network(photons)), seconds(lambda m=marks: maps_on_tiles(network, photons, m)))
                for _ in range(ROUNDS)
            ]
            whole, tiled = (1000 * min(times) / frames for times in zip(*runs, strict=True))
            floors = [1000 * tiles * count / per_second for count in (counted[0], min(counted))]
            record.add(
                molecules=molecules, tiles=marks.float().mean().item(), gmac_per_s=per_second / 1e9,
                whole_gmac=tiles * counted[0] / 1e9, whole_floor_ms=floors[0], whole_ms=whole,
                tiled_gmac=tiles * min(counted) / 1e9, tiled_floor_ms=floors[1], tiled_ms=tiled,
            )  # fmt: skip
    record.show(
        Column("molecules", "molecules"),
        Column("share of tiles", "tiles", ".2f"),
        Column("whole frames: 10⁹ multiplications", "whole_gmac", ".2f"),
        Column("floor, ms", "whole_floor_ms", ".1f"),
        Column("ms", "whole_ms", ".1f"),
        Column("on tiles: 10⁹ multiplications", "tiled_gmac", ".2f"),
        Column("floor, ms", "tiled_floor_ms", ".1f"),
        Column("ms", "tiled_ms", ".1f"),
    )


if __name__ == "__main__":
    main()
