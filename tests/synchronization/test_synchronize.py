"""Cameras that are late, or lose or repeat frames, are found and put in step; cameras in step are left alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.core.checks import Check
from planeloc.core.errors import PlanelocError
from planeloc.movie.camera_frames import CameraFrames, Lag
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from planeloc.synchronization.block_changes import BlockGrid, changes
from planeloc.synchronization.lags import MeasuredLags, Slip
from planeloc.synchronization.quality import in_words
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import Looked, camera_frames, look, synchronize
from support.movies import CAMERAS, MICROSCOPE, Source
from support.shared_light import SIDE, Recorded, blinking_counts, out_of_step, transforms

SETTINGS = SynchronizeSettings()


def measured(movie: Recorded, settings: SynchronizeSettings = SETTINGS) -> tuple[CameraFrames, np.ndarray]:
    found = look(movie, transforms(movie.planes), settings)
    return camera_frames(movie, found, settings), found.measured.significance


def moments_in_error(movie: Recorded, frames: CameraFrames) -> np.ndarray:
    """Moments that are kept and at which two cameras do not show the same."""
    used = frames.of(0, movie.frames)
    shown = np.stack([own[row] for own, row in zip(movie.moments, used, strict=True)])
    return np.flatnonzero((shown != shown[0]).any(axis=0) & frames.whole(np.arange(movie.frames)))


@pytest.fixture(scope="module")
def bright() -> np.ndarray:
    """Three molecules of 3,000 photons in a frame, on for three frames."""
    return blinking_counts(440, 4, 3, 3000, 3, seed=0)


def test_cameras_in_step_are_left_alone(bright):
    frames, significance = measured(out_of_step(bright, {}))
    assert frames.trivial
    assert (significance > 30).all()


@pytest.mark.parametrize("plane", [0, 1, 3])
@pytest.mark.parametrize("lag", [-7, 1, 4])
def test_a_late_camera_is_put_in_step(bright, plane, lag):
    movie = out_of_step(bright, {plane: [("lag", lag, 0)]})
    frames, _ = measured(movie)
    assert frames.lags[plane] == (Lag(0, lag),)
    assert [lags for other, lags in enumerate(frames.lags) if other != plane] == [(Lag(0, 0),)] * 3
    assert frames.frames_left_out == abs(lag)
    assert not len(moments_in_error(movie, frames))


@pytest.mark.parametrize(("kind", "count"), [("lost", 1), ("lost", 4), ("repeated", 1), ("repeated", 2)])
def test_a_slip_is_located(bright, kind, count):
    movie = out_of_step(bright, {2: [(kind, 217, count)]})
    frames, _ = measured(movie)
    (first, slip) = frames.lags[2]
    assert first == Lag(0, 0)
    assert slip.frames == (-count if kind == "lost" else count)
    assert abs(slip.first - 217) <= 5 + count
    assert frames.frames_left_out <= 12 + 2 * count
    assert not len(moments_in_error(movie, frames))


def test_two_cameras_slip_at_different_times(bright):
    movie = out_of_step(bright, {0: [("lost", 120, 1)], 3: [("lag", 2, 0), ("repeated", 300, 1)]})
    frames, _ = measured(movie)
    assert [lag.frames for lag in frames.lags[0]] == [0, -1]
    assert [lag.frames for lag in frames.lags[3]] == [2, 3]
    assert not len(moments_in_error(movie, frames))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    planes=st.integers(2, 8),
    molecules=st.sampled_from([1.0, 6.0]),
    on=st.sampled_from([1.0, 4.0, 50.0]),
    photons=st.sampled_from([300.0, 1000.0, 4000.0]),
    late=st.integers(0, 7),
    lag=st.integers(-3, 3),
    slip=st.sampled_from(["lost", "repeated", None]),
    at=st.integers(60, 240),
)
def test_what_is_told_is_right(planes, molecules, on, photons, late, lag, slip, at):
    """At any light, density and number of cameras, the lag is the true one, or it cannot be told."""
    counts = blinking_counts(340, planes, molecules, photons, on, seed=planes)
    plane = late % planes
    movie = out_of_step(counts, {plane: [("lag", lag, 0), *([(slip, at, 1)] if slip else [])]})
    frames, significance = measured(movie)
    if (significance >= SETTINGS.lag_significance_warn).all():
        assert len(moments_in_error(movie, frames)) <= 10  # of a slip that the light of a few molecules shows late
    else:
        assert frames.lags[int(significance.argmin())] == (Lag(0, 0),)


@pytest.mark.parametrize(
    ("slips", "lags"),
    [
        ([(30, -1), (30, -2)], (Lag(0, 0), Lag(30, -2))),  # in the same frame, as far as can be told
        ([(30, -1), (28, -2)], (Lag(0, 0), Lag(28, -2))),
        ([(30, -1), (100, -2)], (Lag(0, 0), Lag(30, -1))),  # after the last frame
        ([(0, -1), (30, -2)], (Lag(0, -1), Lag(30, -2))),
    ],
)
def test_slips_close_to_each_other_give_a_file_that_can_be_read(tmp_path, slips, lags):
    movie = SimpleNamespace(frames=100, planes=2, recorded=())
    (first, one), (second, other) = slips
    found = MeasuredLags(None, np.zeros((2, 3), int), np.array([50.0, 50.0]), np.zeros((2, 3)))
    path = [Slip(1, 0, one, first, first), Slip(1, one, other, second, second)]
    frames = camera_frames(movie, Looked(found, path, ((), ())), SETTINGS)
    assert frames.lags[1] == lags
    frames.write(tmp_path / "synchronization.json", {})
    assert CameraFrames.read(tmp_path / "synchronization.json") == frames


def test_noise_tells_nothing():
    counts = np.random.default_rng(0).poisson(10, (300, 4, SIDE, SIDE)).astype(np.uint16)
    frames, significance = measured(out_of_step(counts, {}))
    assert frames.trivial
    assert (significance < SETTINGS.lag_significance_warn).all()


def test_pulses_of_the_activation_laser_do_not_look_like_blinks(bright):
    """All cameras see the pulses, but every tenth frame: the molecules must decide."""
    pulsed = bright.copy()
    pulsed[::10] += np.random.default_rng(0).poisson(30, pulsed[::10].shape).astype(np.uint16)
    movie = out_of_step(pulsed, {1: [("lag", 1, 0)]})
    frames, _ = measured(movie)
    assert frames.lags[1] == (Lag(0, 1),)


def test_a_long_movie_is_read_in_parts_and_where_it_slips(monkeypatch, bright):
    monkeypatch.setattr("planeloc.synchronization.synchronize._LOOKED_AT", (100,))
    monkeypatch.setattr("planeloc.synchronization.synchronize._STRETCH_FRAMES", 50)
    movie = out_of_step(bright, {2: [("lost", 217, 1)]})
    frames, _ = measured(movie)
    assert [lag.frames for lag in frames.lags[2]] == [0, -1]
    assert not len(moments_in_error(movie, frames))


def test_blocks_hold_the_light_of_the_same_place():
    """A lit pixel of the sample is in the same block on every camera."""
    registration = transforms(3)
    grid = BlockGrid.of(registration, SIDE, SIDE)
    place = np.array([20.5, 11.5])
    counts = np.zeros((1, 3, SIDE, SIDE), np.uint16)
    for plane, transform in enumerate(registration.transforms):
        x, y = np.floor(transform(place)).astype(int)
        counts[0, plane, y, x] = 64
    light = grid.light(counts)[0]
    assert (light.argmax(axis=1) == (11 // 8) * (SIDE // 8) + 20 // 8).all()
    assert light.max(axis=1) == pytest.approx(64 / grid.pixels[np.arange(3), light.argmax(axis=1)])


def test_changes_of_a_flat_camera_are_zero():
    counts = np.random.default_rng(0).poisson(10, (20, 2, SIDE, SIDE)).astype(np.uint16)
    counts[:, 1] = 0
    found = changes(BlockGrid.of(transforms(2), SIDE, SIDE).light(counts))
    assert np.isfinite(found).all()
    assert found[:, 0].any() and not found[:, 1].any()


def test_lags_in_words():
    assert in_words([Lag(0, 0)]) == "in step"
    assert in_words([Lag(0, 1)]) == "1 frame late"
    assert in_words([Lag(0, 0), Lag(300, -2)]) == "in step, 2 frames early from frame 300 on (it lost 2 frames)"


@pytest.fixture
def stored(tmp_path, bright):
    """A movie on disk whose camera 1 is a frame late."""
    movie = out_of_step(bright, {1: [("lag", 1, 0)]})
    write_movie(
        *(Source(movie.counts), tmp_path / "movie.zarr", tmp_path / "movie.json", MICROSCOPE),
        **{"chunk_frames": 7, "compression_level": 1, "threads": 1},
        survey=lambda counts: None,
        report=lambda surveys: {},
    )
    transforms(4).write(tmp_path / "registration.json")
    return tmp_path, movie


def run(folder, **changes):
    return synchronize(
        *(folder / name for name in ("movie.json", "registration.json", "out.json", "out.png", "quality.json")),
        SynchronizeSettings(**changes),
    )


def test_the_stage_puts_a_movie_in_step(stored):
    folder, movie = stored
    assert run(folder)["frames_left_out"] == 1
    opened = Movie.open(folder / "movie.json", folder / "out.json")
    expected = movie.counts[:-1].copy()
    expected[:, 1] = movie.counts[1:, 1]
    for start, stop in ((0, 399), (5, 9), (13, 14)):
        np.testing.assert_array_equal(opened.read(start, stop), expected[start:stop])
    np.testing.assert_array_equal(Movie.open(folder / "movie.json").read(0, 400), movie.counts)
    checks = {check["name"]: check for check in json.loads((folder / "quality.json").read_text())["checks"]}
    assert checks["camera_1_out_of_step_frames"]["verdict"] == "warn"
    assert CAMERAS[1].name in checks["camera_1_out_of_step_frames"]["advice"]
    assert "1 frame late" in checks["camera_1_out_of_step_frames"]["advice"]
    assert checks["camera_2_out_of_step_frames"]["verdict"] == "pass"
    assert Check(**checks["camera_1_out_of_step_frames"]).text.startswith(
        "camera 1: out of step with most cameras 1 frame"
    )
    first = [(folder / name).read_bytes() for name in ("out.json", "out.png", "quality.json")]
    run(folder)
    assert first == [(folder / name).read_bytes() for name in ("out.json", "out.png", "quality.json")]


def test_check_stops_and_never_does_nothing(stored):
    folder, _ = stored
    with pytest.raises(PlanelocError, match="1 frame late"):
        run(folder, mode="check")
    assert not (folder / "out.json").exists()
    failed = json.loads((folder / "quality.failed.json").read_text())["checks"]
    assert {check["name"] for check in failed if check["verdict"] == "fail"} == {"camera_1_out_of_step_frames"}
    run(folder, mode="never")
    assert CameraFrames.read(folder / "out.json").trivial
    assert not json.loads((folder / "quality.json").read_text())["checks"]


def test_the_file_of_another_movie_is_refused(stored):
    folder, _ = stored
    CameraFrames.in_step(399, 4).write(folder / "other.json", {})
    with pytest.raises(PlanelocError, match="399 frames"):
        Movie.open(folder / "movie.json", folder / "other.json")
    (folder / "other.json").write_text("{}")
    with pytest.raises(PlanelocError, match="planeloc synchronize"):
        Movie.open(folder / "movie.json", folder / "other.json")
    transforms(3).write(folder / "registration.json")
    with pytest.raises(PlanelocError, match="3 cameras"):
        run(folder)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_movie_of_few_frames_tells_nothing(frames):
    counts = np.random.default_rng(0).poisson(10, (frames, 4, SIDE, SIDE)).astype(np.uint16)
    found, significance = measured(Recorded(counts, np.zeros((4, frames), int)))
    assert found.trivial
    assert (significance < SETTINGS.lag_significance_warn).all()
