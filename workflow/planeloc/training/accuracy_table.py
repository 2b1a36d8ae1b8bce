"""How good a network is by depth and by brightness of the molecules, beside what the images allow."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.psf import PSF
from planeloc.psf.fisher_information import position_bound
from planeloc.scenes.scene import Scene
from planeloc.training.regression_task import Pairing

LAYERS = 8  # of depth
_BOUNDS_AT_MOST = 2000  # molecules whose bound is worked out, of all

Row = dict[str, Any]


def tabulate(pairing: Pairing, psf: PSF, scene: Scene) -> list[Row]:
    """One row for every layer of depth and either half of the range of photons.

    Each has the interval of `depth_nm` and of `photons`, the number of `molecules`, `recall`, and of those that were
    found the rms errors (`lateral_nm`, `axial_nm`), rms errors over stated deviations (`pull_x`, …) and the Cramér–Rao
    bound of isolated molecules with the drift known (`bound_lateral_nm`, `bound_axial_nm`). None where none was found.
    """
    bound = _bounds(pairing, psf, scene)
    depths = np.linspace(*scene.depth_range_nm, LAYERS + 1)
    low, high = scene.photons
    rows = []
    middle = (low + high) / 2
    bright = pairing.photons >= middle
    for half, dimmest, brightest in ((~bright, low, middle), (bright, middle, high)):
        for lower, upper in pairwise(depths):
            z = pairing.position_nm[:, 2]
            # Ends may be left by rounding in single precision; every molecule is in one row.
            own = (z >= lower) | (lower == depths[0])
            own &= (z < upper) | (upper == depths[-1])
            own &= half
            rows.append(
                {
                    "depth_nm": [float(lower), float(upper)],
                    "photons": [dimmest, brightest],
                    "molecules": int(own.sum()),
                    "recall": float(pairing.found[own].mean()) if own.any() else None,
                    **_errors(pairing, bound, own & pairing.found),
                }
            )
    return rows


def _errors(pairing: Pairing, bound: NDArray[np.float64], own: NDArray[np.bool_]) -> Row:
    squares = (pairing.error_nm[own] ** 2, (pairing.error_nm[own] / pairing.sd_nm[own]) ** 2)
    known = own & ~np.isnan(bound[:, 0])
    squares = (*squares, bound[known] ** 2)
    error, pull, least = (np.sqrt(of.mean(axis=0)) if len(of) else np.full(3, np.nan) for of in squares)
    values = {
        "lateral_nm": math.hypot(*error[:2]),
        "axial_nm": error[2],
        **{f"pull_{axis}": value for axis, value in zip("xyz", pull, strict=True)},
        "bound_lateral_nm": math.hypot(*least[:2]),
        "bound_axial_nm": least[2],
    }
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def _bounds(pairing: Pairing, psf: PSF, scene: Scene) -> NDArray[np.float64]:
    """(n, 3) the bound of molecules that were found, of every so many; NaN of all others."""
    found = np.nonzero(pairing.found)[0]
    some = found[:: max(1, math.ceil(len(found) / _BOUNDS_AT_MOST))]
    bound = np.full((len(pairing.found), 3), np.nan)
    level = np.full(len(some), float(np.mean(scene.background)))
    noise = scene.pixel_noise(psf.planes)
    with torch.inference_mode():
        bound[some] = position_bound(psf, noise, pairing.position_nm[some], pairing.photons[some], level)
    return bound
