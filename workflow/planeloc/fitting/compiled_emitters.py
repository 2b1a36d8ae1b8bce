"""Fits of single emitters as compiled code: the iterations of `planeloc.fitting.single_emitter`, one window at a time.

It knows windows whose planes do not drift, with unknown backgrounds: beads in scans. The C++ source is
`compiled/emitter_fit.cpp`.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.compiled_library import (
    Arrays,
    Problem,
    gaussian_fields,
    knows,
    library,
    noise_fields,
    spline_fields,
)
from planeloc.psf import PSF


class _Windows(ctypes.Structure):
    """`EmitterWindows` of compiled/problem.h."""

    _fields_ = [
        ("count", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("photons", "use", "shifts_nm", "axes", "start")],
        ("iterations", ctypes.c_int64),
        *[(name, ctypes.c_double) for name in ("first_damping", "decrease", "increase", "least_damping", "tolerance")],
        *[(name, ctypes.c_double) for name in ("hopeless", "largest_step_px", "largest_step_z_nm", "largest_loss")],
        *[(name, ctypes.c_double) for name in ("largest_gain", "close_enough")],
    ]


class EmitterSums(NamedTuple):
    """What fits of n windows found; `EmitterResult` of compiled/problem.h."""

    parameters: Tensor  # (n, 4 + planes): x, y, z, photons, background of every plane
    information: Tensor  # (n, 4, 4) with the backgrounds eliminated
    left: Tensor  # (n,) squared residuals less the noise
    contrast: Tensor  # (n,) squared contrast of the model
    squares: Tensor  # (n,) squared residuals over the noise
    converged: Tensor  # (n,) bool


class _Result(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in EmitterSums._fields]


def is_available(psf: PSF, photons: Tensor) -> bool:
    """Whether the compiled fit knows this model and windows (n, planes, rows, columns)."""
    rows, columns = photons.shape[2:]
    return rows == columns and knows(psf, photons.device, rows) and library() is not None


def fit_windows(
    psf: PSF, noise: PixelNoise, windows: tuple[Tensor, ...], start: Tensor, limits: dict[str, float]
) -> EmitterSums:
    """Fit one emitter to each window.

    Parameters
    ----------
    psf : a model for which `is_available`.
    windows : `photons`, `use`, `shifts_nm` and `axes` of `planeloc.fitting.single_emitter.EmitterWindows`.
    start : (n, 4) x, y, z (nm) and photons.
    limits : of the iterations, by the names of `EmitterWindows` of compiled/problem.h.

    Raises
    ------
    MemoryError : there is not enough memory.
    ValueError : arrays whose shapes do not agree.
    """
    count, planes, side = windows[0].shape[:3]
    shapes = ((count, planes, side, side),) * 2 + ((count, planes, 2), (planes, 2, 2))
    if start.shape != (count, 4) or psf.planes != planes or tuple(w.shape for w in windows) != shapes:
        raise ValueError("windows, planes and start of different shapes")
    arrays, double = Arrays(torch.float64), torch.float64
    noise = PixelNoise(noise.slope.expand(planes), noise.read_variance.expand(planes))
    of_psf = gaussian_fields(arrays, psf.gaussian) | spline_fields(arrays, psf)
    of_psf["depths_nm"] = arrays.double(torch.tensor(psf.plane_depths_nm, dtype=double))
    of_psf["brightness"] = arrays.double(torch.tensor(psf.brightness, dtype=double))
    problem = Problem(planes=planes, side=side, **of_psf, **noise_fields(arrays, noise))
    names = ("photons", "use", "shifts_nm", "axes", "start")
    addresses = {name: arrays.double(values) for name, values in zip(names, (*windows, start), strict=True)}
    found = EmitterSums(
        torch.zeros(count, 4 + planes, dtype=double),
        torch.zeros(count, 4, 4, dtype=double),
        *torch.zeros(3, count, dtype=double),
        torch.zeros(count, dtype=torch.bool),
    )
    result = _Result(*(values.data_ptr() for values in found))
    run = library().planeloc_fit_emitters
    if run(ctypes.byref(problem), ctypes.byref(_Windows(count=count, **addresses, **limits)), ctypes.byref(result)):
        raise MemoryError("not enough memory for the fit")
    return found
