"""Registered sampling against images computed at the transformed positions."""

import numpy as np
import pytest
import torch

from planeloc.transforms.camera_transform import Affine, Registration
from planeloc.transforms.resampling import Resampler, reference_grid, sample_planes, transform_grid


def smooth(x, y):
    return torch.sin(0.21 * x) + torch.cos(0.17 * y) + 0.01 * x * y


def camera_image(size):
    grid = reference_grid(0, 0, size, size)
    return smooth(grid[..., 0], grid[..., 1])


TURNED = ([[0.0, 1.0], [1.0, 0.0]], [[1.002, 0.01], [-0.01, 0.998]])


@pytest.mark.parametrize("matrix", [[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]], *TURNED])
def test_sampling_follows_the_transform(matrix):
    """Mirrored, turned, stretched cameras: a sample is the camera's image at the transformed point."""
    matrix = np.array(matrix)
    centre = np.array([20.0, 20.0])
    camera = Affine(matrix, centre - matrix @ centre + np.array([1.3, -0.8]))
    registration = Registration((Affine.identity(), camera), (0.0, 0.0))
    images = torch.stack((camera_image(40), camera_image(40)))[None].float()
    positions = transform_grid(reference_grid(10, 12, 16, 14), registration)
    sampled = sample_planes(images, positions)
    assert sampled.shape == (1, 2, 14, 16)
    assert torch.equal(sampled[0, 0], images[0, 0, 12:26, 10:26]) or torch.allclose(
        sampled[0, 0], images[0, 0, 12:26, 10:26], atol=1e-4
    )
    assert torch.allclose(sampled[0, 1], smooth(positions[1, ..., 0], positions[1, ..., 1]).float(), atol=2e-3)


def test_frames_at_once_are_sampled_as_one_by_one():
    """Also with a camera that is turned, and where the reference sees what it does not."""
    maps = tuple(Affine(np.array(matrix), np.array([0.4, -3.2])) for matrix in TURNED)
    registration = Registration((Affine.identity(), *maps), (0.0, 0.0, 0.0))
    images = torch.rand(7, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    expected = sample_planes(images.double(), transform_grid(reference_grid(0, 0, 40, 30), registration))
    found = Resampler(registration, 30, 40, torch.device("cpu"))(images)
    assert (expected[:, 1] == 0).any()
    assert (found - expected).abs().max() < 1e-6


def test_outside_the_sensor_is_zero():
    images = torch.ones(1, 1, 8, 8)
    positions = torch.full((1, 1, 1, 2), 30.0)
    assert sample_planes(images, positions).item() == 0.0
