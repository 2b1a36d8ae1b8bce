"""What the localizations of blinks say of the drift, against dense matrices."""

import numpy as np
import pytest

from planeloc.postprocessing.blink_rows import BlinkRows
from planeloc.postprocessing.blinks import Blinks, merge_blinks

FRAMES = 40


@pytest.fixture
def blinks() -> Blinks:
    """Twelve blinks of one to six frames, each at its own place, some with a dark frame."""
    random = np.random.default_rng(3)
    frame = [start + np.array([0, 1, 3, 4, 5, 6])[: 1 + number % 6] for number, start in enumerate(range(0, 36, 3))]
    frame = [times[times < FRAMES] for times in frame]
    place = np.repeat(np.arange(12), [len(times) for times in frame])[:, None] * np.array([1000.0, 500.0, 0.0])
    sd = random.uniform(5, 15, place.shape)
    merged = merge_blinks(np.concatenate(frame), place + random.normal(size=sd.shape) * sd / 3, sd)
    assert len(merged) == 12
    return merged


def dense(band: np.ndarray) -> np.ndarray:
    whole = np.zeros((FRAMES, FRAMES))
    for offset, diagonal in enumerate(band):
        for time in range(FRAMES - offset):
            whole[time, time + offset] = whole[time + offset, time] = diagonal[time]
    return whole


def test_rows_are_those_of_the_blinks_in_any_order(blinks: Blinks) -> None:
    some = blinks[np.array([7, 2, 11])]
    assert len(some.rows.frame) == len(some.rows.blink) == sum(np.diff(blinks.rows.first)[[7, 2, 11]])
    for number, position in enumerate(some.position):
        rows = some.rows.blink == number
        assert np.abs(some.rows.position[rows] - position).max() < 40 and np.ptp(some.rows.frame[rows]) <= 6


def test_mean_position_is_that_of_the_rows_less_the_drift(blinks: Blinks) -> None:
    still, moved = (BlinkRows(blinks.rows, FRAMES, FRAMES).mean_position(d) for d in (np.zeros((FRAMES, 3)), RAMP))
    assert np.allclose(still, blinks.position)
    rows = blinks.rows
    for number in range(len(blinks)):
        own = rows.blink == number
        weight = 1 / rows.sd[own] ** 2
        assert np.allclose(still[number] - moved[number], (weight * RAMP[rows.frame[own]]).sum(0) / weight.sum(0))


RAMP = np.arange(FRAMES)[:, None] * np.array([1.0, -2.0, 0.5])


def test_information_of_mean_positions_and_of_differences(blinks: Blinks) -> None:
    """Together they are what the rows know if each blink's place has the precision of its weight."""
    rows = blinks.rows
    own = BlinkRows(rows, FRAMES, FRAMES)
    weight = np.random.default_rng(0).uniform(0.1, 1, len(blinks))
    means, within = np.zeros((FRAMES, FRAMES)), np.zeros((FRAMES, FRAMES))
    for number in range(len(blinks)):
        chosen = rows.blink == number
        at = np.zeros((FRAMES, chosen.sum()))
        at[rows.frame[chosen], np.arange(chosen.sum())] = 1
        known = 1 / rows.sd[chosen, 0] ** 2
        share = known / known.sum()
        means += weight[number] * at @ np.outer(share, share) @ at.T
        within += at @ (np.diag(known) - np.outer(known, known) / known.sum()) @ at.T
    assert np.allclose(dense(own.of_blinks(weight)), means)
    (band, score), *_ = own.within(np.zeros((FRAMES, 3)))
    assert np.allclose(dense(band), within) and np.abs(dense(band).sum(axis=0)).max() < 1e-9
    assert abs(score.sum()) < 1e-9
    spread = own.spread_out(weight[:, None])[:, 0]
    assert np.isclose(spread.sum(), weight.sum()) and np.allclose(means.sum(axis=0), spread)


def test_differences_within_blinks_find_a_fast_drift(blinks: Blinks) -> None:
    """The score at no drift, where the rows have no other error, is the information times the drift."""
    rows = blinks.rows
    exact = type(rows)(rows.first, rows.frame, blinks.position[rows.blink] + RAMP[rows.frame], rows.sd)
    (band, score), *_ = BlinkRows(exact, FRAMES, FRAMES).within(np.zeros((FRAMES, 3)))
    assert np.allclose(score, dense(band) @ RAMP[:, 0], atol=1e-9)


def test_rows_that_scatter_more_than_stated_count_less(blinks: Blinks) -> None:
    rows = blinks.rows
    worse = type(rows)(rows.first, rows.frame, rows.position, rows.sd / 10)
    stated, scattered = (BlinkRows(r, FRAMES, FRAMES).within(np.zeros((FRAMES, 3)))[0][0] for r in (rows, worse))
    assert (scattered[0] < 30 * stated[0] + 1e-12).all()  # not the hundredfold that is stated
