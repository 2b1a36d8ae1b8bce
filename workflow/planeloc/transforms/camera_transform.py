"""Transforms between cameras, their uncertainty, and the file that holds them.

Coordinates are camera pixels counted from the OUTER CORNER of pixel (0, 0): the centre of pixel i is i + 0.5; x runs
along columns, y along rows. A `Registration` transforms reference coordinates to each camera's, the direction in which
images are resampled: for every pixel of the reference, where does it lie on this camera?
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from planeloc.core.arrays import Array
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import REGISTRATION

_FORMAT = "planeloc registration 2"
_FORMATS = ("planeloc registration 1", _FORMAT)  # 1 has affine transforms without their uncertainty
_NEWTON_STEPS = 20
_GRID = 17  # points along either side of the field that a mean over the field is taken from
_ORDERS = {1: 0, 3: 1, 6: 2}  # number of terms → order


@dataclass(frozen=True)
class Affine:
    """x' = matrix @ x + shift_px, with points as (x, y)."""

    matrix: Array  # (2, 2)
    shift_px: Array  # (2,)

    model = "affine"

    @classmethod
    def identity(cls) -> Affine:
        """The transform that leaves points as they are."""
        return cls(np.eye(2), np.zeros(2))

    def __call__(self, points: ArrayLike) -> Array:
        """Transform points of shape (..., 2)."""
        return np.asarray(points, dtype=np.float64) @ self.matrix.T + self.shift_px

    def jacobian(self, points: ArrayLike) -> Array:
        """(..., 2, 2): derivatives of x' and y' (rows) along x and y, at points (..., 2)."""
        return np.broadcast_to(self.matrix, (*np.shape(points)[:-1], 2, 2))

    def inverse(self) -> Affine:
        """The transform back."""
        matrix = np.linalg.inv(self.matrix)
        return Affine(matrix, -matrix @ self.shift_px)

    @property
    def mirrored(self) -> bool:
        """Whether one camera is mirrored relative to the other."""
        return bool(np.linalg.det(self.matrix) < 0)


@dataclass(frozen=True)
class Quadratic:
    """x' = coefficients @ terms(u), terms of second order in u = (x − centre_px) / scale_px, points as (x, y)."""

    centre_px: Array  # (2,)
    scale_px: float
    coefficients_px: Array  # (2, 6), in the order of `polynomial_terms`

    model = "quadratic"

    def __call__(self, points: ArrayLike) -> Array:
        """Transform points of shape (..., 2)."""
        u = (np.asarray(points, dtype=np.float64) - self.centre_px) / self.scale_px
        return polynomial_terms(u, 2) @ self.coefficients_px.T

    def jacobian(self, points: ArrayLike) -> Array:
        """(..., 2, 2): derivatives of x' and y' (rows) along x and y, at points (..., 2)."""
        u, v = np.moveaxis((np.asarray(points, dtype=np.float64) - self.centre_px) / self.scale_px, -1, 0)
        one, none = np.ones_like(u), np.zeros_like(u)
        along_x = np.stack((none, one, none, 2 * u, v, none), axis=-1) @ self.coefficients_px.T
        along_y = np.stack((none, none, one, none, u, 2 * v), axis=-1) @ self.coefficients_px.T
        return np.stack((along_x, along_y), axis=-1) / self.scale_px

    def inverse(self) -> InverseQuadratic:
        """The transform back."""
        return InverseQuadratic(self)

    @property
    def matrix(self) -> Array:
        """(2, 2): the derivative in the middle."""
        return self.jacobian(self.centre_px)

    @property
    def shift_px(self) -> Array:
        """(2,): where the point (0, 0) goes."""
        return self(np.zeros(2))

    @property
    def mirrored(self) -> bool:
        """Whether one camera is mirrored relative to the other, in the middle."""
        return bool(np.linalg.det(self.matrix) < 0)


