"""Which frames show a moment, where cameras lag, differ in length, or have no image."""

import numpy as np
import pytest

from planeloc.movie.camera_frames import CameraFrames, Lag

IN_STEP = (Lag(0, 0),)


def test_a_moment_that_is_left_out_is_replaced_by_its_mirror_image():
    frames = CameraFrames(20, (IN_STEP, IN_STEP), (range(5, 10),))
    assert frames.of(3, 12)[0].tolist() == [3, 4, 4, 3, 12, 11, 10, 10, 11]
    assert CameraFrames(20, (IN_STEP,), (range(0, 5),)).of(0, 6)[0].tolist() == [9, 8, 7, 6, 5, 5]
    assert CameraFrames(20, (IN_STEP,), (range(15, 20),)).of(14, 20)[0].tolist() == [14, 14, 13, 12, 11, 10]
    assert CameraFrames(4, (IN_STEP,), (range(0, 4),)).of(0, 4)[0].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_replaced_moments_are_whole(seed):
    random = np.random.default_rng(seed)
    edges = np.sort(random.choice(200, 8, replace=False)).reshape(-1, 2)
    frames = CameraFrames(200, (IN_STEP, (Lag(0, 1), Lag(100, -2))), tuple(range(*edge) for edge in edges.tolist()))
    used = frames.of(0, 200)[0]
    assert frames.whole(used).all()
    kept = frames.whole(np.arange(200))
    assert (used[kept] == np.flatnonzero(kept)).all()


def test_frames_that_a_camera_did_not_record_are_left_out():
    frames = CameraFrames.in_step(10, 2, (10, 7))
    assert frames.left_out == (range(7, 10),)
    assert not frames.trivial
    assert frames.of(0, 10).max() == 6


def test_the_file_says_what_was_recorded(tmp_path):
    frames = CameraFrames(10, (IN_STEP, (Lag(0, -2),)), (range(0, 2),), (10, 8))
    frames.write(tmp_path / "s.json", {})
    assert CameraFrames.read(tmp_path / "s.json") == frames
