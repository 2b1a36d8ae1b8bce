"""Reading and writing point spread functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from planeloc.core import hdf5, marks
from planeloc.core.errors import PlanelocError
from planeloc.psf.base import PSF
from planeloc.psf.gaussian import GaussianPSF
from planeloc.psf.spline import SplinePSF

_FORMAT = "planeloc psf 2"
_FORMATS = ("planeloc psf 1", _FORMAT)  # 1 knew the Gaussian only


def psf_from_record(values: dict[str, Any], arrays: Mapping[str, Tensor]) -> PSF:
    """The model that `PSF.as_dict` and `PSF.arrays` describe; records without a model are Gaussians."""
    model = values.get("model", "gaussian")
    if model == "gaussian":
        return GaussianPSF.from_dict(values)
    if model == "spline":
        return SplinePSF.from_dict(values, arrays["coefficients"])
    raise ValueError(f"unknown model {model!r}")


def write_psf(path: str | Path, psf: PSF, details: dict[str, Any] | None = None) -> None:
    """Write psf.h5: parameters as JSON and arrays as data sets of /psf; `details` (quality, settings) as JSON."""
    values = psf.as_dict()
    with hdf5.create(path, marks.PSF) as file:
        file.attrs["format"] = _FORMAT
        group = file.create_group("psf")
        group.attrs["model"] = values["model"]
        group.attrs["parameters"] = json.dumps(values)
        group.attrs["details"] = json.dumps(details or {})
        for name, array in psf.arrays.items():
            group.create_dataset(name, data=array.cpu().numpy(), compression="gzip", shuffle=True)


def read_psf(path: str | Path) -> PSF:
    """Read a calibrated point spread function.

    Parameters
    ----------
    path : of a psf.h5 that `planeloc calibrate` or `write_psf` wrote.

    Raises
    ------
    PlanelocError : there is no such file, or it is another one.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] not in _FORMATS:
                raise ValueError(file.attrs["format"])
            group = file["psf"]
            arrays = {name: torch.from_numpy(data[()]) for name, data in group.items()}
            return psf_from_record(json.loads(group.attrs["parameters"]), arrays)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; make it with `planeloc calibrate`") from None
    except (OSError, KeyError, TypeError, ValueError):
        raise PlanelocError(f"{path}: not a planeloc PSF; make it again with `planeloc calibrate`") from None
