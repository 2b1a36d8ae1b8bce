"""Counts and photons of a camera."""

import numpy as np
import torch

from planeloc.cameras.camera import Camera, camera_called

SHEET = Camera("a", 100.3, 4.9, 200.0, 0.9, 30.0, 16383.0)


def test_arrays_and_tensors_of_counts_become_the_same_photons():
    counts = np.arange(2**16, dtype=np.uint16).reshape(2, 4, 64, 128)
    photons, tensor = SHEET.photons(counts), SHEET.photons(torch.from_numpy(counts))
    assert photons.dtype == np.float32 and tensor.dtype == torch.float32
    assert np.array_equal(photons, tensor.numpy())


def test_saturated_counts_alone_reach_the_photons_of_saturation():
    below, full = SHEET.photons([16382, 16383])
    assert below < SHEET.saturated_photons < full


def test_a_camera_is_called_camera_once():
    assert [camera_called(name) for name in ("2", "left", "camera 2", "Camera B")] == [
        *("camera 2", "camera left", "camera 2", "Camera B"),
    ]
