"""Colours show depth."""

import numpy as np

from planeloc.rendering.colours import ColourMixture, depth_colours


def test_colour_is_depth_and_the_mean_where_depths_meet(tmp_path):
    colours = depth_colours("depth", 16)
    mixture = ColourMixture((1, 3))
    mixture.add_voxels(np.array([0, 2 * 3 + 1, 15 * 3, 2 * 3 + 1]), (16, 1, 3), colours)
    picture = mixture.picture((mixture.amount > 0).astype(np.float32))[0]
    np.testing.assert_allclose(picture[0], (colours[0] + colours[15]) / 2 * 255, atol=1)
    np.testing.assert_allclose(picture[1], colours[2] * 255, atol=1)
    assert picture[2].max() == 0


def test_every_depth_colour_is_bright_on_black():
    luminance = depth_colours("depth", 64) ** 2.2 @ [0.2126, 0.7152, 0.0722]
    assert luminance.min() > 0.15
