"""A device that has too little memory: the same training, in smaller batches."""

import ctypes
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from planeloc.core import memory
from planeloc.core.errors import PlanelocError
from planeloc.core.memory import AdaptiveBatch, keep_freed_memory, memory_for, out_of_memory
from planeloc.psf import paper_psf
from planeloc.scenes import random_density
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.random_density import draw_dense_scenes
from planeloc.scenes.scene import Scene
from planeloc.training.loop import fit_network
from planeloc.training.mixture_loss import regression_loss
from planeloc.training.regression_task import RegressionTask, ground_truth
from planeloc.training.settings import TrainSettings
from planeloc.training.upsampling_task import UpsamplingTask

SCENE = Scene(window_px=16, density=(0.002, 0.01), background_error=0.1)
TINY = TrainSettings(
    network="regression", samples=32, batch=8, channels="8,8,8", window_px=16, validation=12, validate_every=32,
    device="cpu", precision="float32",
)  # fmt: skip
CPU = torch.device("cpu")
TOL_LOSS = 1e-5
TOL_WEIGHTS = 1e-4  # Adam divides by a gradient's size, and so by its rounding where it is small


def fit(folder, name, settings=TINY):
    return fit_network(paper_psf(), SCENE, None, folder / f"{name}.safetensors", settings)


def memory_of(monkeypatch, task, images, error=torch.OutOfMemoryError):
    """The task computes with so many images at once, and no more."""
    loss, validate = task.loss, task.validate

    def small_loss(self, forward, batch):
        value = loss(self, forward, batch)
        if len(batch) > images:
            raise error("CUDA out of memory. Tried to allocate")
        return value

    def small_validate(self, forward, batches):
        def checked():
            for batch in batches:
                if len(batch) > images:
                    raise error("CUDA out of memory. Tried to allocate")
                yield batch

        return validate(self, forward, checked())

    monkeypatch.setattr(task, "loss", small_loss)
    monkeypatch.setattr(task, "validate", small_validate)


def test_a_training_in_smaller_batches_is_the_same_training(tmp_path, monkeypatch, capsys):
    whole, _, history = fit(tmp_path, "whole")
    capsys.readouterr()
    memory_of(monkeypatch, RegressionTask, 3)
    parts, _, in_parts = fit(tmp_path, "parts")
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, parts.state_dict()[name], atol=TOL_WEIGHTS), name
    for key, value in history[-1].items():
        assert in_parts[-1][key] == pytest.approx(value, rel=1e-3, abs=1e-3), key
    said = [line for line in capsys.readouterr().err.splitlines() if "ran out of memory" in line]
    assert said == [
        f"planeloc: {what}: cpu ran out of memory; continuing with {n} images at a time"
        for what, n in (("training", 4), ("training", 2), ("validation", 6), ("validation", 3))
    ]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradients_of_the_parts_add_up(size):
    """In double precision, to rounding: the loss averages over windows, also count, background and drift."""
    task = RegressionTask(paper_psf(), SCENE, TINY)
    batch = task.draw(8, torch.Generator().manual_seed(4))
    maps = 0.3 * torch.randn(8, 19, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    maps.requires_grad_()

    def loss(part, own):
        truth = ground_truth(part, task.record.units)
        double = (value.double() if value.is_floating_point() else value for value in vars(truth).values())
        return regression_loss(own, type(truth)(*double), task.record.units.drift_sd_px)

    whole = loss(batch, maps)
    (expected,) = torch.autograd.grad(whole, maps)
    total, start, gradient = 0.0, 0, torch.zeros_like(maps)
    for part in AdaptiveBatch(size, CPU, "").split(batch):
        value = loss(part, maps[start : start + len(part)]) * (len(part) / len(batch))
        gradient += torch.autograd.grad(value, maps)[0]
        total, start = total + float(value.detach()), start + len(part)
    assert start == 8
    assert total == pytest.approx(float(whole.detach()), rel=1e-12)
    assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12)


def test_parts_of_validation_together_are_the_whole():
    task = RegressionTask(paper_psf(), SCENE, TINY)
    batch = task.draw(10, torch.Generator().manual_seed(4))
    network = task.record.build().eval()
    with torch.inference_mode():
        whole, parts = (task.validate(network, AdaptiveBatch(n, CPU, "").split(batch)) for n in (10, 4))
    assert parts == {key: pytest.approx(value, rel=TOL_LOSS) for key, value in whole.items()}


def test_a_batch_that_was_tried_leaves_no_trace_in_the_normalisation(tmp_path, monkeypatch):
    settings = replace(TINY, network="upsampling", samples=8, channels="8,8,8,8", validation=4)
    memory_of(monkeypatch, UpsamplingTask, 4)
    network, *_ = fit_network(paper_psf(), Scene(), None, tmp_path / "c.safetensors", settings)
    assert int(network.state_dict()["layers.2.num_batches_tracked"]) == 2


def test_one_image_that_is_too_large_ends_in_one_line(tmp_path, monkeypatch):
    memory_of(monkeypatch, RegressionTask, 0)
    with pytest.raises(PlanelocError, match="training: cpu has not enough memory for one image; give") as error:
        fit(tmp_path, "none")
    assert "\n" not in str(error.value)


def test_which_errors_mean_memory():
    assert out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(error.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(PlanelocError, match="drawing 5: not enough memory"), memory_for("drawing 5"):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shapes"), memory_for("drawing 5"):
        raise RuntimeError("shapes")


def test_molecules_drawn_some_at_a_time_are_the_same(monkeypatch):
    def draw():
        return draw_dense_scenes(paper_psf(), SCENE, 20, torch.Generator().manual_seed(3)).images

    whole = draw()
    monkeypatch.setattr(random_density, "_BYTES_AT_ONCE", 7 * 4 * 4 * 22**2)
    assert torch.equal(whole, draw())


@pytest.mark.parametrize("draw", [draw_dense_scenes, draw_batch])
def test_parts_of_a_batch(draw):
    batch = draw(paper_psf(), SCENE, 6, torch.Generator().manual_seed(3))
    parts = list(AdaptiveBatch(4, CPU, "").split(batch))
    assert [len(part) for part in parts] == [4, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert torch.equal(torch.cat([part.positions_nm for part in parts]), batch.positions_nm)
    if draw is draw_dense_scenes:
        assert torch.equal(torch.cat([parts[0].image, parts[1].image + 4]), batch.image)
    assert next(iter(AdaptiveBatch(6, CPU, "").split(batch))) is batch


def test_an_older_system_that_keeps_only_smaller_memory_is_asked_for_that(monkeypatch):
    asked = []

    def mallopt(parameter, value):
        asked.append((parameter, value))
        return int(parameter != memory._M_MMAP_THRESHOLD or value <= 32 << 20)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory()
    assert asked == [(-3, 64 << 20), (-3, 32 << 20), (-1, 256 << 20)]


_FREED_AND_TAKEN_AGAIN = """
import resource, sys
import torch
from planeloc.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(12):  # aligned memory fits into freed memory once some of it lies together
    torch.ones(40 << 18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(40 << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_is_used_again():
    """Each tensor of 40 MB has 10,240 pages."""
    faults = {}
    for kept in ("keep", "default"):
        command = [sys.executable, "-c", _FREED_AND_TAKEN_AGAIN, kept]
        faults[kept] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert faults["keep"] < 100 < 1000 < faults["default"]
