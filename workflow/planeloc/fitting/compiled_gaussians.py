"""Fits of two-dimensional Gaussians as compiled code: those of `planeloc.fitting.gaussian_2d`, one window at a time.

The C++ source is `compiled/gaussian_fit.cpp`.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from planeloc.core.arrays import Array, Mask
from planeloc.fitting.compiled_library import library


class _Windows(ctypes.Structure):
    """`GaussianWindows` of compiled/gaussian_fit.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("count", "rows", "columns", "size", "likelihood", "iterations")],
        *[(name, ctypes.c_void_p) for name in ("data", "use", "slope", "read_variance")],
        *[(name, ctypes.c_double) for name in ("cosine", "sine")],
        ("widths", ctypes.c_void_p),
        ("starts", ctypes.c_int64),
        *[(name, ctypes.c_double) for name in ("first_damping", "decrease", "increase", "least_damping")],
        *[(name, ctypes.c_double) for name in ("largest_damping", "hopeless", "close_enough", "largest_step_px")],
        ("smallest_width", ctypes.c_double),
    ]


class GaussianSums(NamedTuple):
    """What fits of n windows with p parameters found; `GaussianResult` of compiled/gaussian_fit.cpp."""

    parameters: Array  # (n, p)
    hessian: Array  # (n, p, p) products of the derivatives, with the weights of the estimator
    middle: Array  # (n, p, p) the same with weights · variances · weights
    left: Array  # (n,) squared residuals less the noise
    contrast: Array  # (n,) squared contrast of the model
    converged: Mask  # (n,)


class _Result(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in GaussianSums._fields]


def is_available() -> bool:
    """Whether there is compiled code for this processor."""
    return library() is not None


def fit_windows(
    data: Array, use: Array, shape: tuple[int, int], slope: Array, read_variance: Array, widths: Array, **options: Any
) -> GaussianSums:
    """Fit one Gaussian to each window.

    Parameters
    ----------
    data, use : (n, rows · columns) photons, and 1 where a pixel is used.
    shape : rows and columns.
    slope, read_variance : (n,) noise of every window.
    widths : squared widths to start from; the best is taken.
    options : other fields of `GaussianWindows`, `size` being the number of parameters, 5 or 6.

    Raises
    ------
    MemoryError : there is not enough memory.
    ValueError : arrays whose shapes do not agree, or a number of parameters that is neither 5 nor 6.
    """
    n, size = len(data), options["size"]
    agree = data.shape == use.shape == (n, shape[0] * shape[1]) and slope.shape == read_variance.shape == (n,)
    if size not in (5, 6) or not agree:
        raise ValueError("windows of different shapes, or another number of parameters than 5 or 6")
    arrays = [np.ascontiguousarray(a, dtype=np.float64) for a in (data, use, slope, read_variance, widths)]
    names = ("data", "use", "slope", "read_variance", "widths")
    addresses = {name: values.ctypes.data for name, values in zip(names, arrays, strict=True)}
    shapes = ((n, size), (n, size, size), (n, size, size), (n,), (n,))
    found = GaussianSums(*map(np.zeros, shapes), np.zeros(n, dtype=bool))
    windows = _Windows(count=n, rows=shape[0], columns=shape[1], starts=len(widths), **addresses, **options)
    result = _Result(*(values.ctypes.data for values in found))
    if library().planeloc_fit_gaussians(ctypes.byref(windows), ctypes.byref(result)):
        raise MemoryError("not enough memory for the fit")
    return found
