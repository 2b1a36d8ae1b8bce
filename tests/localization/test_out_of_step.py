"""A movie whose cameras are out of step is localized as one whose cameras are in step."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from planeloc.io import localization_table
from planeloc.localization.localize_frames import Localizer, compute_frames
from planeloc.movie.camera_frames import CameraFrames, Lag
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from support.movies import FRAMES_OF_FILES, MICROSCOPE, Source, run, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The movie in step, and the same with camera 1 two frames late, whose last image is repeated at the end."""
    folder = write_files(tmp_path_factory.mktemp("in_step"))
    late = write_files(tmp_path_factory.mktemp("late"))
    counts = Movie.open(folder / "m.json").read(0, FRAMES_OF_FILES)
    counts[2:, 1] = counts[:-2, 1].copy()
    write_movie(Source(counts), late / "m.zarr", late / "m.json", MICROSCOPE, chunk_frames=6)
    lags = ((Lag(0, 0),), (Lag(0, 2),), (Lag(0, 0),), (Lag(0, 0),))
    CameraFrames(FRAMES_OF_FILES, lags, (range(20, 22),)).write(late / "s.json", {})
    return folder, late


def test_rows_are_those_of_the_movie_in_step(files, tmp_path):
    folder, late = files
    run(folder, tmp_path / "in_step.h5")
    found = run(late, tmp_path / "late.h5", synchronization=late / "s.json")
    assert found["frames_left_out"] == 2
    expected, put_in_step = (localization_table.read(tmp_path / name)[0] for name in ("in_step.h5", "late.h5"))
    assert put_in_step["frame"].max() == 19
    expected = expected[expected["frame"] < 20]
    assert len(expected) == len(put_in_step) > 40
    # the background is a median over frames of which one camera lacks two
    for name, within in (("x", 3), ("y", 3), ("z", 8)):
        assert np.abs(expected[name].to_numpy() - put_in_step[name].to_numpy()).max() < within


def test_a_partial_result_of_other_lags_is_not_used(files, tmp_path):
    """The lags are part of what identifies a localization."""
    _, late = files
    with_lags, without = Movie.open(late / "m.json", late / "s.json"), Movie.open(late / "m.json")
    assert with_lags.camera_frames.identity
    assert not without.camera_frames.identity
    assert with_lags.digest == without.digest


def test_a_group_without_a_whole_frame_is_not_computed(files, tmp_path, monkeypatch):
    """The last two of 22 frames are left out, and are a group of their own."""
    _, late = files
    detect, seen = Localizer.detect, []

    def counted(self, counts, background):
        seen.append(len(counts))
        return detect(self, counts, background)

    monkeypatch.setattr(Localizer, "detect", counted)
    run(late, tmp_path / "late.h5", synchronization=late / "s.json")
    assert seen and set(seen) == {20}
    assert localization_table.read(tmp_path / "late.h5")[0]["frame"].max() == 19


def test_frames_of_which_none_is_whole_are_an_empty_block(files):
    _, late = files
    known = SimpleNamespace(movie=Movie.open(late / "m.json", late / "s.json"), device=torch.device("cpu"))
    localizer = SimpleNamespace(context=known, group=20, refinement=True, groups=lambda firsts: iter(firsts))
    localizer.nothing = lambda frames: Localizer.nothing(localizer, frames)
    localizer.table = lambda found: Localizer.table(localizer, found)
    columns, arrays = compute_frames(localizer, 20, 22).parts()
    assert not len(columns["frame"])
    assert arrays["precision"].shape == (2, 6, 6) and not arrays["precision"].any()
    assert arrays["response"].shape == (0, 3, 6)
