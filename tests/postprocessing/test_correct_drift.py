"""The stage: what it writes, and that the table stays as it is where nothing can be told."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.postprocessing import correct_drift as stage
from planeloc.postprocessing.correct_drift import correct_drift
from planeloc.postprocessing.drift_refinement import Trajectory
from planeloc.postprocessing.sample_drift import SampleDrift
from planeloc.postprocessing.settings import CorrectDriftSettings
from support.drifting_tables import drifting_table

FRAMES = 400
METADATA = {"frames": FRAMES, "width_px": 160, "height_px": 160, "pixel_size_nm": 192.0, "sample": "test"}
FILES = ("output", "trajectory", "figure", "quality")


@pytest.fixture
def files(tmp_path):
    made = drifting_table("filaments", "linear", 3000, frames=FRAMES)
    localization_table.write(tmp_path / "table.h5", made.table, METADATA)
    return {"localizations_file": tmp_path / "table.h5"} | {name: tmp_path / f"{name}.png" for name in FILES}


def found_drift(significance: float) -> SampleDrift:
    drift = np.linspace(-50, 50, FRAMES)[:, None] * [1.0, -2.0, 0.5]
    known = Trajectory(drift, np.full((FRAMES, 3), 3.0))
    return SampleDrift(known, (known, known), np.ones(3), significance, 20.0, 0.5, 1000)


def run(files, monkeypatch, significance: float = 10.0, **settings) -> tuple[pd.DataFrame, pd.DataFrame, dict, dict]:
    """Tables before and after, metadata and quality values of a run that finds a given drift."""
    monkeypatch.setattr(stage, "sample_drift", lambda *given: found_drift(significance))
    correct_drift(**files, settings=CorrectDriftSettings(**settings))
    before, _ = localization_table.read(files["localizations_file"])
    after, metadata = localization_table.read(files["output"])
    return before, after, metadata, json.loads(files["quality"].read_text())


def test_drift_is_subtracted_and_its_uncertainty_added(files, monkeypatch) -> None:
    before, after, metadata, quality = run(files, monkeypatch)
    drift = found_drift(1).trajectory.drift_nm[before["frame"]]
    for number, axis in enumerate("xyz"):
        assert np.allclose(before[axis] - after[axis], drift[:, number], atol=0.01)
        assert np.allclose(after[f"{axis}_sd"] ** 2, before[f"{axis}_sd"] ** 2 + 9, rtol=1e-4)
    assert before[["frame", "photons"]].equals(after[["frame", "photons"]])
    assert metadata["sample_drift"]["corrected"] is True and metadata["sample"] == "test"
    written = pd.read_csv(files["trajectory"])
    assert list(written) == ["frame", "x_nm", "y_nm", "z_nm", "x_sd_nm", "y_sd_nm", "z_sd_nm"]
    assert np.allclose(written[["x_nm", "y_nm", "z_nm"]], found_drift(1).trajectory.drift_nm, atol=1e-3)
    assert quality["values"]["sample_drift_range_y_nm"] == 200
    assert {check["verdict"] for check in quality["checks"]} == {"pass"}
    assert files["figure"].stat().st_size > 10_000


@pytest.mark.parametrize(("significance", "settings"), [(1.0, {}), (10.0, {"mode": "never"})])
def test_otherwise_the_table_stays_as_it_is(files, monkeypatch, significance: float, settings: dict) -> None:
    before, after, metadata, quality = run(files, monkeypatch, significance, **settings)
    pd.testing.assert_frame_equal(before, after)
    assert metadata["sample_drift"]["corrected"] is False
    assert not pd.read_csv(files["trajectory"]).drop(columns="frame").to_numpy().any()
    assert quality["values"]["sample_drift_corrected"] == 0
    assert "sample_drift_range_x_nm" not in quality["values"]


@pytest.mark.parametrize("settings", [{}, {"mode": "never"}])
def test_a_corrected_table_in_which_no_more_is_found_stays_corrected(files, monkeypatch, settings: dict) -> None:
    run(files, monkeypatch)
    files["output"].replace(files["localizations_file"])
    _, _, metadata, quality = run(files, monkeypatch, 1.0, **settings)
    assert metadata["sample_drift"]["corrected"] is True and quality["values"]["sample_drift_corrected"] == 0


@pytest.mark.parametrize(("size", "verdict"), [(0.05, "pass"), (1.0, "warn")])
def test_a_drift_that_is_not_beyond_doubt_warns(files, monkeypatch, size: float, verdict: str) -> None:
    found = found_drift(2.0)
    small = replace(found, trajectory=replace(found.trajectory, drift_nm=size * found.trajectory.drift_nm))
    monkeypatch.setattr(stage, "sample_drift", lambda *given: small)
    assert not correct_drift(**files, settings=CorrectDriftSettings())["corrected"]
    checks = {check["name"]: check["verdict"] for check in json.loads(files["quality"].read_text())["checks"]}
    assert checks == {"sample_drift_detectability": "pass", "unconfirmed_drift": verdict}


def test_improbable_rows_do_not_count_and_unknown_precisions_are_filled(files, monkeypatch) -> None:
    given = {}

    def keep(frame, position, sd, frames):
        given.update(frame=frame, sd=sd)
        return found_drift(0)

    monkeypatch.setattr(stage, "sample_drift", keep)
    table, metadata = localization_table.read(files["localizations_file"])
    table.loc[0, "probability"], table.loc[1, "z_sd"], table.loc[2, "probability"] = 0.1, np.nan, np.nan
    localization_table.write(files["localizations_file"], table, metadata)
    correct_drift(**files, settings=CorrectDriftSettings())
    assert len(given["frame"]) == len(table) - 1
    assert given["sd"][0, 2] == 40 and np.isfinite(given["sd"]).all()


def test_frames_outside_the_movie_are_refused(files) -> None:
    table, metadata = localization_table.read(files["localizations_file"])
    localization_table.write(files["localizations_file"], table, metadata | {"frames": 10})
    with pytest.raises(PlanelocError, match="do not fit a movie of 10 frames"):
        correct_drift(**files, settings=CorrectDriftSettings())


def test_an_empty_table_is_written_as_it_is(files) -> None:
    localization_table.write(files["localizations_file"], localization_table.empty(), METADATA)
    correct_drift(**files, settings=CorrectDriftSettings())
    assert len(localization_table.read(files["output"])[0]) == 0
    (check,) = json.loads(files["quality"].read_text())["checks"]
    assert check["verdict"] == "warn"