@dataclass(frozen=True)
class InverseQuadratic:
    """The inverse of a quadratic transform, by Newton's method from its affine part."""

    forward: Quadratic

    def __call__(self, points: ArrayLike) -> Array:
        """Transform points of shape (..., 2)."""
        target = np.asarray(points, dtype=np.float64)
        middle = self.forward.centre_px
        found = middle + (target - self.forward(middle)) @ np.linalg.inv(self.forward.matrix).T
        for _ in range(_NEWTON_STEPS):
            away = target - self.forward(found)
            found = found + np.linalg.solve(self.forward.jacobian(found), away[..., None])[..., 0]
        return found

    def inverse(self) -> Quadratic:
        """The quadratic transform itself."""
        return self.forward


CameraTransform = Affine | Quadratic
_MODELS = {  # name in the file → class, shapes of its fields
    "affine": (Affine, {"matrix": (2, 2), "shift_px": (2,)}),
    "quadratic": (Quadratic, {"centre_px": (2,), "scale_px": (), "coefficients_px": (2, 6)}),
}


def polynomial_terms(u: Array, order: int) -> Array:
    """(..., 1, 3 or 6): the terms 1; x, y; x², xy, y² of points (..., 2), up to an order."""
    x, y = np.moveaxis(np.asarray(u, dtype=np.float64), -1, 0)
    terms = [np.ones_like(x), x, y, x * x, x * y, y * y]
    return np.stack(terms[: (1, 3, 6)[order]], axis=-1)


@dataclass(frozen=True)
class TransformUncertainty:
    """Covariance of a transform's coefficients in the terms of u = (x − centre_px) / scale_px, x' first, then y'."""

    centre_px: Array  # (2,)
    scale_px: float
    covariance_px2: Array  # (2·terms, 2·terms)

    def covariance_at(self, points: ArrayLike) -> Array:
        """(..., 2, 2) px² of the camera: covariance of the images (x', y') of reference points (..., 2)."""
        size = len(self.covariance_px2) // 2
        terms = polynomial_terms((np.asarray(points, float) - self.centre_px) / self.scale_px, _ORDERS[size])
        blocks = self.covariance_px2.reshape(2, size, 2, size)
        return np.einsum("...i,aibj,...j->...ab", terms, blocks, terms)


