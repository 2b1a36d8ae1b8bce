"""The regression network for a microscope with a spline PSF, in at most three minutes, beside the one a CPU trained."""

from __future__ import annotations

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.movies import as_spline
from benchmarks.gpu.trainings import set_precision, train_within
from benchmarks.tables import ROOT

from planeloc.core.files import read_json
from planeloc.psf import paper_psf, write_psf
from planeloc.training.settings import TrainSettings

RECORD = ROOT / "resources" / "regression.training.json"  # of 600,000 images, batches of 8, on a CPU
TARGET_S, LIMIT_S = 180.0, 400.0
# A GPU takes as long for a batch of 64 as for one of 8. The rate grows with the root of the batch, as Adam's steps do.
BATCH, RATE = 64, 0.006
TINY = {"samples": 64, "batch": 8, "channels": "8,8,8", "window_px": 16, "validation": 16, "validate_every": 32}


def run(machine: Machine, stage: str) -> bool:
    """The stage."""
    record = machine.record(stage)
    known = read_json(RECORD)
    of_cpu = known["settings"] | {"batch": BATCH, "learning_rate": RATE, "validate_every": 60_000, "patience": 0}
    of_cpu = {name: value for name, value in of_cpu.items() if name in TrainSettings.__dataclass_fields__}
    settings = TrainSettings(**of_cpu | machine.size({}, TINY) | {"device": machine.device.type, "precision": "auto"})
    last = known["history"][-1]
    shown = ("validation_loss", "jaccard", "lateral_nm", "axial_nm", "samples")
    record.add(training="regression.safetensors, on a CPU", **{name: last[name] for name in shown})
    write_psf(machine.scratch / "psf.h5", as_spline(paper_psf()))
    set_precision(machine.size("tf32", "float32"), settings)
    finished = train_within(machine, record, "own_microscope", settings, LIMIT_S, machine.scratch / "psf.h5")
    record.describe(target_s=TARGET_S)
    return finished
