"""Colours show depth, to readers with red-green colour deficiencies, too, and are all as bright."""

import numpy as np
import pytest

from planeloc.rendering.colours import ColourMixture, depth_colours
from support.colour_vision import lab, smallest_chroma_difference


def test_colour_is_depth_and_the_mean_where_depths_meet(tmp_path):
    colours = depth_colours("depth", 16)
    mixture = ColourMixture((1, 3))
    mixture.add_voxels(np.array([0, 2 * 3 + 1, 15 * 3, 2 * 3 + 1]), (16, 1, 3), colours)
    picture = mixture.picture((mixture.amount > 0).astype(np.float32))[0]
    np.testing.assert_allclose(picture[0], (colours[0] + colours[15]) / 2 * 255, atol=1)
    np.testing.assert_allclose(picture[1], colours[2] * 255, atol=1)
    assert picture[2].max() == 0


def test_depth_colours_are_equally_bright():
    lightness = lab(depth_colours("depth", 64))[:, 0]
    assert np.ptp(lightness) < 3.5  # J' of CAM02-UCS is 70.0 ± 0.3; CIELAB differs a little
    assert np.ptp(lab(depth_colours("rainbow", 64))[:, 0]) > 30


@pytest.mark.parametrize("reader", ["", "deuteranopia", "protanopia"])
def test_depths_differ_in_hue_for_every_reader(reader):
    assert smallest_chroma_difference(depth_colours("depth", 65), seen_by=reader) > 19
    if reader:
        assert smallest_chroma_difference(depth_colours("rainbow", 65), seen_by=reader) < 1


def test_colours_are_even_for_every_reader():
    """Equal steps of depth are similar steps of colour: none is more than twice the mean, or less than a third."""
    for reader in ("", "deuteranopia", "protanopia"):
        chroma = lab(depth_colours("depth", 17), reader)[:, 1:]
        steps = np.linalg.norm(np.diff(chroma, axis=0), axis=1)
        assert steps.min() > steps.mean() / 3 and steps.max() < 2 * steps.mean(), reader


def test_colours_of_lightness_known_from_the_standards():
    white, grey, red = lab(np.array([[1.0, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0]]))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(grey, [53.39, 0, 0], atol=0.02)
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.05)


def test_an_image_is_added_in_its_colour_where_it_is_not_empty():
    mixture = ColourMixture((2, 2))
    mixture.add(np.array([[0, 2], [0, 0]], np.float32), np.array([1, 0, 0], np.float32))
    mixture.add(np.array([[0, 2], [1, 0]], np.float32), np.array([0, 0, 1], np.float32))
    np.testing.assert_array_equal(mixture.amount, [[0, 4], [1, 0]])
    picture = mixture.picture(np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(picture[0, 1], [128, 0, 128])
    np.testing.assert_array_equal(picture[1, 0], [0, 0, 255])
