"""Noise of a pixel."""

import numpy as np
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel, PixelNoise

CAMERAS = (
    Camera(read_noise_electrons=3.0, quantum_efficiency=0.5),
    Camera(offset_counts=500.0, em_gain=100.0, read_noise_electrons=50.0, quantum_efficiency=0.9),
    Camera(electrons_per_count=0.25, read_noise_electrons=1.5),
)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("photons", [0.0, 4.0, 200.0])
def test_variance_is_that_of_exposed_pixels(camera, photons):
    seen = camera.photons(camera.expose(np.full(100_000, photons), np.random.default_rng(0))).astype(float)
    rounding = camera.photons_per_count**2 / 12
    assert seen.var() == pytest.approx(NoiseModel.of(camera).variance(np.float64(photons)) + rounding, rel=0.03)


def test_planes_have_the_noise_of_their_cameras():
    noise, photons = PixelNoise.of(CAMERAS), 7.0
    variance = noise.variance(torch.full((2, 3, 5, 5), photons, dtype=torch.float64))
    for plane, camera in enumerate(CAMERAS):
        assert variance[:, plane].numpy() == pytest.approx(NoiseModel.of(camera).variance(np.float64(photons)))


def test_the_photon_transfer_line_is_the_noise_in_counts():
    camera = CAMERAS[1]
    line = NoiseModel.of(camera).in_counts(camera)
    assert line.slope == pytest.approx(camera.excess_noise * camera.em_gain / camera.electrons_per_count)
    assert line.read_variance == pytest.approx((camera.read_noise_electrons / camera.electrons_per_count) ** 2)
