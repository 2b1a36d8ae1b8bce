"""How fast is the GPU, how fast could it be, and what limits?

1. What the device reaches at best, and from it the least time of every network, counted.
2. The paper's network, one frame at a time and in batches, for 16 to 256 pixels (Fig. 10), and from store to table in
   modes `sparse` and `dense`.
3. 256×256×4 pixels with 50 molecules in every frame from the compressed store to columns by the pipeline's localizer,
   with a spline PSF and refinement, and through the whole of `localize`.
4. The profile of a group: operations started, kernels by their time, and how much of the time the device computed.
"""

from __future__ import annotations

import time

import torch
from benchmarks.gpu.floors import Ceilings, ceilings, work_of
from benchmarks.gpu.machine import Machine, cores
from benchmarks.gpu.movies import as_spline, draw_movie
from benchmarks.gpu.smoke import WEIGHTS, localizer_on
from benchmarks.support.operations import Operations
from benchmarks.support.record import Record
from torch.profiler import ProfilerActivity, profile

from planeloc.core.devices import autocast, choose_precision
from planeloc.localization.context import InputPaths
from planeloc.localization.localize import localize
from planeloc.localization.localize_frames import Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.weight_files import load_network

_KERNELS = 12  # that are listed


def run(machine: Machine, stage: str) -> bool:
    """The stage."""
    record = machine.record(stage)
    known = ceilings(machine)
    record.add(quantity="copy", value=known.bytes_per_s / 1e9, unit="GB/s read and written")
    for precision, rate in known.flop_per_s.items():
        record.add(quantity=f"matrix product, {precision}", value=rate / 1e12, unit="TFLOP/s")
    network_speed(machine, record, known, "robust", machine.size(4, 2))
    network_speed(machine, record, known, "regression", machine.size(32, 2))
    paper_chain(machine, record)
    default_chain(machine, record)
    return True


@torch.inference_mode()
def network_speed(machine: Machine, record: Record, known: Ceilings, name: str, many: int) -> None:
    """A network on frames of several sizes, one at a time and many, beside its floor."""
    network, _ = load_network(WEIGHTS["regression"].with_stem(name))
    network = network.to(machine.device, memory_format=torch.channels_last)
    precision = choose_precision("auto", machine.device)
    words = str(precision)[6:]
    for side in machine.size((16, 32, 64, 128, 256), (16,)):
        for batch in (1, many):
            frames = torch.rand(batch, network.architecture.planes, side, side, device=machine.device) * 20
            frames = frames.contiguous(memory_format=torch.channels_last)
            least = work_of(network, frames, words).least_seconds(known, words)

            def forward(frames: torch.Tensor = frames) -> None:
                with autocast(machine.device, precision):
                    network(frames)

            took = machine.seconds(forward, repeats=machine.size(20, 2)) / batch
            record.add(
                quantity=f"{name} network, {side}×{side}, {batch} at a time, {words}", value=1 / took, unit="frames/s",
                floor_frames_per_s=1 / least, over_floor=took / least,
            )  # fmt: skip


def paper_chain(machine: Machine, record: Record) -> None:
    """The paper's network from the store to columns, in both modes."""
    weights = WEIGHTS["quadplane"]
    side, molecules, frames, distinct = machine.size((256, 50, 800, 200), (24, 2, 20, 10))
    files = draw_movie(
        machine.scratch / "paper", weights, machine.device, side, molecules, frames, distinct, threads=cores()
    )
    for mode, some in (("sparse", frames), ("dense", machine.size(200, 10))):
        localizer = localizer_on(files, machine.device.type, mode=mode, refine="none")
        rate, found = _rate(machine, localizer, some)
        record.add(
            quantity=f"store to columns, paper's network, {mode}, {side}×{side}, {molecules} molecules", value=rate,
            unit="frames/s", localizations_per_frame=found,
        )  # fmt: skip


def default_chain(machine: Machine, record: Record) -> None:
    """The regression network and the refinement with a spline PSF, from the store to columns and to a table."""
    weights = WEIGHTS["regression"]
    _, known = load_network(weights)
    side, molecules, frames, distinct = machine.size((256, 50, 8000, 400), (24, 1, 110, 20))
    files = draw_movie(
        machine.scratch / "default", weights, machine.device, side, molecules, frames, distinct,
        as_spline(known.psf), threads=cores(),
    )  # fmt: skip
    what = f"{side}×{side}, {molecules} molecules"
    for refine in ("likelihood", "none"):
        localizer = localizer_on(files, machine.device.type, refine=refine)
        rate, found = _rate(machine, localizer, frames)
        record.add(
            quantity=f"store to columns, {what}, refine {refine}", value=rate, unit="frames/s", target=2000.0,
            localizations_per_frame=found, group=localizer.group,
        )  # fmt: skip
        if refine == "likelihood":
            what_limits(machine, record, localizer)
    _whole_command(machine, record, files, what, frames)


def _rate(machine: Machine, localizer: Localizer, frames: int) -> tuple[float, float]:
    """Frames per second after a first group, and localizations per frame."""
    localize_frames(localizer, 0, min(localizer.group, frames))
    machine.wait()
    start = time.perf_counter()
    columns = localize_frames(localizer, 0, frames)
    return frames / (time.perf_counter() - start), len(columns["x"]) / frames


def _whole_command(machine: Machine, record: Record, files: InputPaths, what: str, frames: int) -> None:
    """`localize`, with the start of its worker, its checks and the table on disk."""
    settings = LocalizeSettings(workers=1, threshold=0.3, device=machine.device.type)
    start = time.perf_counter()
    done = localize(*files[:4], machine.scratch / "localizations.h5", settings)
    record.add(quantity=f"localize, {what}", value=done["frames_per_s"], unit="frames/s", target=2000.0)
    record.add(quantity=f"localize, {what}, with start and table", value=time.perf_counter() - start, unit="s",
               frames=frames)  # fmt: skip


def what_limits(machine: Machine, record: Record, localizer: Localizer) -> None:
    """A group alone: reading, computing, and the making of columns; operations, and the device's own time."""
    last = min(localizer.group, localizer.context.movie.frames)
    batch = localizer.read(0, last)
    found = localizer.detect(*batch).detections
    parts = {
        "reading": machine.seconds(lambda: localizer.read(0, last), warm_up=False),
        "device": machine.seconds(lambda: localizer.detect(*batch)),
        "columns": machine.seconds(lambda: localizer.table(found), warm_up=False),
    }
    for name, took in parts.items():
        record.add(quantity=f"a group of {last}: {name}", value=1e3 * took / last, unit="ms per frame")
    with Operations() as counted:
        localizer.detect(*batch)
    record.add(quantity="operations started", value=counted.total / last, unit="per frame", target=20.0,
               waits=counted.waits.total())  # fmt: skip
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if machine.device.type == "cuda" else [])
    with profile(activities=kinds) as seen:
        localizer.detect(*batch)
        machine.wait()
    of_kernels = "self_device_time_total" if machine.device.type == "cuda" else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, of_kernels))
    total = sum(getattr(row, of_kernels) for row in rows) * 1e-6
    record.add(quantity="time of kernels over time of the group", value=total / parts["device"], unit="")
    for row in rows[: _KERNELS if total else 0]:  # a profiler may be refused on a device
        own = getattr(row, of_kernels) * 1e-6
        record.add(quantity=f"kernel {row.key[:80]}", value=own / total, unit="of the time", calls=row.count)
    if machine.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(machine.device) / 1e9
        record.add(quantity="largest memory of the device", value=peak, unit="GB")
