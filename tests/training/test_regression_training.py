"""Training of the regression network: learns, resumes exactly, stops where it must, is no start for another kind."""

import json
from dataclasses import replace

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.weight_files import load_network
from planeloc.psf import paper_psf, write_psf
from planeloc.scenes.scene import Scene
from planeloc.training import accuracy_table, loop
from planeloc.training import train as train_module
from planeloc.training.loop import fit_network
from planeloc.training.regression_task import RegressionTask
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train
from support.repository import REGRESSION_WEIGHTS
from support.trainings import TINY_REGRESSION, outputs

SCENE = Scene(window_px=16, density=(0.002, 0.01), background_error=0.1)


def fit(folder, settings=TINY_REGRESSION, name="a"):
    return fit_network(paper_psf(), SCENE, None, folder / f"{name}.checkpoint.safetensors", settings)


class StoppedError(Exception):
    pass


def stop_at(monkeypatch, task, call):
    """The task's `call`th batch is not drawn any more."""
    draw, calls = task.draw, []

    def draw_until_interrupted(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise StoppedError
        return draw(*arguments)

    monkeypatch.setattr(task, "draw", draw_until_interrupted)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole, _, history = fit(tmp_path)
    monkeypatch.setattr(loop.time, "monotonic", iter(range(0, 10_000, 1000)).__next__)  # checkpoint at every step
    stop_at(monkeypatch, RegressionTask, 6)
    with pytest.raises(StoppedError):
        fit(tmp_path, name="b")
    monkeypatch.undo()
    resumed, _, resumed_history = fit(tmp_path, name="b")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [h["validation_loss"] for h in history] == [h["validation_loss"] for h in resumed_history]


@pytest.mark.parametrize(("fewest", "known"), [(1, True), (100_000, False)])
def test_the_weights_know_the_calibration_of_their_deviations(tmp_path, monkeypatch, capsys, fewest, known):
    monkeypatch.setattr(accuracy_table, "_FEWEST_DETECTIONS", fewest)
    light = {"photons": "250-15000", "background": "2-10", "learning_rate": 1e-6}  # not what the weights are made for
    settings = TrainSettings(network="regression", samples=8, validation=8, device="cpu", **light)
    train(None, None, [], REGRESSION_WEIGHTS, *outputs(tmp_path), settings)
    _, record = load_network(tmp_path / "weights.safetensors")
    told = capsys.readouterr().err
    assert (
        "planeloc: training for 4 planes, 250 to 15000 photons on a background of 2 to 10, the paper's cameras" in told
    )
    assert ("deviations are not calibrated" in told) != known
    assert (record.deviation_factors is not None) == known
    if known:
        assert record.units.deviation_factors == pytest.approx((1.0, 1.0), abs=0.5)


@pytest.mark.parametrize(("planes", "begins"), [(4, "with these weights"), (3, "from the beginning")])
def test_weights_of_other_planes_are_nothing_to_begin_with(shipped, tmp_path, monkeypatch, capsys, planes, begins):
    started = {}

    def stop(_psf, _scene, start, *_):
        started["with"] = start
        raise StoppedError

    monkeypatch.setattr(train_module, "fit_network", stop)
    psf = replace(
        paper_psf(), plane_depths_nm=(-500.0, -100.0, 300.0, 700.0)[:planes], brightness=(1 / planes,) * planes
    )
    write_psf(tmp_path / "psf.h5", psf)
    with pytest.raises(StoppedError):
        train(tmp_path / "psf.h5", None, [], shipped, *outputs(tmp_path), TINY_REGRESSION)
    assert begins in capsys.readouterr().err
    assert (started["with"] is not None) == (planes == 4)


def test_training_learns_to_find_and_to_place(tmp_path):
    settings = replace(TINY_REGRESSION, samples=1600, channels="16,16,16", validate_every=800, learning_rate=3e-3)
    _, _, history = fit(tmp_path, settings)
    assert history[-1]["jaccard"] > 0.2  # after some seconds
    assert history[-1]["lateral_nm"] < 120


def test_a_loss_that_is_not_finite_ends_in_one_line_and_keeps_the_weights(tmp_path, monkeypatch):
    loss = RegressionTask.loss
    calls = []

    def diverging(self, forward, batch):
        calls.append(1)
        return loss(self, forward, batch) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(RegressionTask, "loss", diverging)
    with pytest.raises(PlanelocError) as error:
        train(None, None, [], None, *outputs(tmp_path), TINY_REGRESSION)
    assert "not finite at step 4" in str(error.value) and "\n" not in str(error.value)
    kept, _ = load_network(tmp_path / "weights.last_good.safetensors")
    assert str(tmp_path / "weights.last_good.safetensors") in str(error.value)
    assert all(torch.isfinite(tensor).all() for tensor in kept.state_dict().values())
    assert not (tmp_path / "weights.safetensors").exists()


def test_training_stops_when_validation_gets_no_better(tmp_path, monkeypatch, capsys):
    losses = iter([5.0, 3.0, 4.0, 3.5, 1.0])
    states = []

    def validate(self, forward, batch):
        states.append({n: t.clone() for n, t in forward.__closure__[0].cell_contents.state_dict().items()})
        return {"validation_loss": next(losses), "lateral_nm": 1.0, "axial_nm": 1.0}

    monkeypatch.setattr(RegressionTask, "validate", validate)
    network, _, history = fit(tmp_path, replace(TINY_REGRESSION, samples=1000, patience=2))
    assert [h["validation_loss"] for h in history] == [5.0, 3.0, 4.0, 3.5]
    said = capsys.readouterr().err
    assert (
        "stopped early" in said
        and "stopped after 64 of 1000 images, when the learning rate was 99% of its initial value" in said
    )
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, states[1][name]), name


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    train(None, None, [], None, *outputs(folder), TINY_REGRESSION)
    return folder / "weights.safetensors"


