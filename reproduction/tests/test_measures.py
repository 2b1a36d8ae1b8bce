"""Measures of the reproduction against brute force and values worked out by hand."""

import math

import numpy as np
import pytest
from paper_results import VOXEL_NM

from planeloc_reproduction import measures

INTERVAL_TOLERANCE = 0.1  # of the interval's half width: the bootstrap's own scatter and that of the sample's sd
MONTE_CARLO_TOLERANCE = 0.005


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(3).normal(20, 6, 4000)
    interval = measures.mean_and_interval(values, seed=1)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - half, abs=INTERVAL_TOLERANCE * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=INTERVAL_TOLERANCE * half)
    assert interval == measures.mean_and_interval(values, seed=1) != measures.mean_and_interval(values, seed=2)
    assert math.isnan(measures.mean_and_interval([]).value)


def test_voxel_jaccard_is_that_of_the_sets():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 3, (300, 3)), rng.integers(0, 3, (300, 3))
    sets = [{(n, *v) for n, v in enumerate(voxels.tolist())} for voxels in (truth, found)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    summary = measures.error_summary(truth * VOXEL_NM, found * VOXEL_NM, truth, found, VOXEL_NM)
    assert summary.jaccard.value == pytest.approx(expected, rel=1e-12)
    assert summary.jaccard.low < expected < summary.jaccard.high


def test_error_measures_by_hand():
    truth_nm, found_nm = np.array([[10.0, 10, 0], [30, 10, 60]]), np.array([[13.0, 14, 2], [30, 10, 30]])
    voxels = np.array([[0, 0, 0], [1, 0, 1]]), np.array([[3, 4, 0], [1, 0, 3]])
    errors = measures.error_summary(truth_nm, found_nm, *voxels, (24.0, 24.0, 50.0))
    assert errors.voxel_lateral.value == pytest.approx(60)  # (5 voxels of 24 nm, 0)
    assert errors.voxel_axial.value == pytest.approx(50)
    assert errors.mean_lateral.value == pytest.approx(2.5)
    assert errors.mean_axial.value == pytest.approx(16)
    assert errors.rmse_lateral.value == pytest.approx(math.sqrt(25 / 2))
    assert errors.rmse_axial.value == pytest.approx(math.sqrt((4 + 900) / 2))


def test_histogram_counts_everything_once():
    truth = np.zeros((4, 3), dtype=int)
    found = np.array([[0, 0, 5], [2, -1, 0], [2, -1, 0], [7, 0, 0]])
    counts, beyond = measures.error_counts(found, truth, reach=6)
    assert (counts[6, 6], counts[5, 8], beyond) == (1, 2, 1)  # rows along y, columns along x
    assert counts.sum() + beyond == len(found)


def test_voxel_errors_of_molecules_anywhere_are_on_average_those_of_the_positions():
    place = np.random.default_rng(0).uniform(0, 1, 200_000)
    for error in (0.13, 0.7, 2.4):
        distance = np.abs(np.floor(place + error) - np.floor(place)).mean()
        assert distance == pytest.approx(error, abs=MONTE_CARLO_TOLERANCE)


def test_share_in_the_same_voxel_is_that_of_random_errors():
    rng = np.random.default_rng(1)
    for sd in (4.0, 15.0, 60.0):
        place, error = rng.uniform(0, 24, 400_000), rng.normal(0, sd, 400_000)
        kept = (np.floor((place + error) / 24) == 0).mean()
        share = measures.same_voxel_share(sd * math.sqrt(2 / math.pi), 24.0)
        assert share == pytest.approx(kept, abs=MONTE_CARLO_TOLERANCE)


def test_distance_to_a_curve_is_that_to_its_segments():
    angle = np.linspace(0, 2 * np.pi, 2001)
    circle = np.stack([100 * np.cos(angle), 100 * np.sin(angle), np.zeros_like(angle)], axis=1)
    points = np.array([[130.0, 0, 0], [0, 0, 0], [0, 100, 40]])
    assert measures.distance_to_curve(points, circle) == pytest.approx([30, 100, 40], abs=0.001)
    line = np.array([[0.0, 0, 0], [100, 0, 0]])
    assert measures.distance_to_curve([[50.0, 24, 50]], line, (24, 24, 50)) == pytest.approx([math.sqrt(2)])
    assert len(measures.distance_to_curve(np.empty((0, 3)), line)) == 0


def test_errors_fall_into_their_bins_of_depth():
    depth, error = np.array([-100.0, -60, 10, 100]), np.array([[1.0, -3], [-3, 5], [7, 9], [9, 1]])
    by_axis = measures.error_by_depth(depth, error, np.array([-100.0, 0, 100]))
    assert [[i.value for i in axis] for axis in by_axis] == [[2, 8], [4, 5]]
    assert measures.depth_bins((-800.0, 800.0), 500)[1] == -700
    assert measures.depth_bins((-800.0, 800.0), 5000)[1] == -750
