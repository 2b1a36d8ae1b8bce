"""`localize` by Dask: `cluster: cuda`, one worker per GPU, against one process; on a CPU two workers."""

from __future__ import annotations

import time

import numpy as np
import torch
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.movies import as_spline, draw_movie
from benchmarks.gpu.smoke import LEAST_SHARE, MOST_MEDIAN_NM, WEIGHTS, differences

from planeloc.io import localization_table
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.weight_files import load_network


def run(machine: Machine, stage: str) -> bool:
    """The stage."""
    record = machine.record(stage)
    weights = WEIGHTS["regression"]
    _, known = load_network(weights)
    size = machine.size((256, 50, 4800, 400), (24, 1, 60, 20))
    files = draw_movie(machine.scratch / "movie", weights, machine.device, *size, as_spline(known.psf))
    on_gpu = machine.device.type == "cuda"
    workers = torch.cuda.device_count() if on_gpu else 2
    plain = LocalizeSettings(threshold=0.3, workers=1, device=machine.device.type)
    clusters = {
        "one process or worker": plain,
        f"{'cuda' if on_gpu else 'local'}, {workers} workers": LocalizeSettings(
            threshold=0.3, workers=workers, device=machine.device.type, cluster="cuda" if on_gpu else "local",
            block_frames=machine.size(100, 20),
        ),
    }  # fmt: skip
    tables = []
    for name, settings in clusters.items():
        start = time.perf_counter()
        done = localize(*files, machine.scratch / "table.h5", settings)
        tables.append(localization_table.read(machine.scratch / "table.h5")[0])
        record.add(
            cluster=name, seconds=time.perf_counter() - start, frames_per_s=done["frames_per_s"], device=done["device"],
            localizations=done["localizations"],
        )  # fmt: skip
    share, away = differences(*tables)
    passed = share >= LEAST_SHARE and np.median(away) <= MOST_MEDIAN_NM
    record.add(check="the same table", share_of_both=share, median_nm=float(np.median(away)), passed=bool(passed))
    return bool(passed)
