"""Affine maps between cameras, and the file that holds them.

Coordinates are camera pixels counted from the OUTER CORNER of pixel (0, 0): the centre of pixel i is i + 0.5; x runs
along columns, y along rows. A `Registration` maps reference coordinates to each camera's, because that is the direction
in which images are sampled: for every pixel of the reference, where does it lie on this camera?
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planeloc.errors import PlanelocError
from planeloc.files import read_json, write_json


@dataclass(frozen=True)
class Affine:
    """x' = matrix @ x + shift_px, with points as (x, y)."""

    matrix: NDArray[np.float64]  # (2, 2)
    shift_px: NDArray[np.float64]  # (2,)

    @classmethod
    def identity(cls) -> Affine:
        return cls(np.eye(2), np.zeros(2))

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of shape (..., 2)."""
        return np.asarray(points, dtype=np.float64) @ self.matrix.T + self.shift_px

    def inverse(self) -> Affine:
        matrix = np.linalg.inv(self.matrix)
        return Affine(matrix, -matrix @ self.shift_px)

    @property
    def mirrored(self) -> bool:
        return bool(np.linalg.det(self.matrix) < 0)


@dataclass(frozen=True)
class Registration:
    """One map per plane, from the reference camera (plane 0, the identity) to that plane's camera."""

    maps: tuple[Affine, ...]
    residual_nm: tuple[float, ...]  # rms per plane, nan where unknown
    field_px: tuple[int, int] | None = None  # (height, width) of the images that it was found from, where known

    @property
    def planes(self) -> int:
        return len(self.maps)

    @classmethod
    def identity(cls, planes: int) -> Registration:
        return cls(tuple(Affine.identity() for _ in range(planes)), tuple(0.0 for _ in range(planes)))

    def write(self, path: str | Path, details: dict | None = None) -> None:
        """Write JSON; `details` (quality values, settings) are kept beside the maps."""
        content = {
            "format": "planeloc registration 1",
            "convention": "pixels from the outer corner of pixel (0, 0); camera = matrix @ reference + shift_px",
            "planes": [
                {"matrix": m.matrix.tolist(), "shift_px": m.shift_px.tolist(), "residual_nm": float(r)}
                for m, r in zip(self.maps, self.residual_nm, strict=True)
            ],
            "details": details or {},
        }
        write_json(path, content)

    @classmethod
    def read(cls, path: str | Path) -> Registration:
        content = read_json(path)
        try:
            planes = content["planes"]
            maps = tuple(Affine(np.array(p["matrix"], float), np.array(p["shift_px"], float)) for p in planes)
            residuals = tuple(float(p["residual_nm"]) for p in planes)
            details = content.get("details", {})
            field = (int(details["height_px"]), int(details["width_px"])) if "height_px" in details else None
        except (KeyError, TypeError, ValueError):
            raise PlanelocError(f"{path}: not a planeloc registration; make it with `planeloc register`") from None
        if not maps or any(m.matrix.shape != (2, 2) or m.shift_px.shape != (2,) for m in maps):
            raise PlanelocError(f"{path}: not a planeloc registration; make it with `planeloc register`")
        return cls(maps, residuals, field)
