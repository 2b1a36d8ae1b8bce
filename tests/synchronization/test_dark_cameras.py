"""A camera without light stops the run, or its frames are left out; a dim camera is none of that."""

import json

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.movie.camera_frames import CameraFrames
from planeloc.movie.writer import write_movie
from planeloc.synchronization.lags import Stretch
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import camera_frames, look, synchronize
from support.movies import MICROSCOPE, Source
from support.shared_light import SIDE, SPARE, Recorded, blinking_counts, out_of_step, transforms

SETTINGS = SynchronizeSettings()


@pytest.fixture(scope="module")
def bright() -> np.ndarray:
    """Three molecules of 3,000 photons in a frame, on for three frames."""
    return blinking_counts(340, 4, 3, 3000, 3, seed=0)


def dark_from(counts: np.ndarray, plane: int, first: int, last: int, zero: bool) -> np.ndarray:
    """Frames [first, last) of the movie in which a camera reads zero, or its offset with read noise."""
    dark = counts.copy()
    shape = dark[first + SPARE : last + SPARE, plane].shape
    noise = np.random.default_rng(0).normal(100, 2, shape).round().astype(np.uint16)
    dark[first + SPARE : last + SPARE, plane] = 0 if zero else noise
    return dark


def found(movie: Recorded):
    looked = look(movie, transforms(movie.planes), SETTINGS)
    return looked.dark, camera_frames(movie, looked, SETTINGS)


def test_cameras_that_see_are_not_dark(bright):
    dark, frames = found(out_of_step(bright, {}))
    assert dark == ((),) * 4
    assert frames.trivial


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("plane", [0, 2])
@pytest.mark.parametrize(("first", "last"), [(0, 300), (137, 300), (0, 80), (100, 190)])
def test_dark_frames_are_found_and_left_out(bright, plane, first, last, zero):
    dark, frames = found(out_of_step(dark_from(bright, plane, first, last, zero), {}))
    assert dark[plane] == (range(first, last),)
    assert [own for other, own in enumerate(dark) if other != plane] == [()] * 3
    assert frames.left_out == (range(first, last),)
    assert all(lags == ((0, 0),) for lags in frames.lags)


def test_dark_frames_of_a_late_camera_are_those_of_its_moments(bright):
    dark, frames = found(out_of_step(dark_from(bright, 1, 100, 200, True), {1: [("lag", 3, 0)]}))
    assert dark[1] == (range(103, 203),)
    assert frames.left_out == (range(100, 200), range(297, 300))


def test_single_frames_without_contrast_are_left_out(bright):
    dropped = bright.copy()
    dropped[[SPARE + 50, SPARE + 51, SPARE + 200], 3] = 0
    dark, frames = found(out_of_step(dropped, {}))
    assert dark[3] == (range(50, 52), range(200, 201))
    assert frames.frames_left_out == 3


def test_a_dim_camera_is_not_dark():
    """A fifteenth of the light of the others, and molecules of 5,000 photons: seen on few frames, but seen."""
    counts = blinking_counts(340, 3, 4, 5000, 3, seed=0)
    light = (counts[:, 1].astype(float) - 100) / 2
    faint = np.random.default_rng(1).poisson(np.clip(light, 0, None) / 15) * 2 + 100
    counts[:, 1] = faint + np.random.default_rng(2).normal(0, 2, faint.shape).round()
    dark, _ = found(out_of_step(counts, {}))
    assert dark == ((), (), ())


def test_a_closed_shutter_and_a_movie_without_molecules_are_no_fault_of_a_camera(bright):
    shut = bright.copy()
    shut[100:200] = np.random.default_rng(0).normal(100, 2, shut[100:200].shape).round()
    assert found(out_of_step(shut, {}))[0] == ((),) * 4
    counts = np.random.default_rng(0).poisson(10, (340, 4, SIDE, SIDE)).astype(np.uint16) + 100
    counts[:, 1] = np.random.default_rng(0).normal(100, 2, counts[:, 1].shape).round()
    assert found(out_of_step(counts, {}))[0] == ((),) * 4


def test_a_dark_camera_is_found_between_the_parts_of_a_long_movie(monkeypatch, bright):
    monkeypatch.setattr("planeloc.synchronization.synchronize._LOOKED_AT", (100,))
    monkeypatch.setattr("planeloc.synchronization.synchronize._STRETCH_FRAMES", 50)
    dark, _ = found(out_of_step(dark_from(bright, 2, 133, 300, False), {}))
    assert dark[2] == (range(133, 300),)


def run(folder, counts, **changes):
    write_movie(
        *(Source(counts), folder / "movie.zarr", folder / "movie.json", MICROSCOPE),
        **{"chunk_frames": 50, "compression_level": 1, "threads": 1},
        survey=lambda counts: None,
        report=lambda surveys: {},
    )
    transforms(4).write(folder / "registration.json")
    names = ("movie.json", "registration.json", "out.json", "out.png", "quality.json")
    return synchronize(*(folder / name for name in names), SynchronizeSettings(**changes))


def test_a_dead_camera_stops_the_run_with_one_line(tmp_path, bright):
    dead = dark_from(bright, 1, 0, 300, True)[SPARE:-SPARE]
    with pytest.raises(
        PlanelocError, match=r"camera 1: dark in frames 0 to 299.*leave it out of the microscope"
    ) as told:
        run(tmp_path, dead)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out.json").exists()
    assert run(tmp_path, dead, mode="never")["frames_left_out"] == 0


def test_frames_of_a_camera_that_goes_dark_are_left_out(tmp_path, bright):
    dark = dark_from(bright, 1, 200, 300, False)[SPARE:-SPARE]
    assert run(tmp_path, dark)["frames_left_out"] == 100
    assert CameraFrames.read(tmp_path / "out.json").left_out == (range(200, 300),)
    checks = {check["name"]: check for check in json.loads((tmp_path / "quality.json").read_text())["checks"]}
    assert checks["camera_1_dark_fraction"]["verdict"] == "warn"
    assert "dark in frames 200 to 299" in checks["camera_1_dark_fraction"]["advice"]
    with pytest.raises(PlanelocError, match=r"camera 1: dark"):
        run(tmp_path, dark, mode="check")
    with pytest.raises(PlanelocError, match=r"camera 1: dark"):
        run(tmp_path, dark, dark_fraction_fail=0.2)


def test_frames_taken_for_dark_can_turn_out_to_be_lit():
    """More of the movie may move the ends of what is dark: what was read stays as it is."""
    changes = np.ones((14, 2, 3), np.float32)  # moments 98 to 112
    part = Stretch(100, 110, changes)
    dark = part.without([[], [range(104, 106)]])
    assert (changes == 1).all()
    assert np.flatnonzero((dark.changes[:, 1] == 0).all(axis=1)).tolist() == [6, 7, 8]
    assert (dark.changes[:, 0] == 1).all()
    assert part.without([[], [range(50)]]) is part
