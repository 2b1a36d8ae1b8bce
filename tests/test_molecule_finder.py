"""Localization by the regression network, with the shipped weights."""

import numpy as np
import pandas as pd
import pytest
from test_localization import draw_emitters, run, write_files

from planeloc import localizations
from planeloc.matching import Points, match

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
    tables = [localizations.read(path)[0] for path in (whole, tmp_path / "dense.h5")]
    assert len(tables[0]) == len(tables[1]) > 40
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-4, atol=1e-3)


def test_molecules_are_found_where_they_are(whole):
    """On another forward model (pixels integrate, another width), with a mirrored camera: 22 frames of 3 molecules."""
    table, _ = localizations.read(whole)
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
    table, metadata = localizations.read(whole)
    assert np.isfinite(table.to_numpy()).all() and isinstance(table, pd.DataFrame)
    assert (table[["x_sd", "y_sd", "z_sd"]] > 0).all(axis=None)
    assert metadata["threshold"] == 0.3
