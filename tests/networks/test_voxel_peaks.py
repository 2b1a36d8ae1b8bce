"""Molecules from probabilities."""

import math

import pytest
import torch

from planeloc.networks.voxel_peaks import find_peaks


def volume(*molecules, shape=(2, 32, 64, 64), sd=0.8):
    """Logits of Gaussian clouds of probability: (image, depth, row, column, total)."""
    probability = torch.full(shape, 1e-9, dtype=torch.float64)
    axes = [torch.arange(n) + 0.5 for n in shape[1:]]
    for image, *centre, total in molecules:
        d, r, c = (torch.exp(-0.5 * ((a - x) / sd) ** 2) for a, x in zip(axes, centre, strict=True))
        cloud = d[:, None, None] * r[:, None] * c
        probability[image] += total * cloud / cloud.sum()
    return torch.logit(probability.clamp(max=1 - 1e-6)).float()


def test_position_probability_and_deviation():
    peaks = find_peaks(volume((1, 10.3, 20.7, 30.1, 0.9)), 0.02)
    assert peaks.image.tolist() == [1]
    assert peaks.position[0].tolist() == pytest.approx([10.3, 20.7, 30.1], abs=0.05)
    assert peaks.probability.item() == pytest.approx(0.9, abs=0.03)
    assert peaks.deviation[0, 1].item() == pytest.approx(math.sqrt(0.8**2 + 1 / 12), rel=0.05)


def test_neighbours_are_two_molecules():
    peaks = find_peaks(volume((0, 10.0, 20.0, 30.0, 0.9), (0, 10.0, 20.0, 38.0, 0.8), (0, 20.0, 20.0, 30.0, 0.7)), 0.02)
    assert len(peaks.image) == 3


def test_equal_voxels_are_one_molecule():
    logits = torch.full((1, 8, 16, 16), -20.0)
    logits[0, 4, 8, 8:10] = 1.0
    peaks = find_peaks(logits, 0.05)
    assert len(peaks.image) == 1
    assert peaks.position[0].tolist() == pytest.approx([4.5, 8.5, 9.0], abs=1e-3)


def test_corners_and_nothing():
    peaks = find_peaks(volume((0, 0.5, 0.5, 0.5, 0.9), (0, 31.5, 63.5, 63.5, 0.9), sd=0.3), 0.05)
    assert len(peaks.image) == 2
    assert len(find_peaks(torch.full((1, 4, 8, 8), -20.0), 0.05).image) == 0


@pytest.mark.parametrize("apart", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
@pytest.mark.parametrize("sd", [0.4, 0.6, 0.8, 1.2])
def test_close_molecules_never_vanish(apart, sd):
    peaks = find_peaks(volume((0, 10.0, 20.0, 30.0, 0.9), (0, 10.0, 20.0, 30.0 + apart, 0.9), sd=sd), 0.005)
    assert 1 <= len(peaks.image) <= 2
    if apart >= 8:
        assert len(peaks.image) == 2
