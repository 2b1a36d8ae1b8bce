"""Filaments, their labels, and when the labels shine."""

import numpy as np
import pytest

from planeloc.simulation.blinking import BlinkingSettings, Blinks, blinks, exposures
from planeloc.simulation.filaments import StructureSettings, emitters, filament, labels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_filament_passes_through_its_point_and_keeps_length_and_depth(rng):
    settings = StructureSettings(length_nm=8000, depth_range_nm=500, inclination=0.3)
    axis = filament((1000.0, 2000.0), settings, rng)
    assert np.hypot(*(axis[:, :2] - (1000, 2000)).T).min() < 1e-6
    assert np.linalg.norm(np.diff(axis, axis=0), axis=1).sum() == pytest.approx(8000, rel=1e-3)
    assert np.abs(axis[:, 2]).max() <= 500


def test_heading_decays_with_the_persistence_length(rng):
    settings = StructureSettings(length_nm=4000, persistence_length_nm=2000, depth_range_nm=0)
    cosines = []
    for _ in range(400):
        steps = np.diff(filament((0.0, 0.0), settings, rng)[:, :2], axis=0)
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        cosines.append((steps[:-200] * steps[200:]).sum(axis=1).mean())  # 2000 nm apart
    assert np.mean(cosines) == pytest.approx(np.exp(-0.5), abs=0.05)


def test_labels_sit_outside_the_tube_at_the_set_density(rng):
    settings = StructureSettings(length_nm=20000, labels_per_um=100, tube_radius_nm=12.5, linker_nm=10)
    axis = np.column_stack([np.arange(0, 20001, 10.0), np.zeros(2001), np.zeros(2001)])
    dyes = labels(axis, settings, rng)
    assert len(dyes) == pytest.approx(2000, abs=4 * np.sqrt(2000))
    distance = np.hypot(dyes[:, 1], dyes[:, 2])
    assert distance.min() >= 12.5
    assert distance.max() <= 22.5
    assert np.abs(dyes[:, 1:].mean(axis=0)).max() < 2  # all around it


def test_emitters_stay_in_the_field(rng):
    dyes = emitters((500.0, 600.0, 5000.0, 4000.0), StructureSettings(), rng)
    assert dyes[:, 0].min() >= 500
    assert dyes[:, 0].max() < 5000
    assert dyes[:, 1].min() >= 600
    assert dyes[:, 1].max() < 4000


def test_on_times_and_duty_cycle_follow_the_rates(rng):
    settings = BlinkingSettings(mean_on_s=0.2, mean_off_s=2.0)
    events = blinks(2000, 60.0, settings, rng)
    assert (events.stop_s - events.start_s).mean() == pytest.approx(0.2, rel=0.02)
    _, frame, share = exposures(events, 600, 0.1)
    shining = np.bincount(frame, share, minlength=600)
    assert shining[:20].mean() == pytest.approx(2000 * 0.2 / 2.2, rel=0.05)  # stationary from the first frame on
    assert shining.mean() == pytest.approx(2000 * 0.2 / 2.2, rel=0.02)


def test_partial_frames_hold_partial_light():
    events = Blinks(np.array([0, 1, 2]), np.array([0.5, 2.0, 3.25]), np.array([2.25, 3.0, 9.0]))
    blink, frame, share = exposures(events, frames=5, exposure_s=1.0)
    assert frame.tolist() == [0, 1, 2, 2, 3, 4]
    assert blink.tolist() == [0, 0, 0, 1, 2, 2]
    assert share == pytest.approx([0.5, 1.0, 0.25, 1.0, 0.75, 1.0])


def test_no_blinks_is_an_empty_movie(rng):
    events = blinks(3, 0.1, BlinkingSettings(mean_on_s=1e-3, mean_off_s=1e6), rng)
    assert len(exposures(events, 1, 0.1)[0]) == 0
