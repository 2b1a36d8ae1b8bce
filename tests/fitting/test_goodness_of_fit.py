"""The goodness of fit is 1 where the model is right, at any level of light, and larger where it is not."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.expected_deviance import KNOTS, LEAST_PHOTONS, MOST_PHOTONS, expected_deviances, interpolated
from planeloc.cameras.noise import NoiseModel, PixelNoise
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules
from planeloc.psf import Emitters, paper_psf

PSF = replace(paper_psf(), pixel_integration=True)
PIXEL = PSF.pixel_size_nm
SIDE, PER_FRAME, FRAMES, DRIFT_NM, MOVED_NM = 48, 4, 150, 15.0, 80.0
CAMERAS = {
    "ideal": Camera(),
    "sCMOS": Camera(quantum_efficiency=0.8, read_noise_electrons=1.6, electrons_per_count=0.46),
    "EM-CCD": Camera(quantum_efficiency=0.9, em_gain=200.0, read_noise_electrons=50.0, electrons_per_count=12.0),
}
LIGHT = {"dark": (0.1, 500.0), "dim": (1.0, 1000.0), "usual": (5.0, 3000.0), "bright": (40.0, 10000.0)}


def fits(camera, background, photons, psf=PSF, drift_sd_nm=DRIFT_NM, missed=False, frames=FRAMES, compiled=True):
    """Fits of molecules drawn from `PSF`; with `missed`, every molecule has a neighbour that is not in the start."""
    random = np.random.default_rng(7)
    frame = np.repeat(np.arange(frames), PER_FRAME)
    lateral = random.uniform(8 * PIXEL, (SIDE - 8) * PIXEL, (len(frame), 2))
    z, light = random.uniform(-600, 600, len(frame)), photons * random.uniform(0.7, 1.3, len(frame))
    drift = random.normal(0, DRIFT_NM if drift_sd_nm else MOVED_NM, (frames, 4, 2))
    drift[:, 0] = 0
    expected = torch.full((frames, 4, SIDE, SIDE), background, dtype=torch.float64)
    for shift in [(0, 0), (300, 250)] if missed else [(0, 0)]:
        _draw(expected, frame, lateral + shift, z, light, drift)
    counts = camera.expose(expected.numpy(), random)
    images = torch.from_numpy(np.asarray(camera.photons(counts))) - background
    place = np.column_stack((lateral, z)) + random.normal(0, 1, (len(frame), 3)) * (25, 25, 40)
    mapped = np.repeat(place[:, None, :2] / PIXEL, 4, axis=1)
    axes = np.broadcast_to(np.eye(2), (len(frame), 4, 2, 2)).copy()
    start = InitialMolecules(*map(torch.from_numpy, (frame, place, light, mapped, axes)))
    level, cameras = torch.full((4, SIDE, SIDE), background), [camera] * 4
    noise, table = PixelNoise.of(cameras), expected_deviances(cameras)
    return MultiEmitterFit(psf, noise, images, level, start, drift_sd_nm, None, table, compiled=compiled).fit()


def _draw(expected, frame, lateral, z, light, drift):
    zero = torch.zeros(len(frame), dtype=torch.float64)
    shifts = torch.from_numpy(lateral[:, None] + drift[frame])
    for part in np.array_split(np.arange(len(frame)), max(1, len(frame) // 64)):
        emitters = Emitters(zero[part], zero[part], *map(torch.from_numpy, (z[part], light[part])), shifts[part])
        expected.index_add_(0, torch.from_numpy(frame[part]), PSF.expected_photons(emitters, (SIDE, SIDE)).clamp(min=0))


@cache
def right(camera):
    return fits(CAMERAS[camera], *LIGHT["usual"]).goodness


@pytest.mark.parametrize("light", LIGHT)
@pytest.mark.parametrize("camera", CAMERAS)
def test_it_is_one_on_average_where_the_model_is_right(camera, light):
    goodness = fits(CAMERAS[camera], *LIGHT[light]).goodness
    assert goodness.isfinite().all()
    assert abs(goodness.mean() - 1) < 0.02
    assert goodness.std() < 0.2


def test_it_is_one_in_pytorch_too():
    goodness = fits(CAMERAS["sCMOS"], *LIGHT["usual"], frames=75, compiled=False).goodness
    assert abs(goodness.mean() - 1) < 0.02


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"missed": True},
        {"psf": replace(PSF, waist_nm=1.3 * PSF.waist_nm)},
        {"drift_sd_nm": 0.0},
    ],
    ids=["missed neighbours", "another point spread function", "cameras that are said to stand still"],
)
def test_it_rises_where_the_model_is_wrong(camera, wrong):
    goodness = fits(CAMERAS[camera], *LIGHT["usual"], **wrong).goodness
    assert goodness.median() > right(camera).quantile(0.98)


def test_molecules_out_of_sight_have_none():
    start = InitialMolecules(
        torch.zeros(2, dtype=torch.long),
        torch.tensor([[4000.0, 4000.0, 0.0], [torch.nan, 0.0, 0.0]], dtype=torch.float64),
        torch.full((2,), 1000.0, dtype=torch.float64),
        torch.tensor([20.8, 20.8], dtype=torch.float64).expand(2, 4, 2).clone(),
        torch.eye(2, dtype=torch.float64).expand(2, 4, 2, 2).clone(),
    )
    noise, level = PixelNoise.of([CAMERAS["ideal"]] * 4), torch.full((4, SIDE, SIDE), 4.0)
    for compiled in (True, False):
        fit = MultiEmitterFit(PSF, noise, torch.zeros(1, 4, SIDE, SIDE), level, start, 0.0, compiled=compiled).fit()
        assert fit.goodness.isnan().tolist() == [False, True]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("photons", [0.03, 0.3, 3.0, 30.0])
def test_the_expected_deviance_is_that_of_the_camera(camera, photons):
    random, camera = np.random.default_rng(3), replace(CAMERAS[camera], offset_counts=1000.0)
    camera = replace(camera, electrons_per_count=camera.electrons_per_count / 20)  # rounded finely
    seen = camera.photons(camera.expose(np.full(400_000, photons), random)).astype(np.float64)
    deviance = NoiseModel.of(camera).deviance(seen, np.full(len(seen), photons))
    found = interpolated(expected_deviances([camera]), torch.full((1, 1, 1), photons, dtype=torch.float64))
    assert float(found) == pytest.approx(deviance.mean(), abs=5 * deviance.std() / len(seen) ** 0.5 + 3e-3)


def test_beyond_the_table_its_ends_hold():
    table = torch.linspace(0, 1, KNOTS, dtype=torch.float64)[None]
    given = torch.tensor([-1.0, 0.0, LEAST_PHOTONS, MOST_PHOTONS, 1e9, torch.nan], dtype=torch.float64)[None, None]
    assert interpolated(table, given).flatten().tolist() == pytest.approx([0, 0, 0, 1, 1, 0], abs=1e-12)
