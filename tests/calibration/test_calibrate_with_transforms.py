"""Maps and PSFs together: whether the stage wanders or the spot walks with defocus, molecules are found where they are.

From a scan alone nobody can tell a stage that slides evenly from a spot that walks evenly: both are then a walk, which
shears the picture and does no other harm. What may not happen is that planes disagree.
"""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.noise import PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.fitting.single_emitter import EmitterWindows, fit_emitters
from planeloc.psf import read_psf
from planeloc.registration.register import register
from planeloc.transforms.camera_transform import Affine, Registration
from support.bead_scans import PSF, gaussian_spots, microscope_of, scattered, turned

DEPTHS_NM = (-400.0, 400.0)
FIELD = (96, 96)
STEP_NM = 80.0
SLICES = 27
SIDE = 13
PIXEL_NM = PSF.pixel_size_nm
ONE = replace(PSF, plane_depths_nm=DEPTHS_NM, brightness=(0.5, 0.5))
MAPS = (Affine.identity(), turned([[-1.01, 0.02], [0.02, 1.0]], [95.0, -1.5]))  # the second camera is mirrored
TOL_MAP_NM = 2.5
TOL_BIAS_NM = 6.0
TOL_SLOPE_NM = 2.0
TOL_CHI_SQUARE = 0.1


def walk_px(rate: float, defocus_nm: np.ndarray) -> np.ndarray:
    """(n, 2) what a spot walks with defocus, in the reference's pixels; a little more than evenly."""
    u = defocus_nm / 1000
    return rate * np.column_stack((u, 0.3 * u)) * 1000 / PIXEL_NM


WORLDS = {
    "still": (0.0, np.zeros((SLICES, 2))),
    "walking spot": (0.04, np.zeros((SLICES, 2))),
    "wandering stage": (0.0, np.cumsum(np.random.default_rng(6).normal(0, 8 / PIXEL_NM, (SLICES, 2)), axis=0)),
    "sliding stage": (0.0, np.linspace(-0.25, 0.25, SLICES)[:, None] * np.array([1.0, -0.4])),
}


def image(plane: int, place_px: np.ndarray, z_nm: np.ndarray, rate: float, shape: tuple[int, int]) -> np.ndarray:
    """Light (n, rows, columns) on a camera of emitters at reference places (n, 2)."""
    spot = gaussian_spots(ONE)
    at = MAPS[plane](place_px + walk_px(rate, DEPTHS_NM[plane] - z_nm))
    return np.concatenate([spot(plane, a, z_nm[k : k + 1], shape) for k, a in enumerate(at)])


def calibrated(folder, world: str):
    """Register, then calibrate with the maps, from files."""
    rate, path = WORLDS[world]
    random, microscope = np.random.default_rng(4), microscope_of(2)
    beads = scattered(random, 14, FIELD, 13, 8)
    z = -STEP_NM * (np.arange(SLICES) - (SLICES - 1) / 2)
    files = []
    for plane, camera in enumerate(microscope.cameras):
        expected = np.full((SLICES, *FIELD), 4.0)
        for bead in beads:
            expected += 3e4 * image(plane, bead + path, z, rate, FIELD)
        files.append(folder / f"beads_{plane}.tif")
        tifffile.imwrite(files[-1], camera.expose(expected, random), photometric="minisblack")
    maps, psf = folder / "maps.json", folder / "psf.h5"
    register(files, microscope, maps, folder / "maps.png", folder / "maps.quality.json")
    outputs = (psf, folder / "psf.png", folder / "psf.quality.json")
    calibrate(files, microscope, STEP_NM, "objective", *outputs, CalibrateSettings(), registration=maps)
    return Registration.read(maps), read_psf(psf), files, microscope