def test_the_record_says_what_it_is(shipped):
    record = json.loads(shipped.with_name("training.json").read_text())
    assert record["network"]["kind"] == "regression"
    assert record["history"][-1].keys() >= {"jaccard", "lateral_nm", "axial_nm", "inter_camera_drift_nm"}
    assert len(record["accuracy_table"]) == 16 and sum(row["molecules"] for row in record["accuracy_table"]) > 10
    assert shipped.with_name("curves.png").stat().st_size > 10_000


def test_weights_of_the_other_kind_are_not_adopted(shipped, tmp_path):
    voxels = TrainSettings(network="upsampling", samples=16, batch=8, channels="8,8,8,8", validation=8, device="cpu")
    adopted = train(None, None, [], shipped, *outputs(tmp_path), TINY_REGRESSION)
    assert adopted["decision"] == "adopted"
    result = train(None, None, [], shipped, *outputs(tmp_path), voxels)
    assert result["decision"] == "trained" and "kind regression" in result["reasons"][0]
    assert load_network(tmp_path / "weights.safetensors")[1].kind == "upsampling"


def test_each_kind_has_its_own_defaults():
    assert TrainSettings(network="upsampling").resolved().samples == 40_000
    regression = TrainSettings(batch=3).resolved()
    assert (regression.samples, regression.batch, regression.channels) == (200_000, 3, "24,48,64")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": "8,8"}, "setting channels"),
        ({"density": "crowded"}, "setting density: .* such as"),
        ({"density": "1-100"}, "setting density: .* smaller"),
        ({"window_px": 18}, None),
    ],
)
def test_settings(tmp_path, change, message):
    if message is None:
        assert (
            train(None, None, [], None, *outputs(tmp_path), replace(TINY_REGRESSION, **change))["decision"] == "trained"
        )
        return
    with pytest.raises(PlanelocError, match=message):
        train(None, None, [], None, *outputs(tmp_path), replace(TINY_REGRESSION, **change))
    assert not list(tmp_path.glob("weights*"))
