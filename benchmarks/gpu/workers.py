"""`localize` by Dask: `cluster: cuda`, one worker per GPU, against one process; on a CPU two workers."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace

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
    settings = LocalizeSettings(threshold=0.3, workers=1, device=machine.device.type)
    clusters = {"one worker": settings, **_clusters(machine, settings)}
    if machine.device.type == "cuda" and "cuda" not in " ".join(clusters):
        record.add(check="cluster: cuda", value="dask-cuda is not installed", passed=False)
        return False
    tables = []
    for name, own in clusters.items():
        start = time.perf_counter()
        done = localize(*files[:4], machine.scratch / "table.h5", own)
        tables.append(localization_table.read(machine.scratch / "table.h5")[0])
        record.add(
            cluster=name, seconds=time.perf_counter() - start, frames_per_s=done["frames_per_s"], device=done["device"],
            localizations=done["localizations"],
        )  # fmt: skip
    share, away = differences(tables[0], tables[-1])
    passed = share >= LEAST_SHARE and np.median(away) <= MOST_MEDIAN_NM
    record.add(check="the same table", share_of_both=share, median_nm=float(np.median(away)), passed=bool(passed))
    return bool(passed)


def _clusters(machine: Machine, settings: LocalizeSettings) -> dict[str, LocalizeSettings]:
    """One worker per GPU; on a CPU two of small blocks, so that both work."""
    if machine.device.type == "cpu":
        return {"local, 2 workers": replace(settings, workers=2, block_frames=machine.size(100, 20))}
    if importlib.util.find_spec("dask_cuda") is None:
        return {}
    gpus = torch.cuda.device_count()
    return {f"cuda, {gpus} workers": replace(settings, workers=gpus, cluster="cuda")}
