"""Which camera sees which place: the fields of the cameras on the reference camera.

The fields of several cameras never coincide, so that near the edges of the field fewer planes show a molecule. A camera
sees a place whose image lies on its sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planeloc.core.arrays import Array
from planeloc.transforms.camera_transform import Registration

_POINTS = 16  # per side of an outline


@dataclass(frozen=True)
class Coverage:
    """Fields of all cameras, whose sensors have `field_px` (rows, columns) pixels."""

    registration: Registration
    field_px: tuple[int, int]

    def inside_px(self, points_px: ArrayLike) -> Array:
        """(..., planes): how far within each camera's sensor points (..., 2) of the reference lie, px; below 0 beyond.

        The distance is that from the nearest edge along an axis of the camera.
        """
        size = np.array(self.field_px[::-1], dtype=np.float64)
        mapped = np.stack([transform(points_px) for transform in self.registration.transforms], axis=-2)
        return np.minimum(mapped, size - mapped).min(axis=-1)

    def seen(self, points_px: ArrayLike) -> NDArray[np.bool_]:
        """(..., planes): whether each camera sees points (..., 2) of the reference, px."""
        return self.inside_px(points_px) >= 0

    def masks(self) -> NDArray[np.bool_]:
        """(planes, rows, columns): which pixels of the reference each camera sees, by their centres."""
        rows, columns = self.field_px
        y, x = np.mgrid[:rows, :columns] + 0.5
        return np.moveaxis(self.seen(np.stack((x, y), axis=-1)), -1, 0)

    def common_share(self) -> float:
        """Share of the reference's field that all cameras see."""
        return float(self.masks().all(axis=0).mean())

    def common_outline_px(self) -> Array:
        """(n, 2): corners (x, y) of the part of the reference's field that all cameras see; no corners if none.

        Sides are bent where a transform is not affine; one that bends inwards is cut along its tangents.
        """
        rows, columns = self.field_px
        outline = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], dtype=np.float64)
        for transform in self.registration.transforms[1:]:
            outline = _clipped(outline, _loop(transform.inverse(), self.field_px))
        return outline


def _loop(back, field_px: tuple[int, int]) -> Array:
    """(n, 2): the edge of a camera's sensor on the reference; only corners where sides stay straight."""
    rows, columns = field_px
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], dtype=np.float64)
    steps = np.linspace(0, 1, _POINTS, endpoint=False)[:, None]
    sides = [start + steps * (stop - start) for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    bent, straight = back(np.concatenate(sides)), back(corners)
    chords = [a + steps * (b - a) for a, b in zip(straight, np.roll(straight, -1, axis=0), strict=True)]
    return straight if np.allclose(bent, np.concatenate(chords), atol=1e-3) else bent


def _clipped(polygon: Array, window: Array) -> Array:
    """The part of a polygon within a convex one (Sutherland and Hodgman 1974, Commun. ACM 17, 32)."""
    following = np.roll(window, -1, axis=0)
    turn = np.sign(np.sum(window[:, 0] * following[:, 1] - window[:, 1] * following[:, 0]))
    for start, stop in zip(window, following, strict=True):
        if not len(polygon):
            return polygon
        (dx, dy), away = stop - start, polygon - start
        inside = turn * (dx * away[:, 1] - dy * away[:, 0])
        kept: list[Array] = []
        for number, (point, depth) in enumerate(zip(polygon, inside, strict=True)):
            before, depth_before = polygon[number - 1], inside[number - 1]
            if (depth >= 0) != (depth_before >= 0):
                kept.append(before + (point - before) * depth_before / (depth_before - depth))
            if depth >= 0:
                kept.append(point)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon
