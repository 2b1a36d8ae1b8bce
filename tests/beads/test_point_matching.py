"""Matching of beads without a first guess, in every orientation."""

import numpy as np
import pytest

from planeloc.beads.point_matching import ORIENTATIONS, match_points, orientation_words
from support.matched_beads import transform_near


@pytest.mark.parametrize("orientation", range(8))
def test_matching_is_blind(orientation: int) -> None:
    """Half of the points on either camera unmatched, a large shift, noise of a tenth of a pixel."""
    random = np.random.default_rng(orientation)
    truth = transform_near(ORIENTATIONS[orientation], random, shift=40.0, field=128.0)
    points = random.uniform(0, 128, (24, 2))
    camera = np.concatenate((truth(points[:12]), random.uniform(0, 128, (12, 2))))
    camera += random.normal(0, 0.1, camera.shape)
    shuffled = random.permutation(24)
    match = match_points(points, camera[shuffled], (128, 128))
    assert match is not None
    right = [(i, int(np.nonzero(shuffled == i)[0][0])) for i in range(12)]
    assert set(right) <= {tuple(pair) for pair in match.pairs.tolist()}
    assert match.second_best < 0.5 and match.chance_matches < 1e-4
    again = match_points(points, camera[shuffled], (128, 128))
    assert np.array_equal(match.pairs, again.pairs)


@pytest.mark.parametrize("turn", range(8))
def test_orientations_in_words(turn: int) -> None:
    words = orientation_words(1.02 * ORIENTATIONS[turn] + 0.01)
    assert ("mirrored" in words) == (np.linalg.det(ORIENTATIONS[turn]) < 0)
    pictures = {"upright": [1, 2], "turned by 180°": [-1, -2], "mirrored left to right": [-1, 2]}
    if words in pictures:
        assert ORIENTATIONS[turn] @ (1, 2) == pytest.approx(pictures[words])
    assert words == "upright" or turn > 0
