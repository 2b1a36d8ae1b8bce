"""The multi-emitter fit as compiled code, for CPUs: the same fit as in PyTorch, in less time.

A step of the fit is many small sums over the pixels of windows. PyTorch writes each of them to memory; the C++ sources
in `compiled/` keep a window in the processor's cache. They have the formulas of `planeloc.fitting.frame_model`,
`planeloc.fitting.normal_equations`, `planeloc.psf.gaussian` and `planeloc.psf.cubic_spline`; tests compare the two.
Where no compiler was found at installation, where the library cannot be loaded, and on GPUs, the fit runs in PyTorch.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from planeloc.cameras import expected_deviance as deviance_table
from planeloc.cameras.noise import DARKEST_PHOTONS, PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.fitting import limits
from planeloc.fitting.maximum import Maximum
from planeloc.fitting.normal_equations import Unknowns, covariance_of_molecules
from planeloc.fitting.windows import InitialMolecules, OverlappingPairs, pairs_reach_px, window_side
from planeloc.psf import PSF
from planeloc.psf.gaussian import LEAST_SHAPE, GaussianPSF
from planeloc.psf.spline import SplinePSF

_LOG = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent
_LIBRARIES = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}  # the best first, by what PyTorch says of the processor
_LARGEST_SIDE = 64  # of a window
_REAL = {torch.float32: "float", torch.float64: "double"}


class _Problem(ctypes.Structure):
    """`Problem` of compiled/problem.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("frames", "planes", "rows", "columns")],
        *[(name, ctypes.c_void_p) for name in ("images", "background", "ceiling")],
        ("molecules", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("frame", "position", "photons", "mapped_px", "axes")],
        *[(name, ctypes.c_void_p) for name in ("slope", "read_variance")],
        ("darkest_photons", ctypes.c_double),
        *[(name, ctypes.c_void_p) for name in ("drift_sd_nm", "depths_nm", "brightness")],
        *[(name, ctypes.c_double) for name in ("pixel_nm", "waist_nm", "focus_depth_nm", "asymmetry", "quartic")],
        ("least_shape", ctypes.c_double),
        ("pixel_integration", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("coefficients", "sets")],
        *[(name, ctypes.c_int64) for name in ("set_count", "axial_knots", "lateral_knots", "knots_per_pixel")],
        *[(name, ctypes.c_double) for name in ("lateral_nm", "axial_nm", "first_nm")],
        ("side", ctypes.c_int64),
        ("expected_deviance", ctypes.c_void_p),
        ("deviance_knots", ctypes.c_int64),
        *[(name, ctypes.c_double) for name in ("deviance_least_photons", "deviance_knots_per_log")],
        ("pair_count", ctypes.c_int64),
        ("pairs", ctypes.c_void_p),
        *[(name, ctypes.c_double) for name in ("wide_nm", "wide_photons", "least_drift_sd_nm")],
        *[(name, ctypes.c_int64) for name in ("iterations", "coupling_steps", "solver_iterations")],
        *[(name, ctypes.c_double) for name in ("solver_tolerance", "first_damping", "hold", "hold_damping")],
        *[(name, ctypes.c_double) for name in ("largest_step_px", "largest_step_z_nm", "farthest_px")],
        *[(name, ctypes.c_double) for name in ("farthest_z_nm", "least_photons", "small_step", "unfinished")],
        *[(name, ctypes.c_double) for name in ("least_damping", "largest_damping", "damping_increase")],
        *[(name, ctypes.c_double) for name in ("damping_decrease", "damping_of_rejected", "cost_tolerance")],
        *[(name, ctypes.c_double) for name in ("largest_loss", "largest_gain")],
    ]


