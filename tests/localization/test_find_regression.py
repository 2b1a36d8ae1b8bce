"""Localization by the regression network, with the shipped weights."""

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.localization import find_regression
from planeloc.localization.find_regression import RegressionFinder
from planeloc.localization.localize_frames import localize_frames
from planeloc.scenes.truth_matching import Points, match
from support.movies import SIDE, draw_emitters, localizer_of, run, write_files

REGRESSION = "regression.safetensors"
FRAMES = 22


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("movie"))


@pytest.fixture(scope="module")
def whole(files):
    run(files, files / "whole.h5", weights=REGRESSION)
    return files / "whole.h5"


@pytest.mark.parametrize("settings", [{"block_frames": 7, "workers": 2}, {"block_frames": 40}])
def test_same_bytes_for_any_blocks_and_workers(files, whole, tmp_path, settings):
    run(files, tmp_path / "other.h5", weights=REGRESSION, **settings)
    assert whole.read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_looking_only_where_there_is_light_finds_the_same(files, whole, tmp_path):
    run(files, tmp_path / "dense.h5", weights=REGRESSION, mode="dense")
    tables = [localization_table.read(path)[0] for path in (whole, tmp_path / "dense.h5")]
    assert len(tables[0]) == len(tables[1]) > 40
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("out of memory")])
def test_memory_of_the_device_runs_out(files, monkeypatch, capsys, error):
    """The frames at once are halved until they fit, and stay so; those that were found are not computed again."""
    table = localize_frames(localizer_of(files, weights=REGRESSION, threshold=0.3), 0, FRAMES)
    monkeypatch.setattr(find_regression, "_PIXELS_AT_ONCE_CPU", 20 * SIDE**2)
    real, tried = RegressionFinder._output, []

    def small(self, frames, marks):
        tried.append(len(frames))
        if len(frames) > 3:
            raise error
        return real(self, frames, marks)

    monkeypatch.setattr(RegressionFinder, "_output", small)
    found = localizer_of(files, weights=REGRESSION, threshold=0.3)
    columns = localize_frames(found, 0, FRAMES)
    assert len(table["x"]) == len(columns["x"])
    for name in ("frame", "x", "y", "z", "photons"):
        np.testing.assert_allclose(columns[name], table[name], rtol=1e-4, atol=1e-3)
    assert tried == [20, 10, 5, *[3] * 6, 2, 2]
    assert "localizing: cpu ran out of memory; continuing with 3 images at a time" in capsys.readouterr().err

    monkeypatch.setattr(RegressionFinder, "_output", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(PlanelocError, match="localizing: cpu has not enough memory for one image; record a smaller"):
        localize_frames(found, 0, 1)


def test_molecules_are_found_where_they_are(whole):
    """On another forward model (pixels integrate, another width), with a mirrored camera: 22 frames of 3 molecules."""
    table, _ = localization_table.read(whole)
    found = table[table.probability > 0.5].reset_index(drop=True)
    frame, x, y, z, photons = draw_emitters(FRAMES, 3).T
    truth = Points(frame.astype(int), np.column_stack((x, y, z)))
    pairs = match(Points(found.frame.to_numpy(), found[["x", "y", "z"]].to_numpy()), truth, 250.0, 500.0)
    assert len(pairs) > 0.9 * len(truth) and len(found) < 1.1 * len(truth)
    errors = found[["x", "y", "z"]].to_numpy()[pairs.found] - truth.position_nm[pairs.truth]
    lateral, axial = np.sqrt((errors[:, :2] ** 2).sum(axis=1).mean()), np.sqrt((errors[:, 2] ** 2).mean())
    assert lateral < 30 and axial < 60
    ratio = found.photons.to_numpy()[pairs.found] / photons[pairs.truth]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    assert found.background.median() == pytest.approx(4.0, abs=1.0)


def test_every_column_is_known(whole):
    table, metadata = localization_table.read(whole)
    assert np.isfinite(table.to_numpy()).all() and isinstance(table, pd.DataFrame)
    assert (table[["x_sd", "y_sd", "z_sd"]] > 0).all(axis=None)
    assert metadata["threshold"] == 0.3


def test_a_threshold_that_takes_all_noise_is_refused(files, tmp_path):
    with pytest.raises(
        PlanelocError, match=r"setting threshold: 5e-05 is below its minimum of 0\.0001 \(or give 0\)$"
    ) as error:
        run(files, tmp_path / "none.h5", weights=REGRESSION, threshold=0.00005)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
