"""What the stage writes, with and without ground truth."""

import dataclasses
import json
import math

import matplotlib.image
import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table
from support.evaluated_tables import METADATA, found, molecules


def test_a_border_that_leaves_nothing(tmp_path):
    localization_table.write(tmp_path / "t.h5", found((1000, 1000, 0)), METADATA)
    with pytest.raises(PlanelocError, match="reduce evaluate: border_nm"):
        evaluate(
            tmp_path / "t.h5", tmp_path / "x.csv", tmp_path / "m.json", tmp_path / "m.png",
            EvaluateSettings(border_nm=2500),
        )  # fmt: skip


_THRESHOLDS = {field.name for field in dataclasses.fields(EvaluateSettings) if field.metadata["group"]}


def example(folder, rows=400, noise=(10.0, 10.0, 25.0)):
    random = np.random.default_rng(3)
    position = random.uniform((0, 0, -500), (5000, 5000, 500), (rows, 3))
    frame = np.sort(random.integers(0, 50, rows))
    truth = molecules(*position, frame=frame, photons=random.uniform(500, 5000, rows))
    seen = random.random(rows) < 0.9
    table = found(*(position + random.normal(0, noise, position.shape))[seen], frame=frame[seen])
    localization_table.write(folder / "t.h5", table, METADATA)
    names = {"x": "x_nm", "y": "y_nm", "z": "z_nm"}
    truth.rename(columns=names)[["frame", *names.values(), "photons"]].to_csv(folder / "truth.csv", index=False)


def test_the_stage_with_truth(tmp_path):
    example(tmp_path)
    told = evaluate(
        tmp_path / "t.h5", tmp_path / "truth.csv", tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings()
    )
    content = json.loads((tmp_path / "m.json").read_text())
    values = content["values"]
    assert values["recall"] == pytest.approx(0.9, abs=0.05)
    assert values["rmse_lateral_nm"] == pytest.approx(math.sqrt(2) * 10, rel=0.1)
    assert values["rmse_axial_nm"] == pytest.approx(25, rel=0.1)
    assert {check["verdict"] for check in content["checks"]} == {"pass"}
    assert len(content["by_depth"]) == 8
    assert all(word in told for word in ("recall", "precision", "Jaccard", "RMSE lateral", "axial"))
    assert matplotlib.image.imread(tmp_path / "m.png").shape[1] > 1500


