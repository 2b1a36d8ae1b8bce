"""Run stages one after the other in one process; `benchmarks/gpu/run.sh` calls this."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from pathlib import Path

import torch
from benchmarks.gpu.machine import Machine, large_groups

from planeloc.core import messages
from planeloc.core.devices import DEVICES, choose_device

STAGES = {
    "smoke": "benchmarks.gpu.smoke",
    "speed": "benchmarks.gpu.speed",
    "train": "benchmarks.gpu.training",
    "paper-robust": "benchmarks.gpu.paper",
    "paper-nonrobust": "benchmarks.gpu.paper",
    "dask": "benchmarks.gpu.workers",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU needs seconds for")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    options = parser.parse_args()
    messages.show()
    out = Path(os.environ.get("OUT", "benchmarks/scratch/gpu"))
    out.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device)
    failed = []
    with tempfile.TemporaryDirectory() as scratch, large_groups():
        for stage in options.stages:
            start = time.monotonic()
            machine = Machine(device, options.tiny, out, Path(scratch) / stage)
            machine.scratch.mkdir()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            passed = importlib.import_module(STAGES[stage]).run(machine, stage)
            print(f"{stage}: {'passed' if passed else 'FAILED'} in {time.monotonic() - start:.0f} s", flush=True)
            failed += [] if passed else [stage]
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
