"""The paper's networks with all of its images: 90,000 × 30 epochs, the settings of reproduction/config/full.yaml.

    RESUME=FOLDER benchmarks/gpu/run.sh paper-robust

A run that the time did not suffice for leaves a checkpoint; a later run resumes from it.
"""

from __future__ import annotations

import os
from dataclasses import replace

import yaml
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.trainings import fastest_that_agrees, set_precision, train_within
from benchmarks.tables import ROOT

from planeloc.core.files import read_json
from planeloc.scenes.scene import paper_scene
from planeloc.training.settings import TrainSettings

DRIFT_VOXELS = {"robust": 2, "nonrobust": 0}
LIMIT_S = 400.0  # of the training, after the trial; a variable of this name sets another
TRIAL_IMAGES = 20_000
TINY = {"samples": 24, "batch": 4, "channels": "8,8,8,8", "validation": 4, "validate_every": 12}


def run(machine: Machine, stage: str) -> bool:
    """The stage."""
    name = stage.removeprefix("paper-")
    record = machine.record(stage)
    full = yaml.safe_load((ROOT / "reproduction" / "config" / "full.yaml").read_text(encoding="utf-8"))["train"]
    settings = TrainSettings(
        **full | machine.size({}, TINY), network="upsampling", inter_camera_drift_voxels=DRIFT_VOXELS[name],
        registration_resampling=False, device=machine.device.type, patience=0,
    ).resolved()  # fmt: skip
    shipped = read_json(ROOT / "resources" / f"{name}.training.json")["history"][-1]
    shown = ("validation_loss", "lateral_nm", "axial_nm", "samples")
    record.add(training=f"{name}.safetensors, on a CPU", **{key: shipped[key] for key in shown})
    psf, scene = paper_scene()
    images = machine.size(TRIAL_IMAGES, 8)
    scene = replace(scene, inter_camera_drift_voxels=DRIFT_VOXELS[name])
    precision = fastest_that_agrees(machine, record, psf, scene, settings, images)
    record.describe(precision=precision)
    return train_within(
        machine, record, name, set_precision(precision, settings), float(os.environ.get("LIMIT_S", LIMIT_S))
    )
