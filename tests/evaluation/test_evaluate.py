"""The protocol's counting rules, the figures of merit by hand, and what the stage writes."""

import json
import math

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.evaluation import metrics
from planeloc.evaluation.evaluate import evaluate, read_truth
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table
from planeloc.psf import paper_psf
from planeloc.psf.fisher_information import position_bound

METADATA = {
    "frames": 50,
    "width_px": 50,
    "height_px": 50,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
    "depth_range_nm": [-600.0, 600.0],
    "plane_depths_nm": [-300.0, 300.0],
}
SIZE_NM = (5000.0, 5000.0)
PROTOCOL = {"lateral_nm": 250.0, "axial_nm": 500.0, "border_nm": 450.0, "minimum_photons": 0.0}


def found(*positions, frame=0, sd=10.0) -> pd.DataFrame:
    rows = pd.DataFrame(np.array(positions, dtype=float).reshape(-1, 3), columns=["x", "y", "z"])
    return localization_table.empty().reindex(range(len(rows))).assign(
        **rows, frame=frame, x_sd=sd, y_sd=sd, z_sd=2 * sd, photons=1000.0, background=4.0, probability=0.9
    )  # fmt: skip


def molecules(*positions, frame=0, photons=1000.0) -> pd.DataFrame:
    rows = pd.DataFrame(np.array(positions, dtype=float).reshape(-1, 3), columns=["x", "y", "z"])
    return rows.assign(frame=frame, photons=photons)


def counts(table, truth, **changes) -> tuple[int, int, int]:
    values = metrics.scores(metrics.compare(table, truth, SIZE_NM, **{**PROTOCOL, **changes}))
    return values["true_positives"], values["false_positives"], values["false_negatives"]


def test_hits_misses_and_false_ones():
    table = found((1000, 1000, 0), (2000, 2000, 0))
    truth = molecules((1010, 1000, 0), (3000, 3000, 0))
    assert counts(table, truth) == (1, 1, 1)


@pytest.mark.parametrize(
    ("x_found", "x_true", "expected"),
    [
        (460, 440, (0, 0, 0)),  # localization just inside, its molecule just outside: neither right nor wrong
        (440, 460, (1, 0, 0)),  # localization just outside, its molecule just inside: found
        (460, 1000, (0, 1, 1)),  # inside and alone
        (440, 1000, (0, 0, 1)),  # outside and alone
        (1000, 440, (0, 1, 0)),  # a molecule outside is not missed
    ],
)
def test_the_border(x_found, x_true, expected):
    assert counts(found((x_found, 2000, 0)), molecules((x_true, 2000, 0))) == expected


def test_dim_molecules_do_not_count():
    table, truth = found((1000, 1000, 0)), molecules((1000, 1000, 0), (3000, 3000, 0), photons=[100.0, 2000.0])
    assert counts(table, truth) == (1, 0, 1)
    assert counts(table, truth, minimum_photons=500.0) == (0, 0, 1)


def test_figures_of_merit_by_hand():
    table = found((1003, 1004, 10), (2000, 2000, -30), (4000, 4000, 0))
    truth = molecules((1000, 1000, 0), (2000, 2000, 0), (3000, 3000, 0))
    values = metrics.scores(metrics.compare(table, truth, SIZE_NM, **PROTOCOL))
    lateral, axial = math.sqrt((9 + 16 + 0) / 2), math.sqrt((100 + 900) / 2)
    assert values["recall"] == values["precision"] == pytest.approx(2 / 3)
    assert values["jaccard"] == pytest.approx(1 / 2)
    assert values["rmse_lateral_nm"] == pytest.approx(lateral)
    assert values["rmse_axial_nm"] == pytest.approx(axial)
    assert values["efficiency_lateral"] == pytest.approx(100 - math.sqrt(50**2 + lateral**2))
    assert values["efficiency_axial"] == pytest.approx(100 - math.sqrt(50**2 + (0.5 * axial) ** 2))
    assert [values[f"bias_{axis}_nm"] for axis in "xyz"] == pytest.approx([1.5, 2.0, -10.0])
    assert values["pull_x"] == pytest.approx(math.sqrt(4.5) / 10)


def test_pulls_of_right_uncertainties_are_one():
    random = np.random.default_rng(0)
    truth = random.uniform((1000, 1000, -400), (4000, 4000, 400), (2000, 3))
    frames = np.arange(2000)
    table = found(*(truth + random.normal(0, (12, 12, 24), truth.shape)), frame=frames, sd=12.0)
    values = metrics.scores(metrics.compare(table, molecules(*truth, frame=frames), SIZE_NM, **PROTOCOL))
    assert values["recall"] == 1
    assert [values[f"pull_{axis}"] for axis in "xyz"] == pytest.approx([1, 1, 1], abs=0.06)


