"""Refinement of detections: saturation, and localizations of a movie."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.fitting.windows import MoleculeWindows
from planeloc.io import localization_table
from planeloc.localization import refine as refine_module
from planeloc.localization.detections import Detections
from planeloc.localization.localize_frames import localize_frames
from planeloc.scenes.truth_matching import Points, match
from support.molecule_frames import PIXEL
from support.movies import FRAMES_OF_FILES, draw_emitters, localizer_of, run, write_files
from support.repository import REGRESSION_WEIGHTS

WEIGHTS = ("quadplane.safetensors", "regression.safetensors")


def test_saturated_counts_reach_the_ceiling():
    """Photons of saturated counts, rounded as the localizer rounds them; one count less does not saturate."""
    for saturation in (16383.0, 70000.0):
        camera = Camera("a", 100.0, 4.9, 200.0, 0.9, 30.0, saturation)
        top = int(min(saturation, 65535))
        level = torch.linspace(0.0, 40.0, 1001)
        ceiling = torch.tensor(camera.saturated_photons)
        full, below = (torch.tensor(camera.photons(np.uint16(c))) - level + level for c in (top, top - 1))
        assert (full >= ceiling).all() and (below < ceiling).all()


def test_saturated_pixels_of_a_movie_do_not_count():
    """Of a camera whose saturation, as photons, is no number of 32 bits."""
    sheet = Camera("a", 100.0, 4.9, 200.0, 0.9, 30.0, 16383.0)
    movie = SimpleNamespace(microscope=SimpleNamespace(cameras=(sheet,) * 4))
    ceiling = refine_module.Refinement(SimpleNamespace(movie=movie, device=torch.device("cpu")))._ceiling
    images = torch.from_numpy(sheet.photons(np.full((1, 4, 32, 32), 16383, dtype=np.uint16)))
    level = torch.rand(4, 32, 32, generator=torch.Generator().manual_seed(1)) * 40
    places = torch.full((1, 4, 2), 16.0).double()
    windows = MoleculeWindows.cut(images - level, level, torch.zeros(1).long(), places, 15, ceiling)
    assert windows.inside.all() and not windows.use.any()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("movie"))


def errors_of(columns, least=0.3):
    """Errors (n, 3) and pulls of the localizations of `write_files`' movie."""
    table = pd.DataFrame(columns)
    table = table[table.probability > least].reset_index(drop=True)
    frame, *place, _ = draw_emitters(FRAMES_OF_FILES, 3).T
    truth = Points(frame.astype(int), np.column_stack(place))
    pairs = match(Points(table.frame.to_numpy(), table[["x", "y", "z"]].to_numpy()), truth, 250.0, 500.0)
    assert len(pairs) > 0.9 * len(truth)
    return table[["x", "y", "z"]].to_numpy()[pairs.found] - truth.position_nm[pairs.truth]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_localization_is_refined(files, weights):
    """On another forward model (pixels integrate), with a mirrored camera and planes that do not drift."""
    settings = [{"refine": "none"}, {"refine": "likelihood"}, {"refine": "likelihood", "inter_camera_drift_nm": 0.0}]
    tables = [localize_frames(localizer_of(files, weights=weights, **s), 0, FRAMES_OF_FILES) for s in settings]
    lateral = [np.sqrt((errors_of(table)[:, :2] ** 2).sum(axis=1).mean()) for table in tables]
    assert lateral[1] < lateral[0] and lateral[2] < 0.8 * lateral[0]
    assert np.abs(errors_of(tables[2]).mean(axis=0)).max() < 6
    assert np.isnan(tables[0]["goodness_of_fit"]).all()
    for table in tables[1:]:
        known = np.isfinite(table["goodness_of_fit"])
        assert (known == (table["probability"] >= 0.1)).all()
        assert 0.9 < np.median(table["goodness_of_fit"][known]) < 1.3
    hardly_there = [table["x"][table["probability"] < 0.1] for table in tables[:2]]
    assert np.array_equal(*map(np.sort, hardly_there))
    assert np.array_equal(*(np.sort(table["probability"]) for table in tables[:2]))


def test_same_numbers_for_any_blocks(files, tmp_path):
    run(files, tmp_path / "a.h5", weights=WEIGHTS[1], refine="likelihood", threshold=0.005, block_frames=40)
    table, metadata = localization_table.read(tmp_path / "a.h5")
    localizer = localizer_of(files, weights=WEIGHTS[1], refine="likelihood")
    parts = [localize_frames(localizer, *block) for block in ((0, 7), (7, 21), (21, FRAMES_OF_FILES))]
    whole = localize_frames(localizer, 0, FRAMES_OF_FILES)
    for name in table.columns:
        assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name], equal_nan=True)
    assert len(whole["x"]) == len(table)
    assert metadata["refine"] == "likelihood" and metadata["inter_camera_drift_nm"] > 0
    assert np.isfinite(table.drop(columns="goodness_of_fit").to_numpy()).all() and (
        table[["x_sd", "y_sd", "z_sd"]] > 0
    ).all(axis=None)


def test_the_regression_network_is_told_that_planes_do_not_drift(files):
    lateral = []
    for drift_nm in (-1.0, 0.0):
        localizer = localizer_of(files, weights=WEIGHTS[1], refine="none", inter_camera_drift_nm=drift_nm)
        lateral.append((errors_of(localize_frames(localizer, 0, FRAMES_OF_FILES))[:, :2] ** 2).sum(axis=1).mean())
    assert lateral[1] < 0.9 * lateral[0]


def test_refinement_adds_a_molecule_that_was_left_out(files):
    localizer = localizer_of(files, weights=REGRESSION_WEIGHTS.name)
    with torch.inference_mode():
        counts, level = localizer.read(0, 20)
        images = localizer._photons(counts) - level
        found = Detections.joined(localizer.finder(images, localizer.context.resampler(images), level))
        found = found.at(found.probability > 0.5)
        apart = torch.cdist(found.position[:, :2], found.position[:, :2])
        apart = apart + 1e9 * (found.frame[:, None] != found.frame) + 1e9 * torch.eye(len(apart))
        left_out, _ = divmod(int(apart.argmin()), len(apart))
        assert 100 < apart.min() < 4 * PIXEL
        kept = torch.arange(len(found.frame)) != left_out
        complete, _ = localizer.refinement(images, level, found)
        again, known = localizer.refinement(images, level, found.at(kept))
    assert (torch.linalg.eigvalsh(known.precision)[:, -1] > 0).sum() >= 19  # frames with molecules
    assert len(complete.frame) == len(again.frame) == len(found.frame)
    added, true = again.at(slice(-1, None)), complete.at(complete.frame == found.frame[left_out])
    assert int(added.frame) == int(found.frame[left_out])
    error = (true.position - added.position).abs()
    assert (error < torch.tensor([15.0, 15.0, 40.0])).all(dim=1).any()
    assert 0.99 < float(added.probability) < 1
