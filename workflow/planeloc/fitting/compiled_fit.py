"""The multi-emitter fit as compiled code, for CPUs: the same fit as in PyTorch, in less time.

A step of the fit is many small sums over the pixels of windows. PyTorch writes each of them to memory; the C++ sources
in `compiled/` keep a window in the processor's cache. They have the formulas of `planeloc.fitting.frame_model`,
`planeloc.fitting.normal_equations`, `planeloc.psf.gaussian` and `planeloc.psf.cubic_spline`; tests compare the two.
Where no compiler was found at installation, where the library cannot be loaded, and on GPUs, the fit runs in PyTorch.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from planeloc.cameras import expected_deviance as deviance_table
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting import limits
from planeloc.fitting.compiled_library import (
    Arrays,
    Problem,
    gaussian_fields,
    knows,
    library,
    noise_fields,
    spline_fields,
)
from planeloc.fitting.drift_information import Likelihood
from planeloc.fitting.maximum import Maximum
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.windows import InitialMolecules, OverlappingPairs, pairs_reach_px, window_side
from planeloc.psf import PSF

_REAL = {torch.float32: "float", torch.float64: "double"}


class _Result(ctypes.Structure):
    """`Result` of compiled/problem.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        "unknowns", "drift", "cost", "deviance", "pixels", "goodness", "held", "own", "between", "moved",
        "gradient", "drift_gradient", "covariance", "of_known_drift", "residual", "weight",
    )]  # fmt: skip


def is_available(psf: PSF, device: torch.device) -> bool:
    """Whether the compiled fit knows this model and device; says once if it was not built or cannot be loaded.

    Raises
    ------
    PlanelocError : the library was built from other sources than those beside it.
    """
    return knows(psf, device, window_side(psf)) and library() is not None


def fit_frames(
    psf: PSF,
    noise: PixelNoise,
    images: Tensor,
    background: Tensor,
    molecules: InitialMolecules,
    drift_sd_nm: float | tuple[float, ...],
    ceiling: Tensor | None,
    expected_deviance: Tensor | None,
    iterations: int,
) -> Maximum:
    """Fit all molecules of some frames and their inter-camera drift.

    Parameters
    ----------
    psf : a model and device for which `is_available`.
    noise, images, molecules, drift_sd_nm, ceiling, expected_deviance :
        as in `planeloc.fitting.multi_emitter.MultiEmitterFit`.
    background : (planes, rows, columns), the same for all frames.
    iterations : largest number of steps.

    Raises
    ------
    MemoryError : there is not enough memory.
    ValueError : a background of another shape, or molecules that are not in the order of their frames.
    """
    _check(images, background, molecules.frame)
    side = window_side(psf)
    corner = molecules.mapped_px.floor().long() - side // 2
    pairs = _pairs(molecules.frame, corner[:, 0], pairs_reach_px(side))
    arrays = Arrays(images.dtype)
    problem = Problem(
        **_image_fields(arrays, images, background, ceiling),
        **_molecule_fields(arrays, molecules),
        **noise_fields(arrays, noise),
        drift_sd_nm=arrays.double(torch.as_tensor(drift_sd_nm).expand(psf.planes - 1)),
        **gaussian_fields(arrays, psf.gaussian),
        **spline_fields(arrays, psf),
        side=side,
        **_deviance_fields(arrays, expected_deviance, psf.planes),
        pair_count=len(pairs),
        pairs=arrays.whole(pairs),
        iterations=iterations,
        **{name.lower(): value for name, value in vars(limits).items() if name.isupper()},
    )
    found = _result_arrays(images, len(molecules.frame), len(pairs), side**2)
    _run(problem, found, images.dtype)
    return _maximum(found, pairs, corner)


def _maximum(found: dict[str, Tensor], pairs: Tensor, corner: Tensor) -> Maximum:
    """What the library has written."""
    likelihood = (found[name] for name in ("own", "between", "moved", "gradient", "drift_gradient"))
    return Maximum(
        Unknowns(found["unknowns"], found["drift"]),
        found["cost"],
        found["held"],
        found["deviance"],
        found["pixels"],
        found["goodness"],
        found["covariance"],
        found["of_known_drift"],
        OverlappingPairs(pairs[:, 0], pairs[:, 1]),
        Likelihood(*likelihood),
        corner,
        found["residual"],
        found["weight"],
    )


