"""What the stages share: sizes, the folder of the results, and a record that names the device."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from benchmarks.support.record import Record

from planeloc.core import devices

Result = TypeVar("Result")
Size = TypeVar("Size")


@dataclass(frozen=True)
class Machine:
    """Where a stage runs, how much of it, and where its results go."""

    device: torch.device
    tiny: bool  # sizes that a CPU needs seconds for
    out: Path
    scratch: Path  # movies, which need not be kept

    def size(self, whole: Size, tiny: Size) -> Size:
        """Return one of two sizes."""
        return tiny if self.tiny else whole

    def record(self, stage: str) -> Record:
        """A file of results that says which device it was."""
        record = Record(f"gpu_{stage}", self.out / f"gpu_{stage}.json")
        record.describe(tiny=self.tiny, device=description(self.device))
        return record

    def wait(self) -> None:
        """Until the device has computed what was started."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], repeats: int = 1, warm_up: bool = True) -> float:
        """Seconds of one repeat, with what it starts on the device."""
        if warm_up:
            work()
        self.wait()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        self.wait()
        return (time.perf_counter() - start) / repeats


def description(device: torch.device) -> dict[str, Any]:
    """Name, driver and memory of a GPU; that it is a CPU."""
    if device.type != "cuda":
        return {"name": devices.describe_device(device)}
    known = torch.cuda.get_device_properties(device)
    return {
        "name": known.name,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "memory_gb": round(known.total_memory / 1e9, 1),
        "multiprocessors": known.multi_processor_count,
    }


@contextmanager
def large_groups(on: bool = True) -> Iterator[None]:
    """Within, a CPU computes groups as a GPU does, so that every stage can be tried without one."""
    before = devices.LARGE_GROUPS["cpu"]
    devices.LARGE_GROUPS["cpu"] = on
    try:
        yield
    finally:
        devices.LARGE_GROUPS["cpu"] = before


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))
