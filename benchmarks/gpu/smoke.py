"""Does everything work on the GPU? The tests that need one, agreement with the CPU, and memory over many frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmarks.gpu.machine import Machine, large_groups
from benchmarks.gpu.movies import as_spline, draw_movie
from benchmarks.support.record import Record
from benchmarks.tables import ROOT

from planeloc.localization.context import InputPaths
from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.weight_files import load_network
from planeloc.scenes.truth_matching import Points, match

WEIGHTS = {kind: ROOT / "resources" / f"{kind}.safetensors" for kind in ("regression", "quadplane")}
THRESHOLD = {"regression": 0.3, "quadplane": 0.005}
TESTS = ("tests/localization/test_large_groups.py",)
MATCH_NM = (50.0, 100.0)  # laterally and axially
# Of localizations of both in float32: share that both have, and the differences of half and of nine tenths of them.
# A molecule that its neighbour covers may be given up, or converge, an iteration later.
LEAST_SHARE, MOST_MEDIAN_NM, MOST_OF_NINE_TENTHS_NM = 0.99, 0.1, 2.0
LEAK_FRAMES, MOST_LEAK_MB = 2000, 2.0


def run(machine: Machine, stage: str) -> bool:
    """The stage; whether all passed."""
    record = machine.record(stage)
    passed = [_tests(machine, record)]
    for kind, weights in WEIGHTS.items():
        _, known = load_network(weights)
        size = machine.size((128, 12, 220, 220), (32, 2, 110, 110))
        files = draw_movie(machine.scratch / kind, weights, machine.device, *size, as_spline(known.psf))
        passed.append(_agreement(machine, record, kind, files, size[2]))
    passed.append(_leak(machine, record))
    return all(passed)


def _tests(machine: Machine, record: Record) -> bool:
    """The tests that are skipped without a GPU; none on a CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *TESTS]
    if machine.device.type != "cuda":
        return True
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    summary = done.stdout.strip().splitlines()[-1:] or [done.stderr[-500:]]
    record.add(check="tests that need a GPU", value=summary[0], passed=done.returncode == 0)
    if done.returncode:
        print(done.stdout[-4000:])
    return done.returncode == 0


def localizer_on(files: InputPaths, device: str, precision: str = "auto", **settings: str) -> Localizer:
    threshold = THRESHOLD[files.weights.stem]
    return Localizer(Job(files, LocalizeSettings(threshold=threshold, device=device, precision=precision, **settings)))


def _agreement(machine: Machine, record: Record, kind: str, files: InputPaths, frames: int) -> bool:
    """The same movie on the device and, in small groups, on the CPU; both with all details in float32."""
    on_device = localize_frames(localizer_on(files, machine.device.type, "float32"), 0, frames)
    with large_groups(False):
        on_cpu = localize_frames(localizer_on(files, "cpu", "float32"), 0, frames)
    one, other = (pd.DataFrame(columns) for columns in (on_device, on_cpu))
    share, away = differences(one, other)
    half, most = (np.quantile(away, q) if len(away) else np.inf for q in (0.5, 0.9))
    passed = share >= LEAST_SHARE and half <= MOST_MEDIAN_NM and most <= MOST_OF_NINE_TENTHS_NM
    record.add(
        check=f"agreement with the CPU, {kind}",
        localizations=len(one),
        localizations_of_cpu=len(other),
        share_of_both=share,
        median_nm=half,
        nine_tenths_nm=most,
        largest_nm=float(away.max()) if len(away) else None,
        tolerance=f"share {LEAST_SHARE}, median {MOST_MEDIAN_NM} nm, nine tenths {MOST_OF_NINE_TENTHS_NM} nm",
        passed=bool(passed),
    )
    return bool(passed)


def differences(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, np.ndarray]:
    """Share of the localizations that both tables have, and how far apart these are, nm."""
    places = [Points(t.frame.to_numpy(), t[["x", "y", "z"]].to_numpy()) for t in (one, other)]
    pairs = match(*places, *MATCH_NM)
    away = np.linalg.norm(places[0].position_nm[pairs.found] - places[1].position_nm[pairs.truth], axis=1)
    return len(pairs) / max(1, len(one), len(other)), away


def _leak(machine: Machine, record: Record) -> bool:
    """Memory of the device and of this process, from the second pass over a movie to the last."""
    files = draw_movie(
        machine.scratch / "leak",
        WEIGHTS["regression"],
        machine.device,
        *machine.size((64, 8, 400, 400), (24, 1, 20, 20)),
    )
    frames = machine.size(400, 20)
    localizer = localizer_on(files, machine.device.type)
    used = []
    for _ in range(machine.size(LEAK_FRAMES // 400 + 2, 4)):
        localize_frames(localizer, 0, frames)
        machine.wait()
        on_device = torch.cuda.memory_allocated(machine.device) / 1e6 if machine.device.type == "cuda" else 0.0
        used.append((on_device, resident_mb()))
    growth = [used[-1][i] - used[1][i] for i in range(2)]
    passed = growth[0] <= MOST_LEAK_MB and growth[1] <= 50 * MOST_LEAK_MB  # the allocator keeps some of the latter
    record.add(
        check="memory", frames=frames * (len(used) - 2), device_growth_mb=growth[0], process_growth_mb=growth[1],
        tolerance=f"device {MOST_LEAK_MB} MB, process {50 * MOST_LEAK_MB} MB", passed=bool(passed),
    )  # fmt: skip
    return bool(passed)


def resident_mb() -> float:
    """Memory of this process now."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1.024e-3
