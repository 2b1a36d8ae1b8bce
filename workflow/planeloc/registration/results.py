"""What `register` finds for a camera: its transform, and the beads that determine it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.beads.point_matching import Match, orientation_words
from planeloc.core.arrays import Array
from planeloc.registration.matched_beads import MatchedPlane
from planeloc.registration.transform_fit import TransformFit
from planeloc.transforms.camera_transform import Registration


@dataclass(frozen=True)
class RegisteredPlane:
    """How a camera's beads were matched to the reference, and the transform that was fitted to them."""

    name: str
    match: Match
    matched: MatchedPlane
    fit: TransformFit

    @property
    def orientation(self) -> str:
        """In words."""
        return orientation_words(self.fit.transform.matrix)

    @property
    def reference_px(self) -> Array:
        """(n, 2) x, y on the reference of the beads that the transform is fitted to."""
        return self.matched.beads.source[self.fit.kept]

    @property
    def camera_px(self) -> Array:
        """(n, 2) the same beads on the camera."""
        return self.matched.beads.target[self.fit.kept]

    @property
    def used(self) -> int:
        """Beads that the transform is fitted to."""
        return int(self.fit.kept.sum())

    @property
    def excluded(self) -> int:
        """Matched beads that do not count: they move, or lie far from where the others say."""
        return self.match.left_out + self.matched.moving + int(np.sum(~self.fit.kept))


def described(registration: Registration, plane: int, found: RegisteredPlane) -> str:
    """One line for the log."""
    field_nm, corner_nm = registration.transform_sd_nm(plane)
    out = f", {found.excluded} left out" if found.excluded else ""
    return (
        f"{found.name}: {found.orientation}, {found.used} beads{out}, {found.fit.transform.model} transform, "
        f"residual {registration.residual_nm[plane]:.1f} nm, uncertainty {field_nm:.1f} nm over "
        f"the field (worst corner {corner_nm:.1f} nm)"
    )


def area_share(points: Array, shape: tuple[int, int]) -> float:
    """Area of an ellipse with the points' second moments (twice their rms) over the field's area, at most 1."""
    area = 4 * np.pi * np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0))
    return min(float(area / (shape[0] * shape[1])), 1.0)
