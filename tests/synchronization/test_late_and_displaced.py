"""A camera that lags and is displaced at once is put in step, and its displacement is found then."""

from dataclasses import replace

import numpy as np
import pytest

from planeloc.registration.movie_displacement import measure_displacements
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
