"""The search for missed molecules as compiled code: `_best` of `planeloc.fitting.residual_search`.

The C++ source is `compiled/residual_search.cpp`.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from planeloc.fitting.compiled_library import Arrays, Problem, gaussian_fields, knows, library
from planeloc.fitting.maximum import Residuals
from planeloc.psf import PSF

_REAL = {torch.float32: "float", torch.float64: "double"}


class _Windows(ctypes.Structure):
    """`SearchedWindows` of compiled/residual_search.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("count", "steps")],
        *[(name, ctypes.c_void_p) for name in ("residual", "weight", "in_window_nm", "axes", "step")],
    ]


class _Result(ctypes.Structure):
    """`SearchResult` of compiled/residual_search.cpp."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("best", "gain", "photons")]


def is_available(psf: PSF, residuals: Residuals) -> bool:
    """Whether there is compiled code for this model and these windows."""
    weight = residuals.weight
    return weight.dtype in _REAL and knows(psf.gaussian, weight.device, _side(weight)) and library() is not None


def best_steps(psf: PSF, residuals: Residuals, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which of the steps (k, 3) gains most in every window: its number (n,), gain (n,) and photons (n,).

    Raises
    ------
    MemoryError : there is not enough memory.
    ValueError : arrays whose shapes do not agree.
    """
    count, planes, pixels = residuals.weight.shape
    side, double = _side(residuals.weight), torch.float64
    agree = residuals.residual.shape == residuals.weight.shape and residuals.in_window_nm.shape == (count, planes, 2)
    if not agree or side**2 != pixels or psf.planes != planes or residuals.axes.shape != (count, planes, 2, 2):
        raise ValueError("windows and planes of different shapes")
    if not len(steps):
        raise ValueError("no steps to try")
    arrays = Arrays(residuals.weight.dtype)
    of_psf = gaussian_fields(arrays, psf.gaussian)
    of_psf["depths_nm"] = arrays.double(torch.tensor(psf.plane_depths_nm, dtype=double))
    of_psf["brightness"] = arrays.double(torch.tensor(psf.brightness, dtype=double))
    problem = Problem(planes=planes, side=side, **of_psf)
    windows = _Windows(
        count,
        len(steps),
        arrays.real(residuals.residual),
        arrays.real(residuals.weight),
        arrays.double(residuals.in_window_nm),
        arrays.double(residuals.axes),
        arrays.double(steps),
    )
    best = torch.zeros(count, dtype=torch.int64)
    gain, photons = torch.zeros(2, count, dtype=double)
    result = _Result(best.data_ptr(), gain.data_ptr(), photons.data_ptr())
    run = getattr(library(), f"planeloc_search_{_REAL[residuals.weight.dtype]}")
    if run(ctypes.byref(problem), ctypes.byref(windows), ctypes.byref(result)):
        raise MemoryError("not enough memory for the search")
    return best, gain, photons


def _side(windows: Tensor) -> int:
    return round(windows.shape[2] ** 0.5)
