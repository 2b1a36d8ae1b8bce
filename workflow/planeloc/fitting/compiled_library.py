"""The library of compiled code: which one this processor runs, and how numbers reach it.

The C++ sources are in `compiled/`; `pip install` builds a library of all of them for every set of processor
instructions. Tests compare each part with the same in PyTorch, which runs on GPUs, and where no library was built.
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

from planeloc.cameras.noise import DARKEST_PHOTONS, PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF
from planeloc.psf.gaussian import LEAST_SHAPE, GaussianPSF
from planeloc.psf.spline import SplinePSF

_LOG = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent
_LIBRARIES = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}  # the best first, by what PyTorch says of the processor
_LARGEST_SIDE = 64  # of a window


class Problem(ctypes.Structure):
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
        *[(name, ctypes.c_double) for name in ("largest_loss", "largest_gain", "least_remaining")],
    ]


def knows(psf: PSF, device: torch.device, side: int) -> bool:
    """Whether the compiled code knows a model, a device and windows of `side` pixels."""
    return device.type == "cpu" and type(psf) in (GaussianPSF, SplinePSF) and side <= _LARGEST_SIDE


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
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
        found = ctypes.CDLL(str(built[0]))
    except OSError as error:  # built for another system, such as one that shares this folder
        reason = " ".join(str(error).split())
        _LOG.warning(
            f"the compiled fit cannot be loaded ({reason}), and refinement takes several times longer: install "
            "planeloc again on this machine"
        )
        return None
    found.planeloc_sources.restype = ctypes.c_char_p
    sources = [path for kind in ("*.h", "*.cpp") for path in sorted((_FOLDER / "compiled").glob(kind))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if sources and found.planeloc_sources().decode() != digest:
        raise PlanelocError(
            f"{built[0].name} was built from other sources than those beside it: install planeloc again (make setup)"
        )
    found.planeloc_overlapping_pairs.restype = ctypes.c_int64
    found.planeloc_overlapping_pairs.argtypes = [
        ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p, ctypes.c_int64,
    ]  # fmt: skip
    return found


def instructions() -> str | None:
    """The processor instructions of the library that runs here, such as ``avx2``; None without one."""
    found = library()
    return Path(found._name).name.split(".")[0].removeprefix("_frame_fit_") if found else None


class Arrays:
    """Addresses of tensors as arrays in C order; keeps them alive as long as itself."""

    def __init__(self, real: torch.dtype) -> None:
        """`real` is the precision of images and coefficients."""
        self._real, self._kept = real, []

    def real(self, values: Tensor) -> int:
        """Address of an array in the precision of images."""
        return self._address(values, self._real)

    def double(self, values: Tensor) -> int:
        """Address of an array in double precision."""
        return self._address(values, torch.float64)

    def whole(self, values: Tensor) -> int:
        """Address of an array of whole numbers."""
        return self._address(values, torch.int64)

    def _address(self, values: Tensor, dtype: torch.dtype) -> int:
        self._kept.append(values.to("cpu", dtype).contiguous())
        return self._kept[-1].data_ptr()


def noise_fields(arrays: Arrays, noise: PixelNoise) -> dict[str, Any]:
    """Fields of the noise of every plane."""
    values = {name: arrays.double(getattr(noise, name)) for name in ("slope", "read_variance")}
    return values | {"darkest_photons": DARKEST_PHOTONS}


def gaussian_fields(arrays: Arrays, psf: GaussianPSF) -> dict[str, Any]:
    """Fields of a Gaussian, or of the Gaussian part of another model."""
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


def spline_fields(arrays: Arrays, psf: PSF) -> dict[str, Any]:
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