class _Result(ctypes.Structure):
    """`Result` of compiled/problem.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        "unknowns", "drift", "cost", "deviance", "pixels", "goodness", "held", "own", "between", "with_drift",
        "about_drift", "residual", "weight",
    )]  # fmt: skip


def is_available(psf: PSF, device: torch.device) -> bool:
    """Whether the compiled fit knows this model and device; says once if it was not built or cannot be loaded.

    Raises
    ------
    PlanelocError : the library was built from other sources than those beside it.
    """
    known = device.type == "cpu" and type(psf) in (GaussianPSF, SplinePSF) and window_side(psf) <= _LARGEST_SIDE
    return known and _library() is not None


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
    library, side = _library(), window_side(psf)
    corner = molecules.mapped_px.floor().long() - side // 2
    pairs = _pairs(molecules.frame, corner[:, 0], pairs_reach_px(side))
    arrays = _Arrays(images.dtype)
    problem = _Problem(
        **_image_fields(arrays, images, background, ceiling),
        **_molecule_fields(arrays, molecules),
        **_noise_fields(arrays, noise),
        drift_sd_nm=arrays.double(torch.as_tensor(drift_sd_nm).expand(psf.planes - 1)),
        **_gaussian_fields(arrays, psf.gaussian),
        **_spline_fields(arrays, psf),
        side=side,
        **_deviance_fields(arrays, expected_deviance, psf.planes),
        pair_count=len(pairs),
        pairs=arrays.whole(pairs),
        iterations=iterations,
        **{name.lower(): value for name, value in vars(limits).items() if name.isupper()},
    )
    found = _result_arrays(images, len(molecules.frame), len(pairs), side**2)
    result = _Result(**{name: values.data_ptr() for name, values in found.items()})
    run = getattr(library, f"planeloc_fit_frames_{_REAL[images.dtype]}")
    if run(ctypes.byref(problem), ctypes.byref(result)):
        raise MemoryError("not enough memory for the fit")
    information = (found[name] for name in ("own", "between", "with_drift", "about_drift"))
    return Maximum(
        Unknowns(found["unknowns"], found["drift"]),
        found["cost"],
        found["held"],
        found["deviance"],
        found["pixels"],
        found["goodness"],
        covariance_of_molecules(molecules.frame, OverlappingPairs(pairs[:, 0], pairs[:, 1]), *information),
        corner,
        found["residual"],
        found["weight"],
    )


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
        "with_drift": torch.zeros(count, size, drifts, **double),
        "about_drift": torch.eye(drifts, **double).repeat(frames, 1, 1),
        "residual": images.new_zeros(count, planes, pixels),
        "weight": images.new_zeros(count, planes, pixels),
    }


def _check(images: Tensor, background: Tensor, frame: Tensor) -> None:
    """Nothing checks in C++ that what it reads and writes is within its arrays."""
    if background.shape != images.shape[1:]:
        raise ValueError(f"background of shape {tuple(background.shape)} for images of {tuple(images.shape)}")
    if len(frame) and not (frame[0] >= 0 and frame[-1] < len(images) and (frame.diff() >= 0).all()):
        raise ValueError(f"frames of molecules do not ascend from 0 to at most {len(images) - 1}")


class _Arrays:
    """Addresses of tensors as arrays in C order; keeps them alive as long as itself."""

    def __init__(self, real: torch.dtype) -> None:
        """`real` is the precision of images and coefficients."""
        self._real, self._kept = real, []

    def real(self, values: Tensor) -> int:
        return self._address(values, self._real)

    def double(self, values: Tensor) -> int:
        return self._address(values, torch.float64)

    def whole(self, values: Tensor) -> int:
        return self._address(values, torch.int64)

    def _address(self, values: Tensor, dtype: torch.dtype) -> int:
        self._kept.append(values.to("cpu", dtype).contiguous())
        return self._kept[-1].data_ptr()


def _image_fields(arrays: _Arrays, images: Tensor, background: Tensor, ceiling: Tensor | None) -> dict[str, Any]:
    sizes = dict(zip(("frames", "planes", "rows", "columns"), images.shape, strict=True))
    highest = torch.full((images.shape[1],), torch.inf) if ceiling is None else ceiling
    addresses = {"images": arrays.real(images), "background": arrays.real(background)}
    return sizes | addresses | {"ceiling": arrays.double(highest)}


def _molecule_fields(arrays: _Arrays, molecules: InitialMolecules) -> dict[str, Any]:
    values = {name: arrays.double(getattr(molecules, name)) for name in ("position", "photons", "mapped_px", "axes")}
    return values | {"molecules": len(molecules.frame), "frame": arrays.whole(molecules.frame)}


def _noise_fields(arrays: _Arrays, noise: PixelNoise) -> dict[str, Any]:
    values = {name: arrays.double(getattr(noise, name)) for name in ("slope", "read_variance")}
    return values | {"darkest_photons": DARKEST_PHOTONS}


def _deviance_fields(arrays: _Arrays, table: Tensor | None, planes: int) -> dict[str, Any]:
    table = torch.ones(planes, deviance_table.KNOTS) if table is None else table
    return {
        "expected_deviance": arrays.real(table),
        "deviance_knots": deviance_table.KNOTS,
        "deviance_least_photons": deviance_table.LEAST_PHOTONS,
        "deviance_knots_per_log": deviance_table.KNOTS_PER_LOG,
    }


def _gaussian_fields(arrays: _Arrays, psf: GaussianPSF) -> dict[str, Any]:
    return {
        "depths_nm": arrays.double(torch.tensor(psf.plane_depths_nm)),
        "brightness": arrays.double(torch.tensor(psf.brightness)),
        "pixel_nm": psf.pixel_size_nm,
        "waist_nm": psf.waist_nm,
        "focus_depth_nm": psf.focus_depth_nm,
        "asymmetry": psf.asymmetry,
        "quartic": psf.quartic,
        "least_shape": LEAST_SHAPE,
        "pixel_integration": psf.pixel_integration,
    }


def _spline_fields(arrays: _Arrays, psf: PSF) -> dict[str, Any]:
    """Fields of the spline; none for a Gaussian, whose number of knots then is 0."""
    if not isinstance(psf, SplinePSF):
        return {}
    knots = psf.knots
    return {
        "coefficients": arrays.real(psf.coefficients),
        "sets": arrays.whole(torch.tensor(psf.sets)),
        "set_count": len(psf.coefficients),
        "axial_knots": knots.axial,
        "lateral_knots": knots.lateral,
        "knots_per_pixel": round(psf.pixel_size_nm / knots.lateral_nm),
        "lateral_nm": knots.lateral_nm,
        "axial_nm": knots.axial_nm,
        "first_nm": knots.first_nm,
    }


def _pairs(frame: Tensor, corner: Tensor, reach: float) -> Tensor:
    """(m, 2) molecules of one frame whose windows overlap enough to be coupled."""
    frame, corner, room = frame.long().contiguous(), corner.contiguous(), 0
    while True:
        pairs = torch.empty(room, 2, dtype=torch.int64)
        count = _library().planeloc_overlapping_pairs(
            len(frame), frame.data_ptr(), corner.data_ptr(), reach, pairs.data_ptr(), room
        )
        if count <= room:
            return pairs[:count]
        room = count


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The library for this processor; None where it was not built or cannot be loaded."""
    names = (*_LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ()), "baseline")
    built = [path for name in names for path in sorted(_FOLDER.glob(f"_frame_fit_{name}.*"))]
    if not built:
        _LOG.warning(
            "the compiled fit was not built, and refinement takes several times longer: install a C++ compiler "
            "(sudo apt install g++) and planeloc again"
        )
        return None
    try:
        library = ctypes.CDLL(str(built[0]))
    except OSError as error:  # built for another system, such as one that shares this folder
        reason = " ".join(str(error).split())
        _LOG.warning(
            f"the compiled fit cannot be loaded ({reason}), and refinement takes several times longer: install "
            "planeloc again on this machine"
        )
        return None
    library.planeloc_sources.restype = ctypes.c_char_p
    sources = [path for kind in ("*.h", "*.cpp") for path in sorted((_FOLDER / "compiled").glob(kind))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if sources and library.planeloc_sources().decode() != digest:
        raise PlanelocError(
            f"{built[0].name} was built from other sources than those beside it: install planeloc again (make setup)"
        )
    library.planeloc_overlapping_pairs.restype = ctypes.c_int64
    library.planeloc_overlapping_pairs.argtypes = [
        ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p, ctypes.c_int64,
    ]  # fmt: skip
    return library
