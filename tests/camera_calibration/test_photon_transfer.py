"""Photon transfer against cameras of known offset, gain and noise: no bias, and true standard deviations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planeloc.camera_calibration.movie_statistics import (
    BLOCK_FRAMES,
    BrightAccumulator,
    BrightStatistics,
    DarkAccumulator,
    DarkStatistics,
)
from planeloc.camera_calibration.photon_transfer import fit_line, measure_camera
from planeloc.camera_calibration.results import CameraMeasurement
from planeloc.cameras.camera import Camera
from support.camera_movies import EMCCD, SCMOS, beam, exposures

REPEATS = 40
TOL_BIAS_SD = 0.5  # of the mean of the repeats, in standard deviations of one: three times that of the mean itself
TOL_PULL = (0.7, 1.4)  # standard deviation of 40 pulls: 1 ± 0.11
SIDE = 64
FRAMES = 60


def dark_of(counts: np.ndarray) -> DarkStatistics:
    collected = DarkAccumulator()
    for start in range(0, len(counts), BLOCK_FRAMES):
        collected.add(counts[start : start + BLOCK_FRAMES])
    return collected.result()


def bright_of(counts: np.ndarray, dark: DarkStatistics, limit: float = 65535.0) -> BrightStatistics:
    collected = BrightAccumulator(dark, limit)
    for start in range(0, len(counts), BLOCK_FRAMES):
        collected.add(counts[start : start + BLOCK_FRAMES])
    return collected.result()


def measured(
    camera: Camera,
    random: np.random.Generator,
    light: np.ndarray,
    declared: Camera | None = None,
    without_em: bool = False,
    pattern: np.ndarray | float = 0,
    brightness=np.ones_like,
) -> CameraMeasurement:
    """`pattern` is added to every pixel's counts: a fixed pattern of the offset."""
    pattern = np.asarray(pattern, np.uint16)
    dark = dark_of(exposures(camera, 0 * light, FRAMES, random) + pattern)
    lines = []
    for exposed in (camera, replace(camera, em_gain=1.0))[: 1 + without_em]:
        bright = bright_of(exposures(exposed, light, FRAMES, random, brightness) + pattern, dark)
        lines.append(fit_line(bright, dark))
    return measure_camera(declared or camera, dark, *lines)


def judged(errors: list[float], deviations: list[float]) -> None:
    """Unbiased, and scattered as much as the reported standard deviations say."""
    errors, deviations = np.array(errors), np.array(deviations)
    assert abs(errors.mean()) < TOL_BIAS_SD * errors.std()
    assert TOL_PULL[0] < (errors / deviations).std() < TOL_PULL[1]


def steps_and_drift(times: np.ndarray) -> np.ndarray:
    """Three levels of light one after another, each fading slowly."""
    return (1 + np.floor(3 * times)) / 3 * (1 - 0.2 * times)


@pytest.mark.parametrize("brightness", [np.ones_like, steps_and_drift])
def test_camera_without_em_gain_is_found_without_bias(brightness) -> None:
    random = np.random.default_rng(1)
    found = [measured(SCMOS, random, beam(SIDE, 1000), brightness=brightness) for _ in range(REPEATS)]
    judged([m.camera.offset_counts - SCMOS.offset_counts for m in found], [m.sd["offset_counts"] for m in found])
    judged([m.camera.electrons_per_count - 0.5 for m in found], [m.sd["electrons_per_count"] for m in found])
    judged([m.camera.read_noise_electrons - 1.6 for m in found], [m.sd["read_noise_electrons"] for m in found])
    judged([m.line.curvature for m in found], [m.line.curvature_sd for m in found])
    judged([m.line.dark_gap_counts for m in found], [m.line.dark_gap_sd_counts for m in found])
    assert np.mean([m.gain_sd for m in found]) < 0.01  # 60 frames of 64 × 64 pixels suffice for 1 %


def test_em_gain_is_found_with_the_sheets_electrons_per_count() -> None:
    """`Camera.expose` draws the limit of high gain, F² = 2 and not 2 − 1/200: the gain comes out higher by ½."""
    random = np.random.default_rng(2)
    found = [measured(EMCCD, random, beam(SIDE, 100)) for _ in range(REPEATS)]
    judged([m.camera.em_gain - 200.5 for m in found], [m.sd["em_gain"] for m in found])
    judged([m.camera.read_noise_electrons - 40 for m in found], [m.sd["read_noise_electrons"] for m in found])
    assert all(m.camera.electrons_per_count == EMCCD.electrons_per_count for m in found)


def test_the_same_light_without_em_gain_tells_both_gains_and_the_excess_noise() -> None:
    random = np.random.default_rng(3)
    declared = replace(EMCCD, electrons_per_count=7.0, em_gain=120.0)
    found = [measured(EMCCD, random, beam(SIDE, 1000), declared, without_em=True) for _ in range(REPEATS)]
    judged([m.camera.em_gain - 200 for m in found], [m.sd["em_gain"] for m in found])
    judged([m.camera.electrons_per_count - 5 for m in found], [m.sd["electrons_per_count"] for m in found])
    judged([m.excess_noise - 2 for m in found], [m.excess_noise_sd for m in found])
    judged([m.camera.read_noise_electrons - 40 for m in found], [m.sd["read_noise_electrons"] for m in found])


def test_quantum_efficiency_saturation_and_name_are_kept() -> None:
    declared = replace(SCMOS, name="mine", electrons_per_count=0.9, offset_counts=80.0, saturation_counts=60000.0)
    found = measured(SCMOS, np.random.default_rng(4), beam(SIDE, 1000), declared).camera
    assert (found.name, found.quantum_efficiency, found.saturation_counts, found.em_gain) == ("mine", 0.8, 60000, 1)
    assert found.electrons_per_count == pytest.approx(0.5, rel=0.03)