def _run(problem: Problem, found: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Let the library fill the arrays of the result."""
    result = _Result(**{name: values.data_ptr() for name, values in found.items()})
    run = getattr(library(), f"planeloc_fit_frames_{_REAL[dtype]}")
    if run(ctypes.byref(problem), ctypes.byref(result)):
        raise MemoryError("not enough memory for the fit")


def _result_arrays(images: Tensor, count: int, pairs: int, pixels: int) -> dict[str, Tensor]:
    """Where the library writes; frames without molecules have no drift, and nothing is known about it."""
    frames, planes = images.shape[:2]
    size, drifts, double = 4 + planes, 2 * (planes - 1), {"dtype": torch.float64}
    return {
        "unknowns": torch.zeros(count, size, **double),
        "drift": torch.zeros(frames, drifts, **double),
        "cost": torch.zeros(frames, **double),
        "deviance": torch.zeros(count, **double),
        "pixels": torch.zeros(count, **double),
        "goodness": torch.zeros(count, **double),
        "held": torch.zeros(count, dtype=torch.bool),
        "own": torch.zeros(count, size, size, **double),
        "between": torch.zeros(pairs, size, size, **double),
        "covariance": torch.zeros(count, size, size, **double),
        "of_known_drift": torch.zeros(count, size, size, **double),
        "moved": torch.zeros(count, size, drifts, **double),
        "gradient": torch.zeros(count, size, **double),
        "drift_gradient": torch.zeros(count, drifts, **double),
        "residual": images.new_zeros(count, planes, pixels),
        "weight": images.new_zeros(count, planes, pixels),
    }


def _check(images: Tensor, background: Tensor, frame: Tensor) -> None:
    """Nothing checks in C++ that what it reads and writes is within its arrays."""
    if background.shape != images.shape[1:]:
        raise ValueError(f"background of shape {tuple(background.shape)} for images of {tuple(images.shape)}")
    if len(frame) and not (frame[0] >= 0 and frame[-1] < len(images) and (frame.diff() >= 0).all()):
        raise ValueError(f"frames of molecules do not ascend from 0 to at most {len(images) - 1}")


def _image_fields(arrays: Arrays, images: Tensor, background: Tensor, ceiling: Tensor | None) -> dict[str, Any]:
    sizes = dict(zip(("frames", "planes", "rows", "columns"), images.shape, strict=True))
    highest = torch.full((images.shape[1],), torch.inf) if ceiling is None else ceiling
    addresses = {"images": arrays.real(images), "background": arrays.real(background)}
    return sizes | addresses | {"ceiling": arrays.double(highest)}


def _molecule_fields(arrays: Arrays, molecules: InitialMolecules) -> dict[str, Any]:
    values = {name: arrays.double(getattr(molecules, name)) for name in ("position", "photons", "mapped_px", "axes")}
    return values | {"molecules": len(molecules.frame), "frame": arrays.whole(molecules.frame)}


def _deviance_fields(arrays: Arrays, table: Tensor | None, planes: int) -> dict[str, Any]:
    table = torch.ones(planes, deviance_table.KNOTS) if table is None else table
    return {
        "expected_deviance": arrays.real(table),
        "deviance_knots": deviance_table.KNOTS,
        "deviance_least_photons": deviance_table.LEAST_PHOTONS,
        "deviance_knots_per_log": deviance_table.KNOTS_PER_LOG,
    }


def _pairs(frame: Tensor, corner: Tensor, reach: float) -> Tensor:
    """(m, 2) molecules of one frame whose windows overlap enough to be coupled."""
    frame, corner, room = frame.long().contiguous(), corner.contiguous(), 0
    while True:
        pairs = torch.empty(room, 2, dtype=torch.int64)
        count = library().planeloc_overlapping_pairs(
            len(frame), frame.data_ptr(), corner.data_ptr(), reach, pairs.data_ptr(), room
        )
        if count <= room:
            return pairs[:count]
        room = count
