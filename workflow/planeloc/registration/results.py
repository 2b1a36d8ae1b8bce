"""What `register` finds for a camera: its transform, and the beads that determine it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.transforms.camera_transform import CameraTransform, TransformUncertainty

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RegisteredPlane:
    """A camera's transform from the reference and the beads that it is fitted to, in px."""

    name: str
    orientation: str  # in words
    transform: CameraTransform
    uncertainty: TransformUncertainty
    reference_px: Array  # (n, 2) x, y on the reference
    camera_px: Array  # (n, 2) the same beads on the camera
    residual_px: Array  # (n, 2) camera_px minus transformed reference_px
    residual_rms_px: float  # distance, both axes together
    left_out_rms_px: float  # the same when each bead is left out of the fit in turn
    scatter_px: float  # rms per axis beyond the noise
    rival: float  # significance of the second-best match over the best's
    chance: float  # expected number of transforms that match as well by chance
    compared: int  # beads that both cameras image well on a common slice
    excluded: int  # matched beads that do not count: they move, or lie far from where the others say
    own_motion_px: float  # rms, of a typical bead, beyond the stage's path
    transform_sd_nm: float  # standard deviation of the transform per axis, rms over the field
    corner_sd_nm: float  # the same in the worst corner

    def words(self, pixel_size_nm: float) -> str:
        """One line for the log."""
        out = f", {self.excluded} left out" if self.excluded else ""
        return (
            f"{self.name}: {self.orientation}, {len(self.residual_px)} beads{out}, {self.transform.model} transform, "
            f"residual {self.residual_rms_px * pixel_size_nm:.1f} nm, uncertainty {self.transform_sd_nm:.1f} nm over "
            f"the field (worst corner {self.corner_sd_nm:.1f} nm)"
        )


def area_share(points: Array, shape: tuple[int, int]) -> float:
    """Area of an ellipse with the points' second moments (twice their rms) over the field's area, at most 1."""
    area = 4 * np.pi * np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0))
    return min(float(area / (shape[0] * shape[1])), 1.0)
