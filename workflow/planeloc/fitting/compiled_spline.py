"""Products with the normal equations of a spline as compiled code, for `planeloc.calibration.spline_equations`.

Of the cubic basis along an axis four functions are not zero at a point. The C++ source is
`compiled/spline_equations.cpp`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from planeloc.fitting.compiled_library import Arrays, library

_TAPS = 4  # basis functions that are not zero at a point


class _Equations(ctypes.Structure):
    """`SplineEquations` of compiled/spline_equations.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("beads", "slices", "rows", "columns")],
        *[(name, ctypes.c_int64) for name in ("axial", "lateral", "bases", "terms")],
        *[(name, ctypes.c_void_p) for name in ("x", "y", "first_x", "first_y", "z", "first_z")],
        *[(name, ctypes.c_void_p) for name in ("x_of_term", "y_of_term", "weights", "weight_sum")],
    ]


class CompiledNormal:
    """The weighted sum over all images of products of the basis with itself, applied to coefficients.

    Parameters
    ----------
    x, y : bases (beads, columns or rows, lateral knots) along each axis, as many along x as along y.
    first_x, first_y, first_z : distance, in knot spacings, of each point from the first knot; shapes of `x`, `y` and
        `z` without the knots.
    z : (terms, beads, slices, axial knots) of every term.
    terms : which basis along x and which along y every term has.
    weights : (beads, slices, rows, columns).
    weight_sum : (beads, slices), not zero.
    """

    def __init__(
        self,
        x: Sequence[Tensor],
        y: Sequence[Tensor],
        z: Tensor,
        first_x: Tensor,
        first_y: Tensor,
        first_z: Tensor,
        terms: Sequence[tuple[int, int]],
        weights: Tensor,
        weight_sum: Tensor,
    ) -> None:
        arrays = Arrays(torch.float32)
        beads, slices, rows, columns = weights.shape
        self._shape = axial, lateral = z.shape[-1], x[0].shape[-1]
        along_x, along_y = _Taps.of(torch.stack(tuple(x)), first_x), _Taps.of(torch.stack(tuple(y)), first_y)
        along_z = _Taps.of(z, first_z)
        x_of_term, y_of_term = torch.tensor(terms).unbind(1)
        shapes = (along_x.values.shape[1:3], along_y.values.shape[1:3], z.shape[:3], weight_sum.shape)
        if shapes != ((beads, columns), (beads, rows), (len(terms), beads, slices), (beads, slices)):
            raise ValueError("bases, terms and weights of different shapes")
        self._arrays = arrays
        self._equations = _Equations(
            beads, slices, rows, columns, axial, lateral, len(x), len(terms),
            arrays.real(along_x.values), arrays.real(along_y.values),
            arrays.whole(along_x.first), arrays.whole(along_y.first),
            arrays.real(along_z.values.permute(1, 2, 0, 3)), arrays.whole(along_z.first),
            arrays.whole(x_of_term), arrays.whole(y_of_term),
            arrays.real(weights), arrays.real(weight_sum),
        )  # fmt: skip

    @staticmethod
    def is_available(weights: Tensor, *knots: int) -> bool:
        """Whether the product can be compiled code, by the device of the weights and the knots along each axis."""
        return weights.device.type == "cpu" and min(knots) >= _TAPS and library() is not None

    def __call__(self, coefficients: Tensor) -> Tensor:
        """The product with coefficients (axial, lateral, lateral).

        Raises
        ------
        MemoryError : there is not enough memory.
        ValueError : coefficients of another shape.
        """
        axial, lateral = self._shape
        if coefficients.shape != (axial, lateral, lateral):
            raise ValueError(f"coefficients of shape {tuple(coefficients.shape)}")
        coefficients = coefficients.float().contiguous()
        product = torch.empty_like(coefficients)
        given, written = (ctypes.c_void_p(values.data_ptr()) for values in (coefficients, product))
        if library().planeloc_spline_normal(ctypes.byref(self._equations), given, written):
            raise MemoryError("not enough memory for the spline")
        return product


class _Taps:
    """The values of a basis (…, points, knots) that are not zero, and the first knot of each four."""

    def __init__(self, values: Tensor, first: Tensor) -> None:
        self.values, self.first = values, first

    @classmethod
    def of(cls, basis: Tensor, place: Tensor) -> _Taps:
        """Of points that lie `place` knot spacings (shape of `basis` but its first and last axis) from knot 0."""
        first = (place.floor() - 1).nan_to_num().clamp(0, basis.shape[-1] - _TAPS).long()
        index = first[..., None] + torch.arange(_TAPS)
        return cls(basis.gather(-1, index.expand(len(basis), *index.shape)), first)
