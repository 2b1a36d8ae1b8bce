"""Calibration against known truth, against spots that are no Gaussians, and on real beads."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc import psf as psf_models
from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.psf import GaussianPSF, read_psf
from support.bead_scans import PSF, gaussian_spots, microscope_of, pupil_spots, scattered, write_scan

DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set")

STEP_NM = 80.0
TOL_DEPTH_NM = 6.0
TOL_BRIGHTNESS = 0.006
TOL_REAL_SPACING_NM = 20.0
TOL_REAL_WAIST = 0.05  # of 129 nm
UNEVEN = replace(PSF, asymmetry=0.1, quartic=0.02, brightness=(0.3, 0.2, 0.27, 0.23))


def travel(slices: int = 31, step: float = STEP_NM) -> np.ndarray:
    return step * (np.arange(slices) - (slices - 1) / 2)


def scan(
    folder: Path, spot: object, microscope: Microscope, z: np.ndarray, beads: int = 5, seed: int = 0, **options: object
) -> list[Path]:
    random = np.random.default_rng(seed)
    positions = scattered(random, beads, (64, 64), 15, 8)
    return write_scan(folder, spot, [positions] * microscope.planes, z, microscope, random, **options)


def run(
    folder: Path, files: list[Path], microscope: Microscope, step: float, kind: str = "objective", **settings: object
):
    outputs = [folder / name for name in ("psf.h5", "psf.png", "psf.quality.json")]
    try:
        calibrate(files, microscope, step, kind, *outputs, CalibrateSettings(**settings))
    except PlanelocError as error:
        assert "\n" not in str(error)
        assert not any(path.exists() for path in outputs), "a failed calibration leaves nothing but its figure"
        raise
    assert outputs[1].stat().st_size > 10_000
    return read_psf(outputs[0]), read_json(outputs[2])


def verdicts(quality: dict) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in quality["checks"]}


def assert_same_psf(found: psf_models.PSF, truth: GaussianPSF) -> None:
    found = found.gaussian
    np.testing.assert_allclose(found.plane_depths_nm, truth.plane_depths_nm, atol=TOL_DEPTH_NM)
    np.testing.assert_allclose(found.brightness, truth.brightness, atol=TOL_BRIGHTNESS)
    assert sum(found.brightness) == pytest.approx(1)
    assert found.waist_nm == pytest.approx(truth.waist_nm, rel=0.01)
    assert found.focus_depth_nm == pytest.approx(truth.focus_depth_nm, rel=0.02)
    assert found.asymmetry == pytest.approx(truth.asymmetry, abs=0.02)
    assert found.quartic == pytest.approx(truth.quartic, abs=0.01)


@pytest.mark.parametrize("model", ["gaussian", "spline"])
@pytest.mark.parametrize("kind", ["objective", "sample"])
def test_both_scans_give_the_same_psf(tmp_path: Path, kind: str, model: str) -> None:
    """An objective scan by +s moves the bead by −s: depths and the sign of A must not depend on what was moved."""
    microscope = microscope_of(4)
    z = travel() if kind == "sample" else -travel()
    files = scan(tmp_path, gaussian_spots(UNEVEN), microscope, z)
    psf, quality = run(tmp_path, files, microscope, STEP_NM, kind, model=model)
    assert_same_psf(psf, UNEVEN)
    assert set(verdicts(quality).values()) == {"pass"}
    assert quality["values"]["plane_1_depth_sd_nm"] < TOL_DEPTH_NM


def test_planes_in_any_order_beads_on_a_slope_and_other_beads_per_camera(tmp_path: Path) -> None:
    truth = replace(PSF, plane_depths_nm=(600.0, -200.0, 200.0, -600.0))
    random = np.random.default_rng(3)
    microscope = microscope_of(4)
    beads = scattered(random, 9, (96, 96), 15, 8)
    heights = 4.0 * (beads[:, 0] - 48)  # nm: a coverslip tilted by 1 in 50
    light = random.uniform(1.2e4, 4e4, 9)
    seen = [np.arange(9) != missing for missing in (0, 3, 5, 7)]
    files = write_scan(
        tmp_path,
        gaussian_spots(truth),
        [beads[s] for s in seen],
        travel(),
        microscope,
        random,
        photons=[light[s] for s in seen],
        shape=(96, 96),
        height_nm=[heights[s] for s in seen],
    )
    psf, quality = run(tmp_path, files, microscope, STEP_NM, "sample")
    assert_same_psf(psf, truth)
    assert verdicts(quality)["planes_in_order"] == "warn"


@pytest.mark.slow
def test_diffraction_with_em_gain_is_not_refused(tmp_path: Path) -> None:
    """Spots of a pupil, rings and all, through an electron-multiplying camera."""
    depths = (-600.0, -200.0, 200.0, 600.0)
    camera = Camera(
        offset_counts=200, electrons_per_count=5, em_gain=100, quantum_efficiency=0.9, read_noise_electrons=50
    )
    microscope = microscope_of(4, camera=camera)
    spot = pupil_spots(depths, 192.0, spherical_rad=0.3)
    psf, quality = run(tmp_path, scan(tmp_path, spot, microscope, -travel(37)), microscope, STEP_NM)
    np.testing.assert_allclose(np.diff(psf.plane_depths_nm), np.diff(depths), atol=15)
    np.testing.assert_allclose(psf.brightness, 0.25, atol=0.01)
    assert "fail" not in verdicts(quality).values()
    assert verdicts(quality)["relative_residual"] == "pass"
    assert quality["values"]["relative_residual_spline"] < 0.5 * quality["values"]["relative_residual_gaussian"]
    defocus = np.linspace(-1500, 1500, 61)
    assert (psf.gaussian.squared_width(defocus) > 0).all()


def test_astigmatism_is_refused_by_the_round_model_and_learned_by_the_spline(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    spot = pupil_spots((-200.0, 200.0), 192.0, astigmatism_rad=0.6)
    files = scan(tmp_path, spot, microscope, -travel(), beads=2)
    with pytest.raises(PlanelocError, match=r"astigmatism.*see .*psf\.failed\.png"):
        run(tmp_path, files, microscope, STEP_NM, model="gaussian")
    failed = read_json(tmp_path / "psf.quality.failed.json")
    assert verdicts(failed)["astigmatism_nm"] == "fail"
    _, quality = run(tmp_path, files, microscope, STEP_NM)
    assert not (tmp_path / "psf.quality.failed.json").exists(), "the values of a fixed failure go"
    assert verdicts(quality)["astigmatism_nm"] == "warn"
    assert verdicts(quality)["relative_residual"] == "pass"


def test_refractive_index_factor_shrinks_all_depths(tmp_path: Path) -> None:
    """Beads scanned in steps of 80 nm whose focus moves by 0.8 of that: depths are those of the sample."""
    microscope = microscope_of(4)
    files = scan(tmp_path, gaussian_spots(PSF), microscope, -travel(step=64.0))
    psf, _ = run(tmp_path, files, microscope, 80.0, model="gaussian", refractive_index_factor=0.8)
    assert_same_psf(psf, PSF)


def test_coarse_or_short_scans_are_refused(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5)))
    files = scan(tmp_path / "coarse", spot, microscope, -travel(15, 200.0), beads=2)
    with pytest.raises(PlanelocError, match="too coarse"):
        run(tmp_path, files, microscope, 200.0)
    with pytest.raises(PlanelocError, match="too coarse"):
        run(tmp_path, files, microscope, 300.0)
    files = scan(tmp_path / "missed", spot, microscope, -travel() + 1300, beads=2)
    with pytest.raises(PlanelocError, match=r"focus of every plane|this plane's focus"):
        run(tmp_path, files, microscope, STEP_NM)
    files = scan(tmp_path / "short", spot, microscope, -travel(4), beads=2)
    with pytest.raises(PlanelocError, match="4 slices"):
        run(tmp_path, files, microscope, STEP_NM)


def test_planes_that_share_a_focus_are_refused_with_a_figure(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(0.0, 0.0), brightness=(0.5, 0.5)))
    files = scan(tmp_path, spot, microscope, -travel(21), beads=2)
    with pytest.raises(PlanelocError, match=r"was the same file given twice.*see .*psf\.failed\.png"):
        run(tmp_path, files, microscope, STEP_NM)
    assert (tmp_path / "psf.failed.png").stat().st_size > 10_000
    _, quality = run(tmp_path, files, microscope, STEP_NM, spacing_fail_nm=0.0)
    assert not (tmp_path / "psf.failed.png").exists(), "the figure of a fixed failure goes"
    assert verdicts(quality)["smallest_plane_spacing_nm"] == "warn"
    files[1].write_bytes(files[0].read_bytes())
    with pytest.raises(PlanelocError, match="identical images"):
        run(tmp_path / "twice", files, microscope, STEP_NM)


def test_planes_in_falling_order_say_what_a_wrong_scan_does(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    microscope = microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5)))
    files = scan(tmp_path, spot, microscope, -travel(), beads=2)
    psf, quality = run(tmp_path, files, microscope, STEP_NM, "sample")
    assert psf.plane_depths_nm[0] > psf.plane_depths_nm[1]
    order = next(check for check in quality["checks"] if check["name"] == "planes_in_order")
    assert order["verdict"] == "warn"
    assert "z decreases with the number of the camera" in order["advice"]
    assert "warning: order of the foci (1: as listed, −1: reversed) −1 (threshold 1)" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_saturated_stacks_are_not_told_to_be_brighter(tmp_path: Path, dtype: str) -> None:
    """Clipped at the file's largest number, and at a camera's own that the microscope file does not name."""
    microscope = microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5)))
    files = scan(tmp_path, spot, microscope, -travel(11), beads=2, photons=1e6)
    for file in files:
        clipped = np.minimum(tifffile.imread(file), 255 if dtype == "uint8" else 1023)
        tifffile.imwrite(file, clipped.astype(dtype), photometric="minisblack")
    advice = "lower the laser power or the exposure time, or use dimmer beads|beads that saturate a camera"
    with pytest.raises(PlanelocError, match=advice):
        run(tmp_path, files, microscope, STEP_NM)


def test_no_saturated_and_crowded_beads_are_named(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5)))
    random = np.random.default_rng(0)
    nothing = [np.empty((0, 2))] * 2
    files = write_scan(tmp_path / "empty", spot, nothing, travel(9), microscope, random)
    with pytest.raises(PlanelocError, match="0 usable beads on camera 0"):
        run(tmp_path, files, microscope, STEP_NM)
    pair = [np.array([[30.0, 30.0], [35.0, 30.0]])] * 2
    files = write_scan(tmp_path / "pair", spot, pair, travel(9), microscope, random)
    with pytest.raises(PlanelocError, match="2 too close to another"):
        run(tmp_path, files, microscope, STEP_NM)
    full = replace(microscope, cameras=tuple(replace(c, saturation_counts=1000.0) for c in microscope.cameras))
    files = write_scan(tmp_path / "full", spot, [np.array([[30.0, 30.0]])] * 2, travel(9), full, random)
    with pytest.raises(PlanelocError, match="1 saturated"):
        run(tmp_path, files, full, STEP_NM)


def test_arguments_are_checked(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    with pytest.raises(PlanelocError, match="objective, sample"):
        run(tmp_path, [tmp_path / "a.tif"], microscope, 50.0, "stage")
    with pytest.raises(PlanelocError, match="above zero"):
        run(tmp_path, [tmp_path / "a.tif"], microscope, 0.0)


@needs_data
def test_real_bead_as_four_planes(tmp_path: Path) -> None:
    """A real 180 nm bead; plane k at stage position z is the slice at z + d_k: 400 nm apart by construction."""
    stack = tifffile.imread(Path(DATA) / "beads" / "bead180_oil.tif")
    binned = (stack[:, :30, :30] - 104.2).reshape(51, 10, 3, 10, 3).sum(axis=(2, 4))
    files = []
    for plane, slices in enumerate((-6, -2, 2, 6)):
        images = binned[np.arange(6, 45) + slices] / 4 + 100
        files.append(tmp_path / f"beads_{plane}.tif")
        tifffile.imwrite(files[-1], np.rint(images).clip(0).astype(np.uint16), photometric="minisblack")
    microscope = microscope_of(4, 195.0, Camera(offset_counts=100, electrons_per_count=4 * 0.52))
    psf, quality = run(tmp_path, files, microscope, 100.0)
    np.testing.assert_allclose(np.diff(psf.plane_depths_nm), 400, atol=TOL_REAL_SPACING_NM)
    np.testing.assert_allclose(psf.brightness, 0.25, atol=0.01)
    assert psf.gaussian.waist_nm == pytest.approx(129, rel=TOL_REAL_WAIST)
    assert "fail" not in verdicts(quality).values()
    assert verdicts(quality)["width_residual_over_waist"] == "warn"  # rings on one side of focus
    assert verdicts(quality)["relative_residual"] == "pass"
    _, quality = run(tmp_path, files, microscope, 100.0, model="gaussian")
    assert verdicts(quality)["relative_residual"] == "warn"


@needs_data
def test_real_coarse_stack_is_refused(tmp_path: Path) -> None:
    file = Path(DATA) / "beads" / "pyotf_BIL113_z300nm.tif"
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, tifffile.imread(file)[:, ::-1], photometric="minisblack")
    with pytest.raises(PlanelocError, match=r"pyotf_BIL113_z300nm.tif: .*too coarse"):
        run(tmp_path, [file, other], microscope_of(2, 130.0), 300.0)
    with pytest.raises(PlanelocError, match="too coarse"):
        run(tmp_path, [file, other], microscope_of(2, 130.0), 300.0, maximum_step_nm=1000.0, border_nm=500.0)
