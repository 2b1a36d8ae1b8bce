"""Frames per second of the network against the size of the image: Fig. 10.

Times depend on the machine and on what else runs there; the network's work does not: it is proportional to the pixels.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from planeloc.core.devices import autocast, choose_precision
from planeloc.core.files import write_json
from planeloc.core.marks import EXPERIMENT
from planeloc.core.progress import progress_bar
from planeloc_reproduction.network_estimator import NetworkEstimator

_SMALLEST_PX = 16
_REPEATS = 5
_LEAST_SECONDS = 0.2  # of one measurement, so that the clock's ticks do not count


def measure_speed(weights: Path, largest_px: int, output: Path, device_name: str) -> None:
    """Median time of the robust network for a frame of 16, 32, … `largest_px` pixels squared, one at a time."""
    estimator = NetworkEstimator("robust", weights, device_name)
    device, network = estimator.device, estimator.network
    precision = choose_precision("auto", device)
    sizes = [_SMALLEST_PX << power for power in range(16) if _SMALLEST_PX << power <= largest_px]
    points = []
    with progress_bar(len(sizes), "measuring speed", "size") as bar:
        for size in sizes:
            frame = torch.zeros(1, network.architecture.planes, size, size, device=device)
            frame = frame.contiguous(memory_format=torch.channels_last)
            points.append({"size_px": size, "seconds_per_frame": _seconds_per_frame(network, frame, device, precision)})
            bar.update()
    write_json(
        output,
        {
            "device": estimator.device_in_words,
            "precision": str(precision).removeprefix("torch."),
            "network": f"channels {', '.join(map(str, network.architecture.channels))}",
            "points": points,
        },
        EXPERIMENT,
    )


@torch.inference_mode()
def _seconds_per_frame(
    network: torch.nn.Module, frame: torch.Tensor, device: torch.device, precision: torch.dtype
) -> float:
    def run(times: int) -> float:
        _wait(device)
        start = time.perf_counter()
        with autocast(device, precision):
            for _ in range(times):
                network(frame)
        _wait(device)
        return time.perf_counter() - start

    run(1)  # what is set up at the first call is no part of the speed
    times = max(1, round(_LEAST_SECONDS / run(1)))
    return statistics.median(run(times) / times for _ in range(_REPEATS))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