def test_voxel_errors_leave_out_where_in_the_voxel():
    comparison = metrics.compare(
        found((1001, 1001, 1), (2026, 2001, -1)), molecules((1024, 1024, 49), (2001, 2001, 1)), SIZE_NM, **PROTOCOL
    )
    values = metrics.voxel_scores(comparison, (25.0, 25.0, 50.0), -600.0)
    assert values == {"voxel_error_lateral_nm": 12.5, "voxel_error_axial_nm": 25.0}


def test_depth_bins():
    comparison = metrics.compare(
        found((1000, 1000, -100)), molecules((1000, 1000, -110), (1000, 3000, 50)), SIZE_NM, **PROTOCOL
    )
    low, high = metrics.by_depth(comparison, np.array([-600.0, 0.0, 600.0]))
    assert (low["molecules"], low["recall"], low["bias_z_nm"]) == (1, 1.0, pytest.approx(10))
    assert (high["molecules"], high["recall"]) == (1, 0.0)
    assert math.isnan(high["rmse_axial_nm"])


def test_truth_tables_of_two_kinds(tmp_path):
    (tmp_path / "a.csv").write_text("frame,x_nm,y_nm,z_nm,photons\n0,1.5,2,3,400\n")
    (tmp_path / "b.csv").write_text("Ground-truth,frame,xnano,ynano,znano,intensity \n1,1,1.5,2,3,400\n")
    pd.testing.assert_frame_equal(read_truth(tmp_path / "a.csv"), read_truth(tmp_path / "b.csv"), check_dtype=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame,x_nm,y_nm,photons\n0,1,2,3\n", "lacks the column z_nm"),
        ("frame,x_nm,y_nm,z_nm,photons\n0,1,2,,4\n", "row 1 of the truth table is not all numbers"),
        ("", "not a CSV table"),
        ("frame,x_nm,y_nm,z_nm,photons\n50,1,2,3,4\n", "do not fit a movie of 50 frames"),
    ],
)
def test_wrong_truth_tables_are_named(tmp_path, content, message):
    (tmp_path / "truth.csv").write_text(content)
    localization_table.write(tmp_path / "t.h5", found((1000, 1000, 0)), METADATA)
    with pytest.raises(PlanelocError, match=rf"truth\.csv.*{message}"):
        evaluate(tmp_path / "t.h5", tmp_path / "truth.csv", tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    assert not (tmp_path / "m.json").exists()
    assert not (tmp_path / "m.png").exists()


def test_a_border_that_leaves_nothing(tmp_path):
    localization_table.write(tmp_path / "t.h5", found((1000, 1000, 0)), METADATA)
    with pytest.raises(PlanelocError, match="set border_nm of evaluate lower"):
        evaluate(
            tmp_path / "t.h5", tmp_path / "x.csv", tmp_path / "m.json", tmp_path / "m.png",
            EvaluateSettings(border_nm=2500),
        )  # fmt: skip


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
    assert values["pull_x"] is None
    assert values["photons_median"] is None


def test_errors_as_large_as_the_bound_are_one_times_the_bound():
    """Errors are drawn with the deviations that the image allows, from dim and bright molecules at all depths."""
    random, psf, noise = np.random.default_rng(0), paper_psf(), PixelNoise.of([Camera(read_noise_electrons=2.0)] * 4)
    position = np.column_stack((random.uniform(1000, 4000, (2000, 2)), random.uniform(-600, 600, 2000)))
    photons = random.uniform(500, 5000, 2000)
    limit = position_bound(psf, noise, position, photons, np.full(2000, 4.0))
    assert (np.diff(limit[np.argsort(photons)][[0, -1], 0]) < 0).all()
    table = found(*(position + limit * random.normal(size=limit.shape)), frame=np.arange(2000))
    truth = molecules(*position, frame=np.arange(2000), photons=photons)
    comparison = metrics.compare(table, truth, SIZE_NM, **PROTOCOL)
    values = metrics.bound_scores(comparison, limit)
    assert values["rmse_lateral_over_bound"] == pytest.approx(1, abs=0.05)
    assert values["rmse_axial_over_bound"] == pytest.approx(1, abs=0.05)
    doubled = metrics.bound_scores(comparison, limit / 2)
    assert doubled["rmse_lateral_over_bound"] == pytest.approx(2, abs=0.1)
