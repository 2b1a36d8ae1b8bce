"""The noise of a movie against what was declared of its cameras, with molecules that blink in it."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.movie.convert import convert
from planeloc.movie.noise_check import PlaneNoise, measure_noise
from planeloc.movie.settings import ConvertSettings
from support.camera_movies import EMCCD, SCMOS, blinking, write

TOL_RATIO = 0.15  # what the ends of blinks may add
FRAMES = 100
SPARSE = 4  # molecules that shine in a frame, on 48 × 48 pixels
LOW_LIGHT = 4.0  # photons per pixel


class Counts:
    """A source of one camera that notes how many frames were ever asked for at once, and in all."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts, self.most, self.total = counts, 0, 0
        self.shape = (len(counts), 1, *counts.shape[1:])
        self.files: list[Path] = []
        self.all_files: list[tuple[Path, ...]] = []

    def read(self, start: int, stop: int) -> np.ndarray:
        self.most, self.total = max(self.most, stop - start), self.total + stop - start
        return self.counts[start:stop, None].copy()


def noise(counts: np.ndarray, camera: Camera) -> PlaneNoise:
    return measure_noise(Counts(counts), [camera])[0]


@pytest.fixture(scope="module")
def low_light() -> np.ndarray:
    return blinking(SCMOS, LOW_LIGHT, SPARSE, FRAMES, np.random.default_rng(1))


@pytest.fixture(scope="module")
def with_em_gain() -> np.ndarray:
    return blinking(EMCCD, LOW_LIGHT, SPARSE, FRAMES, np.random.default_rng(2))


def test_the_right_declaration_is_confirmed(low_light: np.ndarray, with_em_gain: np.ndarray) -> None:
    assert noise(low_light, SCMOS).ratio == pytest.approx(1, abs=TOL_RATIO)
    assert noise(with_em_gain, EMCCD).ratio == pytest.approx(1, abs=TOL_RATIO)


@pytest.mark.parametrize(("background", "molecules"), [(0.0, SPARSE), (60.0, SPARSE), (LOW_LIGHT, 2 * SPARSE)])
def test_neither_light_nor_molecules_disturb(background: float, molecules: float) -> None:
    counts = blinking(SCMOS, background, molecules, FRAMES, np.random.default_rng(3))
    assert noise(counts, SCMOS).ratio == pytest.approx(1, abs=TOL_RATIO)


def test_dense_molecules_do_not_warn() -> None:
    counts = blinking(SCMOS, LOW_LIGHT, 4 * SPARSE, FRAMES, np.random.default_rng(3))
    assert noise(counts, SCMOS).ratio < ConvertSettings().noise_warn


def test_the_ratio_is_that_of_the_variances(low_light: np.ndarray) -> None:
    """Far from molecules the variance of the counts is known, and with it that of a wrong declaration."""
    signal = LOW_LIGHT * SCMOS.quantum_efficiency / SCMOS.electrons_per_count

    def variance(camera: Camera, above_offset: float) -> float:
        read = (camera.read_noise_electrons / camera.electrons_per_count) ** 2
        return read + above_offset / camera.electrons_per_count + 1 / 12

    true = variance(SCMOS, signal)
    for factor in (1.5, 1 / 1.5):
        declared = replace(SCMOS, electrons_per_count=factor * SCMOS.electrons_per_count)
        assert noise(low_light, declared).ratio == pytest.approx(true / variance(declared, signal), rel=TOL_RATIO)
    declared = replace(SCMOS, offset_counts=80.0)
    assert noise(low_light, declared).ratio == pytest.approx(true / variance(declared, signal + 20), rel=TOL_RATIO)


def converted(folder: Path, counts: np.ndarray, camera: Camera, **settings: float) -> dict:
    """The quality file of a movie of two cameras that saw the same."""
    files = [write(folder / f"{name}.tif", counts) for name in ("near", "far")]
    scope = Microscope("test", 100.0, "files", (replace(camera, name="near"), replace(SCMOS, name="far")))
    out = [folder / name for name in ("movie.zarr", "movie.json", "movie.quality.json")]
    convert(files, scope, *out, ConvertSettings(**settings))
    return json.loads(out[-1].read_text())


def warned(quality: dict) -> set[str]:
    return {check["name"] for check in quality["checks"] if check["verdict"] != "pass"}


def test_a_right_declaration_passes_in_silence(tmp_path, low_light, capsys) -> None:
    quality = converted(tmp_path, low_light, SCMOS)
    assert warned(quality) == set()
    assert quality["values"]["camera_0_noise_ratio"] == pytest.approx(1, abs=TOL_RATIO)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"electrons_per_count": 0.75}, "camera_0_noise_factor_from_declared"),
        ({"electrons_per_count": 0.5 / 1.5}, "camera_0_noise_factor_from_declared"),
        ({"offset_counts": 80.0}, "camera_0_noise_factor_from_declared"),
        ({"offset_counts": 120.0}, "camera_0_below_offset_counts"),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_the_camera(tmp_path, low_light, capsys, change, check) -> None:
    quality = converted(tmp_path, low_light, replace(SCMOS, **change))
    assert check in warned(quality) and all(name.startswith("camera_0") for name in warned(quality))
    lines = [line for line in capsys.readouterr().err.splitlines() if "planeloc: warning" in line]
    assert len(lines) == len(warned(quality))
    assert all("camera near" in line and "offset_counts" in line for line in lines)
    if check == "camera_0_noise_factor_from_declared":
        assert f"{quality['values']['camera_0_noise_ratio']:.3g} times" in lines[-1]


def test_a_forgotten_em_gain_is_named(tmp_path, with_em_gain, capsys) -> None:
    forgotten = replace(EMCCD, em_gain=1.0)
    assert "camera_0_noise_factor_from_declared" in warned(converted(tmp_path, with_em_gain, forgotten))
    assert "em_gain (was it on?)" in capsys.readouterr().err


def test_repeated_frames_are_counted_and_do_not_lower_the_noise(tmp_path, low_light, capsys) -> None:
    every_second = np.repeat(low_light[:60], 2, axis=0)
    quality = converted(tmp_path, every_second, SCMOS)
    assert warned(quality) == {"camera_0_duplicate_frames_fraction", "camera_1_duplicate_frames_fraction"}
    assert quality["values"]["camera_0_duplicate_frames_fraction"] == pytest.approx(0.5, abs=0.05)
    assert "recorded faster than the camera delivers" in capsys.readouterr().err


def test_thresholds_are_settings(tmp_path, low_light) -> None:
    wrong = replace(SCMOS, electrons_per_count=0.75)
    assert warned(converted(tmp_path, low_light, wrong, noise_warn=3.0)) == set()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_movie_of_few_frames_is_no_error(tmp_path, low_light, frames) -> None:
    quality = converted(tmp_path, low_light[:frames], SCMOS)
    assert warned(quality) == set()
    assert ("camera_0_noise_factor_from_declared" in {c["name"] for c in quality["checks"]}) == (frames > 1)


def test_only_some_frames_are_read_few_at_a_time() -> None:
    frame = np.random.default_rng(4).poisson(100, (1, 3000, 2000)).astype(np.uint16)
    long = Counts(np.broadcast_to(frame, (5000, 3000, 2000)))
    tracemalloc.start()
    try:
        measure_noise(long, [SCMOS])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (long.most, long.total) == (1, 160)
    assert peak < 100e6  # 8 frames