@pytest.mark.parametrize("with_truth", [True, False])
def test_frames_that_are_left_out_are_no_frames_at_all(tmp_path, with_truth):
    """Their molecules are not missed, and they are not empty."""
    example(tmp_path)
    table, metadata = localization_table.read(tmp_path / "t.h5")
    kept = table[(table["frame"] < 10) | (table["frame"] >= 40)]
    truth = tmp_path / "truth.csv" if with_truth else None

    def values(metadata):
        localization_table.write(tmp_path / "t.h5", kept, metadata)
        evaluate(tmp_path / "t.h5", truth, tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
        return json.loads((tmp_path / "m.json").read_text())["values"]

    missed, left_out = values(metadata), values(metadata | {"frames_left_out": [[10, 40]]})
    assert (missed["frames"], left_out["frames"]) == (50, 20)
    assert missed["empty_frames_fraction"] == pytest.approx(0.6) and left_out["empty_frames_fraction"] == 0
    assert left_out["localizations_per_frame"] == pytest.approx(2.5 * missed["localizations_per_frame"])
    if with_truth:
        assert missed["recall"] < 0.5
        assert left_out["recall"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("corrected", [False, True])
def test_ground_truth_beside_a_table_without_drift_warns(tmp_path, caplog, corrected):
    example(tmp_path)
    table, metadata = localization_table.read(tmp_path / "t.h5")
    localization_table.write(tmp_path / "t.h5", table, metadata | {"sample_drift": {"corrected": corrected}})
    evaluate(tmp_path / "t.h5", tmp_path / "truth.csv", tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    assert ("correct_drift: mode: never" in caplog.text) == corrected


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"recall_warn": 0.95}, "recall", "warn"),
        ({"recall_fail": 0.95}, "recall", "fail"),
        ({"precision_warn": 1.0, "border_nm": 0.0, "lateral_nm": 20.0}, "precision", "warn"),
        ({"precision_fail": 1.0, "border_nm": 0.0, "lateral_nm": 20.0}, "precision", "fail"),
        ({"rmse_lateral_warn_nm": 10.0}, "rmse_lateral_nm", "warn"),
        ({"rmse_lateral_fail_nm": 10.0}, "rmse_lateral_nm", "fail"),
        ({"rmse_axial_warn_nm": 20.0}, "rmse_axial_nm", "warn"),
        ({"rmse_axial_fail_nm": 20.0}, "rmse_axial_nm", "fail"),
        ({"bias_lateral_warn_nm": 0.0}, "bias_x_nm", "warn"),
        ({"bias_lateral_warn_nm": 0.0}, "bias_y_nm", "warn"),
        ({"bias_axial_warn_nm": 0.0}, "bias_z_nm", "warn"),
        ({"localizations_warn": 1000}, "localizations", "warn"),
        ({"localizations_fail": 1000}, "localizations", "fail"),
        ({"depth_ends_warn": 0.0}, "depth_ends_fraction", "warn"),
        ({"empty_frames_warn": 0.0}, "empty_frames_fraction", "warn"),
    ],
)
def test_a_changed_threshold_changes_the_verdict(tmp_path, changed, name, verdict):
    example(tmp_path)
    table, metadata = localization_table.read(tmp_path / "t.h5")
    localization_table.write(tmp_path / "t.h5", table[table["frame"] > 0], metadata)  # one frame is empty
    paths = (tmp_path / "t.h5", tmp_path / "truth.csv", tmp_path / "m.json", tmp_path / "m.png")
    others = {key: value for key, value in changed.items() if key not in _THRESHOLDS}
    for settings, expected in ((others, "pass"), (changed, verdict)):
        evaluate(*paths, EvaluateSettings(**settings))
        verdicts = {check["name"]: check["verdict"] for check in json.loads(paths[2].read_text())["checks"]}
        assert verdicts[name] == expected


def test_the_stage_without_truth(tmp_path):
    example(tmp_path)
    told = evaluate(tmp_path / "t.h5", None, tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    content = json.loads((tmp_path / "m.json").read_text())
    assert "recall" not in content["values"]
    assert content["values"]["localizations_per_frame"] == pytest.approx(7.2, abs=0.5)
    assert "localizations in 50 frames" in told


@pytest.mark.parametrize("with_truth", [False, True])
def test_an_empty_table_fails_with_a_verdict_not_with_an_error(tmp_path, with_truth):
    example(tmp_path)
    localization_table.write(tmp_path / "t.h5", localization_table.empty(), METADATA)
    truth = tmp_path / "truth.csv" if with_truth else None
    evaluate(tmp_path / "t.h5", truth, tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    verdicts = {check["name"]: check["verdict"] for check in json.loads((tmp_path / "m.json").read_text())["checks"]}
    assert verdicts["localizations"] == "fail"


def test_unknown_standard_deviations_and_photons(tmp_path):
    example(tmp_path)
    table, metadata = localization_table.read(tmp_path / "t.h5")
    unknown = dict.fromkeys(("x_sd", "y_sd", "z_sd", "photons", "background", "probability"), np.nan)
    localization_table.write(tmp_path / "t.h5", table.assign(**unknown), metadata)
    for truth in (None, tmp_path / "truth.csv"):
        evaluate(tmp_path / "t.h5", truth, tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    values = json.loads((tmp_path / "m.json").read_text())["values"]
    assert values["normalised_error_x"] is None
    assert values["photons_median"] is None
