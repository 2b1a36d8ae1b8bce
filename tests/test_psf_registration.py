"""Registration with the PSF calibrated on the same scan: spots that walk with defocus are not a moving stage."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bead_scans import PSF, gaussian_spots, microscope_of, scattered, write_scan

from planeloc.calibration import CalibrateSettings, calibrate
from planeloc.errors import PlanelocError
from planeloc.geometry import Affine, Registration
from planeloc.registration import register

DEPTHS_NM = (-400.0, 400.0)
WALK = 0.04  # nm sideways per nm of defocus
FIELD = (96, 96)
STEP_NM = 80.0
TOL_WALKING_NM = 4.0


def walking_spots():
    """Gaussian spots of an oblique beam: sideways in proportion to the defocus, on both planes alike."""
    psf = replace(PSF, plane_depths_nm=DEPTHS_NM, brightness=(0.5, 0.5))
    spot = gaussian_spots(psf)

    def walking(plane, position, z, shape):
        ways = WALK * (DEPTHS_NM[plane] - z) / PSF.pixel_size_nm
        return np.concatenate(
            [spot(plane, position + np.array([way, 0]), z[k : k + 1], shape) for k, way in enumerate(ways)]
        )

    return walking


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("scan"), np.random.default_rng(4)
    microscope = microscope_of(2)
    beads = scattered(random, 12, FIELD, 14, 8)
    z = -STEP_NM * (np.arange(27) - 13)
    files = write_scan(folder, walking_spots(), [beads] * 2, z, microscope, random, photons=3e4, shape=FIELD)
    return files, microscope


def shift_error_nm(folder: Path, name: str) -> float:
    """In the middle of the field, along x and y together."""
    found, middle = Registration.read(folder / name).maps[1], np.array(FIELD[::-1]) / 2
    return float(np.hypot(*(found(middle) - Affine.identity()(middle)))) * PSF.pixel_size_nm


def test_the_psf_sees_the_walk_and_gaussians_take_it_for_the_stage(scan, tmp_path: Path) -> None:
    """In focus both cameras see a bead at one place, so the map is the identity; on one slice they are a walk apart."""
    files, microscope = scan
    outputs = [tmp_path / name for name in ("psf.h5", "psf.png", "psf.json")]
    calibrate(files, microscope, STEP_NM, "objective", *outputs, CalibrateSettings(model="spline"))
    for name, psf in (("gaussian.json", None), ("spline.json", outputs[0])):
        register(files, microscope, tmp_path / name, tmp_path / "r.png", tmp_path / "r.quality.json", psf=psf)
    apart = WALK * (DEPTHS_NM[1] - DEPTHS_NM[0])
    assert shift_error_nm(tmp_path, "gaussian.json") == pytest.approx(apart, abs=TOL_WALKING_NM)
    assert shift_error_nm(tmp_path, "spline.json") < TOL_WALKING_NM


def test_a_psf_of_another_scan_is_refused(scan, tmp_path: Path) -> None:
    files, microscope = scan
    outputs = [tmp_path / name for name in ("psf.h5", "psf.png", "psf.json")]
    calibrate(files, microscope, STEP_NM, "objective", *outputs, CalibrateSettings(model="gaussian"))
    random = np.random.default_rng(0)
    beads = scattered(random, 12, FIELD, 14, 8)
    other = write_scan(tmp_path, walking_spots(), [beads] * 2, np.zeros(1), microscope, random, shape=FIELD)
    with pytest.raises(PlanelocError, match=r"psf\.h5: made from 27 slices of 2 cameras, the bead images have 1 of 2"):
        register(other, microscope, *(tmp_path / n for n in ("r.json", "r.png", "q.json")), psf=outputs[0])