def test_a_fixed_pattern_and_hot_pixels_do_no_harm() -> None:
    random = np.random.default_rng(5)
    pattern = random.integers(0, 12, (SIDE, SIDE))
    pattern[random.random((SIDE, SIDE)) < 0.002] = 3000
    found = measured(SCMOS, random, beam(SIDE, 1000), pattern=pattern)
    assert found.camera.offset_counts == pytest.approx(100 + pattern[found.dark.usable].mean(), abs=0.05)
    assert found.camera.electrons_per_count == pytest.approx(0.5, abs=4 * found.sd["electrons_per_count"])
    assert 0 < (~found.dark.usable).sum() <= (pattern == 3000).sum()


def test_even_light_is_enough() -> None:
    found = measured(SCMOS, np.random.default_rng(6), np.full((SIDE, SIDE), 800.0))
    assert found.camera.electrons_per_count == pytest.approx(0.5, abs=4 * found.sd["electrons_per_count"])


def test_flicker_is_measured_and_taken_out() -> None:
    random = np.random.default_rng(7)
    found = measured(SCMOS, random, beam(SIDE, 2000), brightness=lambda t: 1 + 0.03 * random.normal(size=len(t)))
    assert found.line.bright.flicker == pytest.approx(0.03, rel=0.3)
    assert found.camera.electrons_per_count == pytest.approx(0.5, abs=4 * found.sd["electrons_per_count"])
    still = measured(SCMOS, random, beam(SIDE, 2000))
    assert still.line.bright.flicker < 0.001


def test_cosmic_rays_do_no_harm() -> None:
    random = np.random.default_rng(8)
    light = beam(SIDE, 1000)
    dark = dark_of(exposures(SCMOS, 0 * light, FRAMES, random))
    counts = exposures(SCMOS, light, FRAMES, random)
    counts.reshape(-1)[random.integers(0, counts.size, 100)] = 30_000
    line = fit_line(bright_of(counts, dark), dark)
    assert 1 / line.slope == pytest.approx(0.5, abs=4 * line.slope_sd / line.slope**2)


def test_saturated_and_bent_parts_are_left_out() -> None:
    random = np.random.default_rng(9)
    light = beam(SIDE, 3000)
    dark = dark_of(exposures(SCMOS, 0 * light, FRAMES, random))
    counts = exposures(SCMOS, light, FRAMES, random)
    clipped = np.minimum(counts, 3500)  # saturation known
    bright = bright_of(clipped, dark, 3500)
    line = fit_line(bright, dark)
    assert 1 / line.slope == pytest.approx(0.5, abs=4 * line.slope_sd / line.slope**2)
    assert bright.saturated_fraction > 0.1
    unknown = fit_line(bright_of(clipped, dark), dark)  # saturation not declared: the noise collapses
    assert 1 / unknown.slope == pytest.approx(0.5, rel=0.03)
    assert not unknown.used[-2:].any()
    signal = counts - 100.0  # a camera whose response sags: gain and noise fall together towards full light
    sagging = np.rint(100 + signal - signal**2 / 30_000).astype(np.uint16)
    bent = fit_line(bright_of(sagging, dark), dark)
    assert bent.curvature < -5 * bent.curvature_sd


def test_a_dark_movie_that_is_not_dark_is_recognised() -> None:
    random = np.random.default_rng(10)
    light = beam(SIDE, 1000)
    leaking = dark_of(exposures(SCMOS, 0.01 * light, FRAMES, random))
    bright = bright_of(exposures(SCMOS, light, FRAMES, random), leaking)
    found = measure_camera(SCMOS, leaking, fit_line(bright, leaking))
    leak = 0.01 * light.mean() * SCMOS.quantum_efficiency / SCMOS.electrons_per_count
    assert found.stray_light_counts == pytest.approx(leak, rel=0.15)
    assert measured(SCMOS, random, light).stray_light_counts < 0.05


def test_another_offset_in_the_dark_movie_is_off_the_line() -> None:
    random = np.random.default_rng(11)
    light = beam(SIDE, 1000)
    dark = dark_of(exposures(replace(SCMOS, offset_counts=160.0), 0 * light, FRAMES, random))
    line = fit_line(bright_of(exposures(SCMOS, light, FRAMES, random), dark), dark)
    assert line.dark_gap_counts == pytest.approx(60, abs=4 * line.dark_gap_sd_counts)
    assert abs(line.dark_gap_counts) > 5 * line.dark_gap_sd_counts


def test_drift_of_the_offset_is_seen_and_does_not_count_as_noise() -> None:
    random = np.random.default_rng(12)
    counts = exposures(SCMOS, np.zeros((SIDE, SIDE)), 200, random)
    steady = dark_of(counts)
    warming = dark_of(counts + np.linspace(0, 8, 200).round().astype(np.uint16)[:, None, None])
    assert steady.drift_counts < 0.1
    assert warming.drift_counts == pytest.approx(8, rel=0.15)
    assert warming.read_variance == pytest.approx(steady.read_variance, rel=0.01)


def test_no_line_where_the_noise_does_not_grow() -> None:
    random = np.random.default_rng(13)
    light = beam(SIDE, 1000)
    dark = dark_of(exposures(SCMOS, 0 * light, FRAMES, random))
    averaged = np.broadcast_to(np.rint(100 + 2 * light).astype(np.uint16), (FRAMES, SIDE, SIDE))
    assert fit_line(bright_of(averaged, dark), dark) is None
