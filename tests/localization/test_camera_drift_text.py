"""What is said of a camera's drift is what it did."""

import math

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.localization.camera_drift_figure import draw_camera_drift
from planeloc.localization.camera_drift_text import Movement, drift_checks, drift_values, in_words, movement

FRAMES = np.arange(0, 6000, 3)


def path(kind: str, size: float, at: float = 0.05, seed: int = 0) -> np.ndarray:
    """(n, 2) of a camera that settles, drifts, jumps, trembles or stays, by so many nanometres."""
    time, random = np.linspace(0, 1, len(FRAMES)), np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi)
    along = {
        "still": np.zeros_like(time),
        "settling": -size * np.exp(-time / at),
        "steady": size * time,
        "jump": size * (time > at),
        "unsteady": None,
    }[kind]
    if along is None:
        return random.normal(0, size, (len(time), 2))
    return along[:, None] * [math.cos(angle), math.sin(angle)] + 7


def sd(value: float = 2.0) -> np.ndarray:
    return np.full((len(FRAMES), 2), value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["still", "settling", "steady", "jump", "unsteady"]),
    size=st.floats(30, 200),
    at=st.floats(0.02, 0.08),
    seed=st.integers(0, 1000),
)
def test_the_kind_and_size_are_those_of_the_path(kind, size, at, seed):
    found = movement(FRAMES, path(kind, size, at, seed), sd())
    assert found.kind == kind
    if kind == "still":
        assert found.size_nm < 15
    else:
        assert found.size_nm == pytest.approx(size, rel=0.15)
    if kind == "jump":
        assert found.frame == FRAMES[np.flatnonzero(np.linspace(0, 1, len(FRAMES)) > at)[0]]
    if kind == "settling":
        assert at * 6000 < found.frame < 3 * at * 6000


def test_movements_within_their_error_are_none():
    assert movement(FRAMES, path("steady", 30), sd(10)).kind == "still"
    assert movement(FRAMES, path("steady", 6), sd(0.1)).kind == "still"


def test_unknown_drift_is_not_told():
    assert movement(FRAMES, path("steady", 100), sd(np.nan)).kind == "unknown"
    assert movement(FRAMES[:1], path("steady", 100)[:1], sd()[:1]).kind == "unknown"
    part = sd()
    part[:1000] = np.nan
    assert movement(FRAMES, path("jump", 100, at=0.2), part).kind == "still"
    assert "not known" in in_words("camera 2", Movement("unknown", math.nan), 6000)


def test_sentences():
    settling = Movement("settling", 41.3, 1800)
    assert (
        in_words("camera 2", settling, 6000, 0.1) == "camera 2 moved 41 nm in the first 3 minutes: let the stage settle"
    )
    assert "in the first 1,800 frames" in in_words("camera 2", settling, 6000)
    jump = in_words("camera 1", Movement("jump", 150, 412), 6000, 0.05)
    assert jump == "camera 1 jumped by 150 nm at 21 s (frame 412): was it touched?"
    assert in_words("c", Movement("still", 6.2), 6000) == "c stayed in place within 6 nm"
    assert in_words("c", Movement("steady", 80, 1), 72_000, 0.1) == (
        "c drifted by 80 nm over 2.0 hours: check the temperature and the mounts"
    )
    assert "from frame to frame" in in_words("c", Movement("unsteady", 24), 6000)


def test_drift_larger_than_the_networks_warns():
    drift = np.stack([path("unsteady", 60), path("unsteady", 20)], axis=1)
    errors = np.stack([sd(), sd()], axis=1)
    values = drift_values(drift, errors)
    assert values["camera_1_drift_rms_nm"] == pytest.approx(60, rel=0.05)
    checks = drift_checks(values, ["camera 1 moves", "camera 2 moves"], (24.0, 24.0), 1.5)
    assert [check.verdict for check in checks] == ["warn", "pass"]
    assert "camera 1 moves" in checks[0].advice and "24 nm" in checks[0].advice
    assert not drift_checks(drift_values(drift, errors * np.nan), ["", ""], (24.0, 24.0), 1.5)


@pytest.mark.parametrize("seconds", [None, 0.1])
def test_the_figure(tmp_path, seconds):
    drift = np.stack([path("settling", 41, seed=1), path("jump", 60, 0.6, 2), path("still", 0)], axis=1)
    errors = np.stack([sd(4), sd(2), sd(np.nan)], axis=1)
    names = ("camera 1", "camera 2", "camera 3")
    draw_camera_drift(tmp_path / "a.png", FRAMES, drift, errors, names, names, seconds)
    draw_camera_drift(tmp_path / "b.png", FRAMES, drift, errors, names, names, seconds)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert matplotlib.image.imread(tmp_path / "a.png").shape[1] > 1500
