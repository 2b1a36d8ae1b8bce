"""Statistics of every camera, and warnings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.conversions import AS_NOISY, NAMES, Folder, counts, microscope


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, counts())


def test_a_healthy_movie_gets_statistics_and_no_warning(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    movie = folder.convert(microscope(**AS_NOISY), chunk_frames=5)
    assert movie.content["warnings"] == []
    assert "warning" not in capsys.readouterr().err
    for plane, values in enumerate(movie.content["statistics"]):
        camera = counts()[:, plane]
        assert values["camera"] == NAMES[plane]
        assert (values["lowest_counts"], values["highest_counts"]) == (camera.min(), camera.max())
        assert values["mean_counts"] == pytest.approx(camera.mean(), abs=1e-3)
        assert values["saturated_fraction"] == 0


def test_cameras_that_saturate_drop_out_or_are_described_wrongly_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = counts(20, 3)
    frames[3, 0, :2, :5] = 4095
    frames[[7, 8, 15], 1] = 100
    frames[:, 2] -= 60
    folder = Folder(tmp_path, frames)
    movie = folder.convert(microscope(3, saturation_counts=4095, **AS_NOISY), chunk_frames=6)
    saturated, dropped, dark, *of_its_noise = movie.content["warnings"]
    assert "left" in saturated and "0.198 %" in saturated
    assert movie.content["statistics"][0]["saturated_fraction"] == pytest.approx(10 / (20 * 14 * 18))
    assert "right: 3 frame(s)" in dropped and "first is frame 7" in dropped
    assert "third" in dark and "correct offset_counts" in dark
    verdicts = {check["name"]: check["verdict"] for check in json.loads(folder.quality.read_text())["checks"]}
    assert verdicts["camera_0_saturated_fraction"] == verdicts["camera_2_below_offset_counts"] == "warn"
    printed = capsys.readouterr().err
    assert all("third" in warning for warning in of_its_noise)
    assert printed.count("planeloc: warning:") == len(movie.content["warnings"])