@dataclass(frozen=True)
class Registration:
    """One transform per plane, from the reference camera (plane 0, the identity) to that plane's camera."""

    transforms: tuple[CameraTransform, ...]
    residual_nm: tuple[float, ...]  # rms per plane, nan where unknown
    field_px: tuple[int, int] | None = None  # (height, width) of the images that it was found from, where known
    uncertainty: tuple[TransformUncertainty | None, ...] = ()  # per plane; None: the reference, or unknown
    beads: tuple[int | None, ...] = ()  # per plane, that were used
    pixel_size_nm: float | None = None

    @property
    def planes(self) -> int:
        """Number of planes."""
        return len(self.transforms)

    @property
    def matrices(self) -> list[Array]:
        """(2, 2) of every plane: from the reference's axes to the camera's, in the middle of the field."""
        return [transform.matrix for transform in self.transforms]

    @classmethod
    def identity(cls, planes: int) -> Registration:
        """Cameras that see the same field, with exactly known transforms."""
        return cls(tuple(Affine.identity() for _ in range(planes)), tuple(0.0 for _ in range(planes)))

    def sd_nm(self, plane: int, points_px: ArrayLike) -> Array:
        """(..., 2): standard deviation (nm) of a plane's transform at points (..., 2), along the reference's x and y.

        It is the error of a position that is measured on this camera alone. Zero for plane 0, nan where unknown
        (format 1).
        """
        points = np.asarray(points_px, dtype=np.float64)
        if plane == 0:
            return np.zeros(points.shape)
        known = self.uncertainty[plane] if self.uncertainty else None
        if known is None or self.pixel_size_nm is None:
            return np.full(points.shape, np.nan)
        back = np.linalg.inv(self.transforms[plane].jacobian(points))
        covariance = back @ known.covariance_at(points) @ np.swapaxes(back, -1, -2)
        variance = np.diagonal(covariance, axis1=-2, axis2=-1)
        return np.sqrt(np.maximum(variance, 0.0)) * self.pixel_size_nm

    def transform_sd_nm(self, plane: int) -> tuple[float, float]:
        """Rms over the field, and in the worst corner: standard deviation per axis (nm) of a plane's transform.

        nan where the uncertainty or the size of the field is unknown.
        """
        if plane == 0:
            return 0.0, 0.0
        if self.field_px is None:
            return float("nan"), float("nan")
        rows, columns = self.field_px
        points = np.stack(np.meshgrid(np.linspace(0, columns, _GRID), np.linspace(0, rows, _GRID)), axis=-1)
        variance = np.mean(self.sd_nm(plane, points) ** 2, axis=-1)
        corners = variance[:: _GRID - 1, :: _GRID - 1]
        return float(np.sqrt(variance.mean())), float(np.sqrt(corners.max()))

    def write(self, path: str | Path, details: dict | None = None) -> None:
        """Write JSON; `details` (quality values, settings) are kept beside the transforms."""
        unknown = (None,) * self.planes
        rows = zip(self.transforms, self.residual_nm, self.uncertainty or unknown, self.beads or unknown, strict=True)
        content = {
            "format": _FORMAT,
            "convention": "pixels from the outer corner of pixel (0, 0); "
            "affine: camera = matrix @ reference + shift_px; "
            "quadratic: camera = coefficients_px @ (1, u, v, u², uv, v²), (u, v) = (reference − centre_px) / scale_px; "
            "uncertainty: covariance of the coefficients of (1, u, v, …) of x, then y, about its own centre and scale",
            "planes": [
                {"model": t.model, **_plain(t), "residual_nm": float(r), "beads": n, "uncertainty": u and _plain(u)}
                for t, r, u, n in rows
            ],
            "details": details or {},
        }
        write_json(path, content, REGISTRATION)

    @classmethod
    def read(cls, path: str | Path) -> Registration:
        """Read registration.json.

        Raises
        ------
        PlanelocError : the file is missing, damaged or of another format.
        """
        content = read_json(path)
        try:
            if content["format"] not in _FORMATS:
                raise ValueError(content["format"])
            planes = content["planes"]
            transforms = tuple(_transform_from(p) for p in planes)
            residuals = tuple(float(p["residual_nm"]) for p in planes)
            uncertainty = tuple(_uncertainty_from(p.get("uncertainty")) for p in planes)
            beads = tuple(p.get("beads") for p in planes)
            details = content.get("details", {})
            field = (int(details["height_px"]), int(details["width_px"])) if "height_px" in details else None
            pixel = float(details["pixel_size_nm"]) if "pixel_size_nm" in details else None
            if not transforms:
                raise ValueError("no planes")
        except (KeyError, TypeError, ValueError):
            raise PlanelocError(f"{path}: not a planeloc registration; make it with `planeloc register`") from None
        return cls(transforms, residuals, field, uncertainty, beads, pixel)


def _plain(fields: Affine | Quadratic | TransformUncertainty) -> dict[str, Any]:
    """The fields as JSON holds them."""
    return {name: np.asarray(value).tolist() for name, value in vars(fields).items()}


def _transform_from(values: dict[str, Any]) -> CameraTransform:
    model, shapes = _MODELS[values.get("model", "affine")]
    return model(**{name: _array(values[name], shape) for name, shape in shapes.items()})


def _uncertainty_from(values: dict[str, Any] | None) -> TransformUncertainty | None:
    if values is None:
        return None
    size = len(values["covariance_px2"])
    if size not in {2 * terms for terms in _ORDERS}:
        raise ValueError("covariance_px2")
    shapes = {"centre_px": (2,), "scale_px": (), "covariance_px2": (size, size)}
    return TransformUncertainty(**{name: _array(values[name], shape) for name, shape in shapes.items()})


def _array(values: Any, shape: tuple[int, ...]) -> Array | float:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"shape {array.shape}")
    return array if shape else float(array)
