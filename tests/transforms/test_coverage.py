"""Which camera sees which place."""

import numpy as np
import pytest

from planeloc.transforms.camera_transform import Affine, Quadratic, Registration
from planeloc.transforms.coverage import Coverage

FIELD = (40, 60)  # rows, columns


def coverage(*transforms):
    planes = (Affine.identity(), *transforms)
    return Coverage(Registration(planes, (0.0,) * len(planes)), FIELD)


def area(corners):
    x, y = corners.T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def test_a_shifted_camera_does_not_see_what_it_has_left():
    cameras = coverage(Affine(np.eye(2), np.array([5.0, -3.0])))  # a place at x is at x + 5 on the camera
    points = np.array([[54.0, 20.0], [56.0, 20.0], [30.0, 2.0], [30.0, 4.0]])
    assert cameras.seen(points).tolist() == [[True, True], [True, False], [True, False], [True, True]]
    assert cameras.inside_px(points)[:, 1] == pytest.approx([1.0, -1.0, -1.0, 1.0])
    masks = cameras.masks()
    assert masks.shape == (2, *FIELD) and masks[0].all()
    assert masks[1].sum() == 55 * 37 and masks[1, 3:, :55].all()
    assert cameras.common_share() == pytest.approx(55 * 37 / (40 * 60))
    assert sorted(map(tuple, cameras.common_outline_px())) == [(0, 3), (0, 40), (55, 3), (55, 40)]


def test_the_outline_is_what_the_masks_cover_for_turned_mirrored_and_bent_cameras():
    mirrored = Affine(np.array([[-1.0, 0.02], [0.02, 1.0]]), np.array([57.0, 2.0]))
    bent = Quadratic(
        np.array([30.0, 20.0]), 30.0, np.array([[33.0, 30.0, 0.5, 0.8, 0, 1.0], [18.0, 0.3, 30.0, 0.6, 0.5, 0]])
    )
    cameras = coverage(mirrored, bent)
    outline = cameras.common_outline_px()
    assert len(outline) > 8  # its sides are bent
    assert area(outline) == pytest.approx(cameras.common_share() * 40 * 60, rel=0.04)
    assert 0.7 < cameras.common_share() < 0.95


def test_cameras_without_a_common_field():
    apart = coverage(Affine(np.eye(2), np.array([100.0, 0.0])))
    assert apart.common_share() == 0.0 and len(apart.common_outline_px()) == 0
