"""Bead scans and inter-camera drift are as documented."""

import numpy as np
import pytest

from planeloc.simulation.scenes import bead_scene, inter_camera_drift, sample_drift, scan_positions
from planeloc.simulation.settings import read_settings
from support.acquisitions import write_settings


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_drift_is_bounded_slow_and_leaves_the_reference_alone(tmp_path, rng):
    settings = read_settings(write_settings(tmp_path, frames=600))
    drift = inter_camera_drift(settings, rng)
    assert drift.shape == (600, 4, 2)
    assert not drift[:, 0].any()
    assert not drift[0].any()
    farthest = np.abs(drift[:, 1:]).max(axis=0)
    assert np.all((farthest >= 24) & (farthest <= 48))
    assert np.abs(np.diff(drift, axis=0)).max() < 3  # nm per frame


def test_the_sample_stays_unless_it_is_moved(tmp_path, rng):
    assert not sample_drift(read_settings(write_settings(tmp_path)), rng).any()


@pytest.mark.parametrize("settling_s", [0, 0.4])
def test_the_sample_moves_as_told_about_its_mean_position(tmp_path, rng, settling_s):
    moving = {"distance_nm": [300, -150, 200], "settling_s": settling_s}
    drift = sample_drift(read_settings(write_settings(tmp_path, sample_drift=moving)), rng)
    assert drift[-1] - drift[0] == pytest.approx([300, -150, 200])
    assert drift.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    done = (drift[:, 0] - drift[0, 0]) / 300
    time = np.arange(40) / 39
    expected = time if not settling_s else np.expm1(-time * 1.8 / 0.4) / np.expm1(-1.8 / 0.4)
    assert done == pytest.approx(expected)


def test_the_walk_of_the_sample_has_its_standard_deviation(tmp_path, rng):
    settings = read_settings(write_settings(tmp_path, frames=100, sample_drift={"walk_nm": [30, 10, 0]}))
    ends = np.array([np.diff(sample_drift(settings, rng)[[0, -1]], axis=0)[0] for _ in range(2000)])
    assert ends.std(axis=0) == pytest.approx([30 * np.sqrt(0.99), 10 * np.sqrt(0.99), 0], rel=0.06)


@pytest.mark.parametrize(("scan", "direction"), [("objective", -1), ("sample", 1)])
def test_bead_scan_moves_the_beads_as_documented(tmp_path, rng, scan, direction):
    settings = read_settings(write_settings(tmp_path, beads={"scan": scan}))
    scan_nm = scan_positions(settings)
    assert scan_nm.tolist() == [-300, -200, -100, 0, 100, 200, 300]
    beads = bead_scene(settings, scan_nm, rng)
    z = beads.positions_nm[:, 2].reshape(7, 4)
    assert np.diff(z, axis=0) == pytest.approx(np.full((6, 4), direction * 100.0))
    assert np.abs(z[3]).max() <= 10 * (1 + 2 * 3 / 40)  # the tilt, a little beyond the sensor too
