"""A camera that lags and is displaced at once is put in step, and its displacement is found then."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from planeloc.diagnostics import registered_changes
from planeloc.diagnostics.registered_changes import Windows
from planeloc.registration.movie_displacement import measure_displacements
from planeloc.synchronization import synchronize
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import camera_frames, look
from support.shared_light import Recorded, blinking_counts, out_of_step, transforms

SETTINGS = SynchronizeSettings()


@pytest.fixture(scope="module")
def bright() -> np.ndarray:
    return blinking_counts(340, 4, 4, 4000, 2, seed=3)


def rolled(movie: Recorded, plane: int, shift: int) -> Recorded:
    counts = movie.counts.copy()
    counts[:, plane] = np.roll(counts[:, plane], shift, axis=1)
    return replace(movie, counts=counts)


def in_step(movie: Recorded, frames) -> Recorded:
    used = frames.of(0, movie.frames)
    counts = np.stack([movie.counts[own, plane] for plane, own in enumerate(used)], axis=1)
    put = replace(movie, counts=counts)
    put.camera_frames = frames
    return put


@pytest.mark.parametrize(("plane", "lag", "shift"), [(1, 1, 12), (2, -3, 17), (3, 4, -9)])
def test_lag_and_displacement_at_once(bright, plane, lag, shift):
    movie = rolled(out_of_step(bright, {plane: [("lag", lag, 0)]}), plane, shift)
    frames = camera_frames(movie, look(movie, transforms(4), SETTINGS), SETTINGS)
    assert [lags[0].frames for lags in frames.lags] == [lag if other == plane else 0 for other in range(4)]
    assert all(len(lags) == 1 for lags in frames.lags)
    found = measure_displacements(in_step(movie, frames), transforms(4))
    assert found[plane].shift_px == pytest.approx((0, shift), abs=0.3)


def test_memory_does_not_grow_with_the_field_and_the_lag(monkeypatch):
    """Cameras of 256² pixels and lags up to 60 frames: all of four parts would need 1.5 GB."""
    counts = np.broadcast_to(np.zeros(1, np.uint16), (600, 2, 256, 256))
    movie = Recorded(counts, np.zeros((2, 600)))
    monkeypatch.setattr(synchronize, "dark_frames", lambda _: [[], []])
    measured = SimpleNamespace(significance=np.array([99.0, 0.0]))
    tracemalloc.start()
    try:
        assert synchronize._in_place(movie, transforms(2), measured, [], 60, SETTINGS) is None
        assert tracemalloc.get_traced_memory()[1] < 0.7e9
    finally:
        tracemalloc.stop()


def test_a_displacement_is_found_where_only_the_middle_of_the_field_fits_into_memory(bright, monkeypatch):
    monkeypatch.setattr(synchronize, "_PIXELS", 60_000)
    monkeypatch.setattr(registered_changes, "_READ_PIXELS", 20 * 48**2)
    movie = rolled(out_of_step(bright, {1: [("lag", 2, 0)]}), 1, 9)
    frames = camera_frames(movie, look(movie, transforms(4), SETTINGS), SETTINGS)
    assert [lags[0].frames for lags in frames.lags] == [0, 2, 0, 0]


def test_fewer_windows_or_the_middle_of_one():
    nine = Windows.of((2048, 1024))
    assert len(nine.corners) == 9 and nine.within(10**9) == nine
    three = nine.within(3 * nine.size[0] * nine.size[1])
    assert three == Windows(nine.corners[1::3], nine.size)
    assert Windows.of((100, 40)).within(1000) == Windows(((10, 25),), (50, 20))
