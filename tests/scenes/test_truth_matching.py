"""The assignment against all permutations, and the rules of the cylinder."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.scenes import truth_matching
from planeloc.scenes.truth_matching import Points, match

LATERAL_NM, AXIAL_NM = 250.0, 500.0


def points(positions, frames=0) -> Points:
    positions = np.asarray(positions, dtype=float).reshape(-1, 3)
    return Points(np.broadcast_to(np.asarray(frames), len(positions)).astype(np.int64), positions)


def best_by_trying_all(found, truth) -> tuple[int, float]:
    """Most pairs and, for these, the least total distance, over all one-to-one pairings."""
    few, many = sorted((found, truth), key=len)
    best = (0, 0.0)
    for places in itertools.permutations(range(len(many)), len(few)):
        difference = few - many[list(places)]
        lateral = np.hypot(difference[:, 0], difference[:, 1])
        possible = (lateral <= LATERAL_NM) & (np.abs(difference[:, 2]) <= AXIAL_NM)
        total = float(np.linalg.norm(difference[possible], axis=1).sum())
        best = min(best, (-int(possible.sum()), total))
    return -best[0], best[1]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.sampled_from([200.0, 400.0, 900.0]))
def test_as_good_as_trying_all(seed, found_rows, truth_rows, spread):
    random = np.random.default_rng(seed)
    found, truth = (random.uniform(0, spread, (rows, 3)) * (1, 1, 1.5) for rows in (found_rows, truth_rows))
    pairs = match(points(found), points(truth), LATERAL_NM, AXIAL_NM)
    assert len(set(pairs.found)) == len(set(pairs.truth)) == len(pairs)
    total = np.linalg.norm(found[pairs.found] - truth[pairs.truth], axis=1).sum()
    most, least = best_by_trying_all(found, truth)
    assert len(pairs) == most
    assert total == pytest.approx(least)


def test_most_pairs_come_before_least_distance():
    # taking the nearest pair (0 to 0, 10 nm) would leave the other two without a partner
    found, truth = [[0, 0, 0], [-200, 0, 0]], [[10, 0, 0], [240, 0, 0]]
    pairs = match(points(found), points(truth), LATERAL_NM, AXIAL_NM)
    assert list(zip(pairs.found, pairs.truth, strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("offset", "matched"),
    [
        ((0, 0, 0), 1),
        ((250, 0, 500), 1),
        ((250.1, 0, 0), 0),
        ((0, 0, 500.1), 0),
        ((176, 176, 0), 1),
        ((177, 177, 0), 0),
    ],
)
def test_the_cylinder(offset, matched):
    assert len(match(points([0, 0, 0]), points([offset]), LATERAL_NM, AXIAL_NM)) == matched


def test_frames_are_kept_apart():
    found, truth = points([[0, 0, 0]] * 3, [0, 1, 70_000]), points([[1, 0, 0]] * 3, [1, 2, 70_000])
    pairs = match(found, truth, LATERAL_NM, AXIAL_NM)
    assert list(zip(pairs.found, pairs.truth, strict=True)) == [(1, 0), (2, 2)]


def test_nothing_to_match():
    nothing = points(np.empty((0, 3)))
    assert len(match(nothing, points([0, 0, 0]), LATERAL_NM, AXIAL_NM)) == 0
    assert len(match(points([0, 0, 0]), nothing, LATERAL_NM, AXIAL_NM)) == 0


def test_crowded_frames_stay_fast():
    random = np.random.default_rng(0)
    frames = np.repeat(np.arange(20), 500)  # about 9 candidates for each
    truth = random.uniform(0, 1, (len(frames), 3)) * (8000, 8000, 1200)
    found = truth + random.normal(0, 20, truth.shape)
    start = time.perf_counter()
    pairs = match(points(found, frames), points(truth, frames), LATERAL_NM, AXIAL_NM)
    assert time.perf_counter() - start < 20
    assert len(pairs) == len(frames)


def test_portions_of_frames_change_no_pair(monkeypatch):
    random = np.random.default_rng(1)
    frames = random.integers(0, 40, 800)  # in no order
    truth = random.uniform(0, 1, (len(frames), 3)) * (3000, 3000, 1000)
    found = truth + random.normal(0, 60, truth.shape)
    together = match(points(found, frames), points(truth, frames), LATERAL_NM, AXIAL_NM)
    asked = []
    monkeypatch.setattr(truth_matching, "_ROWS_AT_ONCE", 50)
    whole = truth_matching._match_together
    monkeypatch.setattr(truth_matching, "_match_together", lambda f, t, *nm: asked.append(len(f)) or whole(f, t, *nm))
    portions = match(points(found, frames), points(truth, frames), LATERAL_NM, AXIAL_NM)
    assert len(asked) > 5 and max(asked) < 100
    np.testing.assert_array_equal(portions.found, together.found)
    np.testing.assert_array_equal(portions.truth, together.truth)
