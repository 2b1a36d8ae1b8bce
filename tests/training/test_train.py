"""Training: resumes exactly, adopts what fits, says why not."""

import json
import math
from dataclasses import replace

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.weight_files import load_network
from planeloc.psf import paper_psf, write_psf
from planeloc.scenes.scene import Scene
from planeloc.training import loop
from planeloc.training.loop import fit_network
from planeloc.training.train import train
from planeloc.training.upsampling_task import UpsamplingTask
from support.trainings import TINY_UPSAMPLING, outputs


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    psf, scene = paper_psf(), Scene()
    whole, _, history = fit_network(psf, scene, None, tmp_path / "a.checkpoint.safetensors", TINY_UPSAMPLING)

    class StoppedError(Exception):
        pass

    monkeypatch.setattr(loop.time, "monotonic", iter(range(0, 10_000, 1000)).__next__)  # checkpoint at every step
    draw = UpsamplingTask.draw
    calls = []

    def draw_until_interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise StoppedError
        return draw(*arguments)

    monkeypatch.setattr(UpsamplingTask, "draw", draw_until_interrupted)
    checkpoint = tmp_path / "b.checkpoint.safetensors"
    with pytest.raises(StoppedError):
        fit_network(psf, scene, None, checkpoint, TINY_UPSAMPLING)
    monkeypatch.undo()
    assert checkpoint.is_file()
    resumed, _, resumed_history = fit_network(psf, scene, None, checkpoint, TINY_UPSAMPLING)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [h["validation_loss"] for h in history] == [h["validation_loss"] for h in resumed_history]


def test_training_learns(tmp_path):
    """A guess that knows only the density has a loss of 3 (1 + ln(524288/3)) = 39; a few hundred images beat it."""
    settings = replace(TINY_UPSAMPLING, samples=800, channels="16,16,8,8", learning_rate=1e-2, patience=0)
    _, _, history = fit_network(paper_psf(), Scene(), None, tmp_path / "c.safetensors", settings)
    ignorant = 3 * (1 + math.log(524288 / 3))
    assert history[-1]["validation_loss"] < 0.9 * ignorant


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Weights for the paper's microscope, hardly trained."""
    folder = tmp_path_factory.mktemp("shipped")
    train(None, None, [], None, *outputs(folder), TINY_UPSAMPLING)
    return folder / "weights.safetensors"


def psf_file(folder, **changes):
    write_psf(folder / "psf.h5", replace(paper_psf(), **changes))
    return folder / "psf.h5"


def test_weights_that_fit_are_adopted(shipped, tmp_path):
    psf = psf_file(tmp_path, waist_nm=134.0, plane_depths_nm=(-597.0, -201.0, 197.0, 601.0))
    result = train(psf, None, [], shipped, *outputs(tmp_path), TINY_UPSAMPLING)
    assert result["decision"] == "adopted"
    assert (tmp_path / "weights.safetensors").read_bytes() == shipped.read_bytes()
    assert json.loads((tmp_path / "training.json").read_text())["decision"] == "adopted"


def test_weights_for_another_psf_stop_or_train(shipped, tmp_path, capsys):
    psf = psf_file(tmp_path, waist_nm=180.0)
    with pytest.raises(PlanelocError, match="depths on this microscope would be wrong by up to"):
        train(psf, None, [], shipped, *outputs(tmp_path), replace(TINY_UPSAMPLING, on_mismatch="stop"))
    assert not (tmp_path / "weights.safetensors").exists()
    result = train(psf, None, [], shipped, *outputs(tmp_path), TINY_UPSAMPLING)
    assert result["decision"] == "trained"
    assert "does not fit this microscope" in capsys.readouterr().err
    assert load_network(tmp_path / "weights.safetensors")[1].psf.waist_nm == 180.0


def test_another_number_of_planes_trains(shipped, tmp_path):
    psf = psf_file(tmp_path, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5))
    result = train(psf, None, [], shipped, *outputs(tmp_path), TINY_UPSAMPLING)
    assert "made for 4 planes and the microscope has 2" in result["reasons"][0]
    network, record = load_network(tmp_path / "weights.safetensors")
    assert record.scene.depth_range_nm == (-400.0, 400.0)
    assert network(torch.zeros(1, 2, 16, 16)).shape == (1, 16, 128, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": "8,8"}, "setting channels"),
        ({"channels": "8,x,8,8"}, "setting channels"),
        ({"upsampling": 6}, "power of 2"),
        ({"photons": "many"}, "neither auto nor an interval"),
    ],
)
def test_bad_settings_are_named(tmp_path, change, message):
    with pytest.raises(PlanelocError, match=message):
        train(None, None, [], None, *outputs(tmp_path), replace(TINY_UPSAMPLING, **change))
    assert not list(tmp_path.glob("weights*"))
