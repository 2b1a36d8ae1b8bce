"""The stages for a machine with a GPU, each tried on the CPU at a tiny size."""

from __future__ import annotations

import json
import os
import subprocess
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

from planeloc.networks.weight_files import load_network
from planeloc.training.loop import _Loop
from planeloc.training.settings import TrainSettings
from support.repository import REPOSITORY

STAGES = ("smoke", "speed", "train", "paper-robust", "paper-nonrobust", "dask")


def results_of(folder: Path, stage: str) -> list[dict]:
    return json.loads((folder / f"gpu_{stage}.json").read_text(encoding="utf-8"))["results"]


@pytest.mark.slow
def test_every_stage_runs_at_a_tiny_size(tmp_path: Path) -> None:
    variables = os.environ | {"OUT": str(tmp_path / "out"), "COMMIT": "0" * 40, "CLEAN": "yes", "OMP_NUM_THREADS": "1"}
    command = [REPOSITORY / "benchmarks/gpu/run.sh", *STAGES, "--tiny", "--device", "cpu"]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"{stage}: passed" in done.stdout for stage in STAGES] == [True] * len(STAGES)
    for stage in STAGES:
        content = json.loads((tmp_path / "out" / f"gpu_{stage}.json").read_text(encoding="utf-8"))
        measurement = content["measurement"]
        assert measurement["commit"] == "0" * 40 and measurement["clean"] is True and measurement["tiny"] is True
        assert measurement["date"] and measurement["versions"]["torch"] == torch.__version__
        assert measurement["device"]["name"].startswith("cpu")
        assert content["results"] and all(row.get("passed", True) for row in content["results"])
    checks = {row["check"] for row in results_of(tmp_path / "out", "smoke")}
    assert checks == {"agreement with the CPU, regression", "agreement with the CPU, quadplane", "memory"}
    speed = {row["quantity"]: row["value"] for row in results_of(tmp_path / "out", "speed")}
    assert all(value > 0 for value in speed.values()) and "operations started" in speed
    assert any("store to columns" in name and "refine likelihood" in name for name in speed)
    for name in ("own_microscope", "robust", "nonrobust"):
        network, record = load_network(tmp_path / "out" / f"{name}.safetensors")
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
        assert record.scene.inter_camera_drift_voxels == (0 if name == "nonrobust" else 2)
        assert (tmp_path / "out" / f"{name}.training.json").exists()


@pytest.mark.slow
def test_a_training_that_the_time_did_not_suffice_for_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    monkeypatch.setenv("COMMIT", "0" * 40)
    monkeypatch.setenv("CLEAN", "no")
    machine_of = import_module("benchmarks.gpu.machine").Machine
    trainings = import_module("benchmarks.gpu.trainings")
    monkeypatch.setattr(trainings, "_CHECKPOINT_S", 1.0)
    step = _Loop._step

    def step_until_a_checkpoint(loop: _Loop) -> None:
        if (folders[0] / "robust.checkpoint.safetensors").exists() and not folders[1].exists():
            raise trainings._TimeUpError
        step(loop)

    monkeypatch.setattr(_Loop, "_step", step_until_a_checkpoint)
    settings = TrainSettings(
        network="upsampling", samples=1500, batch=2, channels="4,4", upsampling=2, validation=2, validate_every=500,
        device="cpu", precision="float32", patience=0,
    )  # fmt: skip
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, finished in zip(folders, (False, True), strict=True):
        folder.mkdir()
        machine = machine_of(torch.device("cpu"), True, folder, tmp_path)
        assert trainings.train_within(machine, machine.record("paper"), "robust", settings, 300.0) is finished
        assert (folder / "robust.checkpoint.safetensors").exists() is not finished
        assert (folder / "robust.safetensors").exists() is finished
        monkeypatch.setenv("RESUME", str(folder))
    assert "resuming training at step" in caplog.text
    assert results_of(folders[1], "paper")[-1]["images"] == 1500


def test_a_limit_of_time_ends_what_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    trainings = import_module("benchmarks.gpu.trainings")
    with pytest.raises(trainings._TimeUpError), trainings.at_most(0.0):
        time.sleep(60)
    with trainings.at_most(60):
        pass
