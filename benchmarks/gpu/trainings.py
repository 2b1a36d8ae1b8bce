"""Trainings with a limit of time: precision by trial, a checkpoint that survives the limit, and what was reached."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch
from benchmarks.gpu.machine import Machine
from benchmarks.support.record import Record

from planeloc.core.files import read_json
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.training.loop import fit_network
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train

# What a trial compares, the most exact first: precision of the setting, and whether products may be rounded to tf32.
PRECISIONS = {"float32": ("float32", False), "tf32": ("float32", True), "bfloat16": ("bfloat16", False)}
MOST_DIFFERENCE = 0.02  # of the validation loss after the trial, over that of float32
_CHECKPOINT_S = 20.0


class _TimeUpError(Exception):
    """The limit of a stage."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `_TimeUpError` after so many seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def set_precision(name: str, settings: TrainSettings) -> TrainSettings:
    """Compute as a trial's winner does."""
    precision, tf32 = PRECISIONS[name]
    torch.backends.cudnn.benchmark = True  # shapes are few
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return replace(settings, precision=precision)


def fastest_that_agrees(
    machine: Machine, record: Record, psf: PSF, scene: Scene, settings: TrainSettings, images: int
) -> str:
    """Train some images in every precision; return the fastest whose validation agrees with that of float32.

    All see the same images from the same first weights, and are validated in float32.
    """
    reached: dict[str, tuple[float, float]] = {}
    without = machine.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    for name in PRECISIONS:
        if name == "bfloat16" and without:
            continue
        trial = replace(set_precision(name, settings), samples=images, validate_every=images, patience=0)
        file = machine.scratch / f"{name}.checkpoint.safetensors"
        warm = replace(trial, samples=settings.batch, validate_every=settings.batch)
        fit_network(psf, scene, None, file.with_stem(f"{name}_warm"), warm)
        machine.wait()
        start = time.perf_counter()
        _, _, history = fit_network(psf, scene, None, file, trial)
        machine.wait()
        reached[name] = history[-1]["validation_loss"], time.perf_counter() - start
        exact = reached["float32"][0]
        agrees = abs(reached[name][0] - exact) <= MOST_DIFFERENCE * abs(exact)
        record.add(
            trial=name, images=images, validation_loss=reached[name][0], images_per_s=images / reached[name][1],
            agrees=agrees, tolerance=f"{MOST_DIFFERENCE:.0%} of the loss in float32",
        )  # fmt: skip
        if not agrees:
            del reached[name]
    return min(reached, key=lambda name: reached[name][1])


def train_within(
    machine: Machine, record: Record, name: str, settings: TrainSettings, limit_s: float, psf: Path | None = None
) -> bool:
    """Train and write NAME.safetensors and its record, or leave a checkpoint that a later run resumes from."""
    weights = machine.out / f"{name}.safetensors"
    checkpoint = weights.with_suffix(".checkpoint.safetensors")
    given = Path(os.environ.get("RESUME", "")) / checkpoint.name
    if "RESUME" in os.environ and given.is_file() and not checkpoint.exists():
        shutil.copyfile(given, checkpoint)
    start = time.perf_counter()
    try:
        with at_most(limit_s):
            files = weights, machine.out / f"{name}.training.json", machine.out / f"{name}.png"
            saved_every_s = min(_CHECKPOINT_S, max(1.0, limit_s / 4))
            train(psf, None, [], None, *files, replace(settings, checkpoint_every_s=saved_every_s))
    except _TimeUpError:
        record.add(training=name, finished=False, seconds=time.perf_counter() - start, checkpoint=checkpoint.name)
        return False
    seconds = time.perf_counter() - start
    history = read_json(machine.out / f"{name}.training.json")["history"]
    last = {key: value for key, value in history[-1].items() if key != "samples"}
    record.add(
        training=name, finished=True, seconds=seconds, images=history[-1]["samples"],
        images_per_s=history[-1]["samples"] / seconds, precision=settings.precision, weights=weights.name, **last,
    )  # fmt: skip
    return True
