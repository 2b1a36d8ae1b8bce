"""A movie whose cameras are out of step is localized as one whose cameras are in step."""

import numpy as np
import pytest

from planeloc.io import localization_table
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
