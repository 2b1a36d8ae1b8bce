"""What can be wrong with a bead scan: each fault is named in one line with its remedy, and none gives a wrong PSF that
passes every check.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planeloc import psf as psf_models
from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.psf import read_psf
from support.bead_scans import PSF
from support.faulty_scans import SLICES, STEP_NM, Recording

# What a calibration whose checks all pass may be off by.
TOL_SPACING_NM = 15.0
TOL_BRIGHTNESS = 0.02  # of 0.45 and 0.55
TOL_WAIST = 0.05
TOL_FOCUS_DEPTH = 0.1
TOL_GOOD_SPACING_NM = 6.0
TOL_GOOD_BRIGHTNESS = 0.006

GOOD = Recording()


@dataclass(frozen=True)
class Outcome:
    """Of a calibration: a message, or a PSF with its checks."""

    message: str = ""
    psf: psf_models.PSF | None = None
    quality: dict | None = None

    @property
    def advice(self) -> dict[str, str]:
        """Of every check that did not pass, by name."""
        return {c["name"]: c["advice"] for c in self.quality["checks"] if c["verdict"] != "pass"}

    def spacing_error_nm(self, recording: Recording) -> float:
        truth = np.diff(recording.truth.plane_depths_nm) * (-1 if recording.swapped else 1)
        return float(np.abs(np.diff(self.psf.plane_depths_nm) - truth).max())

    def brightness_error(self, recording: Recording) -> float:
        truth = recording.truth.brightness[:: -1 if recording.swapped else 1]
        return float(np.abs(np.subtract(self.psf.brightness, truth)).max())


def calibrated(folder: Path, recording: Recording, step_nm: float = STEP_NM, **changed: object) -> Outcome:
    """Everything but a `PlanelocError` in one line, that names a file and leaves no result, is let through."""
    files, microscope = recording.write(folder)
    outputs = [folder / name for name in ("psf.h5", "psf.png", "psf.quality.json")]
    options = CalibrateSettings(**{"model": "gaussian", **changed})
    try:
        calibrate(files, microscope, step_nm, "objective", *outputs, options)
    except PlanelocError as error:
        message = str(error)
        assert "\n" not in message
        assert any(message.startswith(str(file)) for file in files)
        assert not any(path.exists() for path in outputs)
        return Outcome(message)
    quality = read_json(outputs[2])
    assert "fail" not in {check["verdict"] for check in quality["checks"]}
    return Outcome(psf=read_psf(outputs[0]), quality=quality)


def assert_right(outcome: Outcome, recording: Recording) -> None:
    assert outcome.spacing_error_nm(recording) < TOL_GOOD_SPACING_NM
    assert outcome.brightness_error(recording) < TOL_GOOD_BRIGHTNESS
    assert outcome.psf.gaussian.waist_nm == pytest.approx(recording.truth.waist_nm, rel=0.01)
    assert outcome.psf.gaussian.focus_depth_nm == pytest.approx(recording.truth.focus_depth_nm, rel=0.03)


HARMLESS = {
    "nothing": {},
    "a camera upside down": {"upside_down": True},
    "beads at the border": {"rim_px": 0.0, "beads": 8, "apart_px": 11.0},
    "one clump": {"clumps": 1},
    "hot pixels": {"hot_pixels": 10},
    "one bead comes off a little": {"one_moves_px": 0.6},
    "one bead comes off": {"one_moves_px": 4.0},
    "offset too low": {"offset_error_counts": -30.0},
    "offset too high": {"offset_error_counts": 30.0},
}


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_can_be_left_out_does_no_harm(tmp_path: Path, fault: str) -> None:
    recording = replace(GOOD, **HARMLESS[fault])
    outcome = calibrated(tmp_path, recording)
    assert_right(outcome, recording)
    assert not outcome.advice


REFUSED = {
    "no beads": ({"beads": 0}, "beads_0.tif: 0 usable beads on camera 0.*use brighter beads"),
    "an empty camera": ({"empty_camera": 1}, "beads_1.tif: 0 usable beads on camera 1.*use brighter beads"),
    "a dead camera": ({"dead_camera": 1, "dead_counts": 100}, "beads_1.tif: 0 usable beads on camera 1"),
    "a full camera": ({"dead_camera": 1, "dead_counts": 65535}, "camera 1.*saturated: lower the laser power"),
    "hot pixels alone": ({"beads": 0, "hot_pixels": 10}, "0 usable beads on camera 0.*use brighter beads"),
    "too close": ({"beads": 20, "apart_px": 3.0}, "too close to another.*camera 0.*sparser bead sample"),
    "outside": ({"rim_px": 1.0, "side_px": 9, "beads": 1}, "1 too close to the border.*middle of the field"),
    "dim": ({"photons": 60.0}, "0 usable beads.*use brighter beads or a longer exposure"),
    "bright": ({"photons": 1e6}, "5 saturated.*camera 0.*lower the laser power"),
    "a ceiling no file names": ({"full_counts": 2000}, "5 saturated.*camera 0.*lower the laser power"),
    "8 bits": ({"dtype": "uint8"}, "5 saturated.*camera 0.*lower the laser power"),
    "focus of camera 0 missed": ({"off_focus_nm": 700.0}, "scan beyond focus.*end it later, camera 0 is nearest"),
    "focus of camera 1 missed": ({"off_focus_nm": -700.0}, "scan beyond focus.*begin it earlier, camera 1 is nearest"),
    "both foci missed": ({"off_focus_nm": 1500.0}, "scan beyond focus.*end it later"),
    "a jump": ({"stage_jumps_nm": 250.0}, r"the stage jumped or went back near slice (9|10|11) .*settle"),
    "a way back": ({"stage_returns": 5}, r"the stage jumped or went back near slice 1\d .*settle"),
    "all beads move": (
        {"all_move_px": 1.0},
        "motion of individual beads.*move independently.*most on camera.*fix them to the cover",
    ),
    "all beads swim": (
        {"all_move_px": 3.0},
        "too close to another.*appears as several spots: fix the beads to the cover",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_corrected_stops_the_run(tmp_path: Path, fault: str) -> None:
    change, message = REFUSED[fault]
    outcome = calibrated(tmp_path, replace(GOOD, **change))
    assert outcome.message
    assert re.search(message, outcome.message), outcome.message


WARNED = {
    "light that fades": (
        {"light_kept": 0.6},
        "photobleaching",
        "brightness of the beads fell.*if the beads bleached, set beads_bleach",
    ),
    "one bead": ({"beads": 1}, "fewest_beads", "camera 0 has the fewest; more beads"),
    "few beads": ({"beads": 3}, "cameras_matched", "beads of camera 1 could not be matched.*5 or more beads"),
    "other field": ({"other_field": True}, "cameras_matched", "beads of camera 1 .*bead files of the same field"),
    "dim beads": ({"photons": 1000.0}, "bead_photons", "dim on camera 0; raise the laser power"),
    "clumps": ({"clumps": 4}, "gaussian_residual_in_focus", "clumped beads"),
    "beads that move": ({"all_move_px": 0.3}, "bead_motion_nm", "most on camera [01]: fix them to the coverslip"),
    "a sample that slides": ({"stage_moves_px": 2.0}, "lateral_stage_drift_nm", "sideways together.*clamp the sample"),
    "a small jump": (
        {"stage_jumps_nm": 80.0},
        "stage_step_error_nm",
        "jumped or went back near slice 10 .the first is 1",
    ),
}


@pytest.mark.parametrize("fault", WARNED)
def test_what_makes_a_calibration_doubtful_warns(tmp_path: Path, fault: str) -> None:
    change, check, advice = WARNED[fault]
    outcome = calibrated(tmp_path, replace(GOOD, **change))
    assert not outcome.message
    assert check in outcome.advice
    assert re.search(advice, outcome.advice[check]), outcome.advice[check]


@pytest.mark.parametrize("model", ["gaussian", "spline"])
def test_light_that_fades_is_taken_out_of_the_brightness(tmp_path: Path, model: str) -> None:
    recording = replace(GOOD, light_kept=0.5)
    left = calibrated(tmp_path / "left", recording, model=model)
    assert left.brightness_error(recording) > 0.03
    corrected = calibrated(tmp_path / "corrected", recording, model=model, beads_bleach=True)
    assert_right(corrected, recording)
    assert corrected.quality["values"]["photobleaching"] == pytest.approx(0.5, abs=0.06)
    assert "was removed" in corrected.advice["photobleaching"]


def test_light_that_stays_is_not_changed_where_beads_may_bleach(tmp_path: Path) -> None:
    outcome = calibrated(tmp_path, GOOD, beads_bleach=True)
    assert_right(outcome, GOOD)
    assert not outcome.advice


def test_cameras_in_another_order_are_seen(tmp_path: Path) -> None:
    three = replace(PSF, plane_depths_nm=(-400.0, 400.0, 0.0), brightness=(0.3, 0.3, 0.4))
    outcome = calibrated(tmp_path / "three", replace(GOOD, truth=three))
    assert "order of the files in the calibration table" in outcome.advice["planes_in_order"]
    outcome = calibrated(tmp_path / "two", replace(GOOD, swapped=True))
    order = next(check for check in outcome.quality["checks"] if check["name"] == "planes_in_order")
    assert "z decreases with the number of the camera" in order["advice"]


@pytest.mark.parametrize("said_nm, advice", [(200.0, "is long"), (40.0, "is short")])
def test_a_wrong_z_step_is_noticed_by_the_shape_of_the_spots(tmp_path: Path, said_nm: float, advice: str) -> None:
    outcome = calibrated(tmp_path, GOOD, said_nm)
    assert advice in outcome.advice["depth_of_focus_over_waist"]
    assert "check the z step in the calibration table" in outcome.advice["depth_of_focus_over_waist"]


def faults() -> st.SearchStrategy[dict[str, object]]:
    """A few faults at once, of any size."""
    sizes: dict[str, st.SearchStrategy] = {
        "beads": st.integers(0, 9),
        "apart_px": st.floats(2, 15),
        "rim_px": st.floats(-3, 8),
        "photons": st.floats(1.5, 6).map(lambda power: 10.0**power),
        "spread": st.floats(0, 1.5),
        "background": st.sampled_from([0.0, 1.0, 30.0, 300.0]),
        "light_kept": st.floats(0.1, 1.5),
        "one_moves_px": st.floats(0, 6),
        "all_move_px": st.floats(0, 3),
        "stage_moves_px": st.floats(-6, 6),
        "stage_jumps_nm": st.floats(-600, 600),
        "stage_returns": st.integers(0, 10),
        "off_focus_nm": st.floats(-1500, 1500),
        "clumps": st.integers(0, 5),
        "hot_pixels": st.integers(0, 60),
        "swapped": st.just(True),
        "upside_down": st.just(True),
        "other_field": st.just(True),
        "empty_camera": st.integers(0, 1),
        "dead_camera": st.integers(0, 1),
        "dead_counts": st.sampled_from([0, 1, 100, 65535]),
        "offset_error_counts": st.floats(-30, 30),
        "full_counts": st.integers(1, 6000),
        "dtype": st.just("uint8"),
        "side_px": st.sampled_from([7, 16, 48]),
    }
    assert set(sizes) <= {field.name for field in fields(Recording)}
    names = st.lists(st.sampled_from(sorted(sizes)), min_size=1, max_size=3, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: sizes[name] for name in sorted(chosen)}))


def check_property(change: dict[str, object], seed: int, model: str) -> None:
    """A line that says what is wrong, a verdict that does, or a calibration that is right."""
    recording = replace(GOOD, seed=seed, **change)
    with tempfile.TemporaryDirectory() as folder:
        outcome = calibrated(Path(folder), recording, model=model)
    if outcome.message or outcome.advice:
        return
    assert outcome.spacing_error_nm(recording) < TOL_SPACING_NM
    assert outcome.brightness_error(recording) < TOL_BRIGHTNESS
    assert outcome.psf.gaussian.waist_nm == pytest.approx(recording.truth.waist_nm, rel=TOL_WAIST)
    assert outcome.psf.gaussian.focus_depth_nm == pytest.approx(recording.truth.focus_depth_nm, rel=TOL_FOCUS_DEPTH)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(faults(), st.integers(0, 3))
def test_no_fault_gives_a_wrong_psf_that_passes(change: dict[str, object], seed: int) -> None:
    check_property(change, seed, "gaussian")


@settings(max_examples=3, deadline=None, derandomize=True, database=None)
@given(faults(), st.integers(0, 3))
@example({"one_moves_px": 0.4, "hot_pixels": 20}, 0)
def test_no_fault_gives_a_wrong_spline_that_passes(change: dict[str, object], seed: int) -> None:
    check_property(change, seed, "spline")


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(faults(), st.integers(0, 1000))
def test_no_fault_of_many_gives_a_wrong_psf_that_passes(change: dict[str, object], seed: int) -> None:
    check_property(change, seed, "gaussian")


def test_a_scan_has_slices_on_both_sides_of_every_focus() -> None:
    """What the tests above take for good."""
    half = STEP_NM * (SLICES - 1) / 2
    assert min(half - abs(depth) for depth in GOOD.truth.plane_depths_nm) > GOOD.truth.focus_depth_nm


def test_a_curve_that_turns_down_far_from_focus_keeps_positive_widths() -> None:
    """As a scan much longer than what molecules need can see of it."""
    curve = replace(PSF, asymmetry=-0.3)
    defocus = np.linspace(-4000, 4000, 41)
    assert (curve.squared_width(defocus) > 0).all()
    assert curve.squared_width(4000.0) > 0
    tensor = torch.from_numpy(defocus)
    np.testing.assert_allclose(curve.squared_width(tensor).numpy(), curve.squared_width(defocus), rtol=1e-12)
