"""Matched beads of two cameras with known transforms."""

from __future__ import annotations

import numpy as np

from planeloc.beads.point_matching import ORIENTATIONS
from planeloc.registration.matched_beads import MatchedBeads
from planeloc.transforms.camera_transform import Affine, Quadratic

FIELD_PX = 128
CURVED = Quadratic(
    np.full(2, 64.0), 64.0, np.array([[66.0, -63.0, 1.0, 0.3, -0.1, 0.0], [61.0, 0.5, 64.0, 0.0, 0.25, -0.2]])
)


def transform_near(
    orientation: np.ndarray, random: np.random.Generator, shift: float = 6.0, field: float = 72.0
) -> Affine:
    """A transform a few mrad, ‰ and pixels away from an orientation about the middle of the field."""
    angle, scale = random.uniform(-0.03, 0.03), 1 + random.uniform(-0.01, 0.01)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ orientation + random.uniform(-0.002, 0.002, (2, 2))
    middle = np.full(2, field / 2)
    return Affine(matrix, middle - matrix @ middle + random.uniform(-shift, shift, 2))


def random_beads(
    random: np.random.Generator, number: int, scatter_px: float, transform=None
) -> tuple[MatchedBeads, object]:
    """Randomly placed beads of various noise, with a scatter beyond it, and the true transform."""
    transform = transform or Affine(
        ORIENTATIONS[random.integers(8)] + random.uniform(-0.02, 0.02, (2, 2)), np.full(2, 64.0)
    )
    source = random.uniform(0, FIELD_PX, (number, 2))
    variance = random.uniform(0.003, 0.008, number) ** 2
    noise = random.normal(0, 1, (number, 2)) * np.sqrt(variance + scatter_px**2)[:, None]
    return MatchedBeads(source, transform(source) + noise, variance, np.zeros((number, number))), transform