@pytest.mark.parametrize("world", WORLDS)
def test_planes_agree_and_molecules_are_where_they_are(tmp_path, world: str) -> None:
    maps, psf, _, _ = calibrated(tmp_path, world)
    rate, path = WORLDS[world]
    if rate == 0:  # of a walking spot, "the" map is a convention
        grid = np.stack(np.meshgrid([0.0, 48, 96], [0.0, 48, 96]), axis=-1)
        error = np.hypot(*np.moveaxis(maps.transforms[1](grid) - MAPS[1](grid), -1, 0)) * PIXEL_NM
        assert np.sqrt(np.mean(error**2)) < TOL_MAP_NM
    random = np.random.default_rng(1)
    depth = np.repeat(np.arange(-400.0, 401.0, 200.0), 25)
    place = 48 + random.uniform(-0.5, 0.5, (len(depth), 2))
    corners = [np.floor(m(np.full(2, 48.0))).astype(int) - SIDE // 2 for m in MAPS]
    light = [
        image(p, place, depth, rate, FIELD)[:, c[1] : c[1] + SIDE, c[0] : c[0] + SIDE] for p, c in enumerate(corners)
    ]
    seen = torch.from_numpy(random.poisson(2e4 * np.stack(light, axis=1) + 4).astype(float))
    noise = PixelNoise(torch.ones(2).double(), torch.full((2,), 0.1).double())
    shifts = np.stack([m.shift_px - c + m.matrix @ corners[0] for m, c in zip(maps.transforms, corners, strict=True)])
    windows = EmitterWindows.of(
        seen,
        noise,
        shifts_nm=torch.from_numpy(shifts * PIXEL_NM).expand(len(depth), 2, 2),
        axes=torch.from_numpy(np.stack(maps.matrices)),
    )
    truth = np.column_stack(((place - corners[0]) * PIXEL_NM, depth, np.full(len(depth), 2e4)))
    fits = fit_emitters(psf, windows, torch.from_numpy(truth))
    assert fits.chi_square.median() == pytest.approx(1, abs=TOL_CHI_SQUARE)
    bias = np.median((fits.parameters.numpy() - truth)[:, :3].reshape(5, 25, 3), axis=1)
    slope = np.polyfit(np.arange(5), bias[:, :2], 1)[0]  # per 200 nm of depth
    if world in ("still", "walking spot"):
        np.testing.assert_allclose(slope, 0, atol=TOL_SLOPE_NM)
    if world == "sliding stage":  # the picture is sheared by the slide: z is the direction in which the stage moves
        slide = (path[-1] - path[0]) * PIXEL_NM / ((SLICES - 1) * STEP_NM) * 200
        np.testing.assert_allclose(slope, slide, atol=TOL_SLOPE_NM)
    about = bias[:, :2] - np.arange(5)[:, None] * slope
    assert np.abs(about - about.mean(axis=0)).max() < TOL_BIAS_NM
    assert np.abs(about.mean(axis=0)).max() < 3 * TOL_BIAS_NM
    assert np.abs(bias[:, 2]).max() < 2 * TOL_BIAS_NM


def test_maps_of_other_cameras_are_refused(tmp_path) -> None:
    maps, _, files, microscope = calibrated(tmp_path, "still")
    replace(maps, transforms=(Affine.identity(), turned([[1.0, 0.0], [0.0, 1.0]], [9.0, 4.0]))).write(
        tmp_path / "wrong.json"
    )
    coarse = replace(microscope, pixel_size_nm=160.0)
    Registration.identity(3).write(tmp_path / "three.json")
    outputs = (tmp_path / "other.h5", tmp_path / "other.png", tmp_path / "other.json")
    with pytest.raises(PlanelocError, match=r"three\.json: transforms of 3 cameras"):
        calibrate(files, microscope, STEP_NM, "objective", *outputs, registration=tmp_path / "three.json")
    with pytest.raises(PlanelocError, match=r"beads_1\.tif: only 0 of 14 beads on camera"):
        calibrate(files, microscope, STEP_NM, "objective", *outputs, registration=tmp_path / "wrong.json")
    with pytest.raises(PlanelocError, match=r"maps\.json: made with pixels of 192 nm, the microscope file says 160 nm"):
        calibrate(files, coarse, STEP_NM, "objective", *outputs, registration=tmp_path / "maps.json")
