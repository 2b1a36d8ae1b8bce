"""What the test images can tell at all: the limit that every estimator is measured by, drawn into Fig. 8."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from planeloc.cameras.noise import PixelNoise
from planeloc.core.files import write_json
from planeloc.core.marks import EXPERIMENT
from planeloc.core.progress import progress_bar
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene, paper_scene
from planeloc_reproduction.drift_limit import ErrorLimit, scene_limit
from planeloc_reproduction.sweeps import values_of

SEED = 1002
_DRAWS = 8000  # molecules that an average is taken over
_SHARING = (3, 10, 50)  # molecules of one frame that share its drift
_DEPTH_STEP_NM = 50.0

# Of errors that are alike along x and y and normal: from the mean distance to the mean along one axis, and to the rms.
_ONE_AXIS = 2 / math.pi
_LATERAL_RMS = 2 / math.sqrt(math.pi)
_AXIAL_RMS = math.sqrt(math.pi / 2)


def write_bound(output: Path, draws: int = _DRAWS) -> None:
    """Write limits by depth and on average, inter-camera drift known, unknown, and shared; and against photons.

    Molecules lie anywhere in the window, as those of the test images do: at its edge some of their photons are lost.
    """
    psf, scene = paper_scene()
    limits: dict[str, ErrorLimit] = {}
    cases = [("known", 1), ("normal", 1), ("steps", 1), *(("normal", count) for count in _SHARING)]
    with progress_bar(len(cases), "information limit", "case") as bar:
        for drift, molecules in cases:
            limits[f"{drift} {molecules}"] = _limit(psf, scene, drift, molecules, draws)
            bar.update()
    additive = _limit(psf, scene, "normal", 1, draws, _same_everywhere(psf, scene))
    known, unknown, steps = (limits[f"{drift} 1"] for drift in ("known", "normal", "steps"))
    low, high = scene.depth_range_nm
    edges = np.arange(low, high + 1, _DEPTH_STEP_NM)
    write_json(
        output,
        {
            "seed": SEED,
            "draws": draws,
            "depth_nm": (0.5 * (edges[1:] + edges[:-1])).tolist(),
            "known_drift": _by_depth(known, edges),
            "unknown_drift": _by_depth(unknown, edges),
            "discrete_drift": _by_depth(steps, edges),
            "mean": {
                "known_drift": _mean(known),
                "unknown_drift": _mean(unknown),
                "discrete_drift": _mean(steps),
                "shared_drift": {str(count): _mean(limits[f"normal {count}"]) for count in _SHARING},
            },
            "root_mean_square": {"known_drift": _root_mean_square(known), "unknown_drift": _root_mean_square(unknown)},
            "readings_of_the_noise": {"shot_noise": _along_z(unknown), "additive_noise": _along_z(additive)},
            "photons": [
                {"value": value, **_mean(_limit(psf, replace(scene, photons=(value, value)), "normal", 1, draws // 4))}
                for value in values_of("photons")
            ],
        },
        EXPERIMENT,
    )


def _limit(
    psf: PSF, scene: Scene, drift: str, molecules: int, draws: int, noise: PixelNoise | None = None
) -> ErrorLimit:
    return scene_limit(psf, scene, drift, molecules=molecules, draws=draws, central_px=None, noise=noise, seed=SEED)


def _same_everywhere(psf: PSF, scene: Scene) -> PixelNoise:
    """Noise of the background alone, under a molecule as beside it: the other reading of Table 2."""
    slope = torch.full((psf.planes,), 1e-9, dtype=torch.float64)
    return PixelNoise(slope, scene.pixel_noise(psf.planes).read_variance + scene.background[0])


def _along_z(limit: ErrorLimit) -> dict[str, float]:
    """Least mean axial error: of positions, and in whole voxels if all molecules lie in the middle of theirs.

    There an error e is round(e / voxel) voxels.
    """
    _, scene = paper_scene()
    sd = _AXIAL_RMS * limit.axial_nm
    half_voxels = np.arange(0.5, 5)[:, None] * scene.voxel_depth_nm
    beyond = 2 * norm.sf(half_voxels / sd)
    return {
        "axial_nm": limit.mean_axial_nm,
        "centred_voxel_nm": float(scene.voxel_depth_nm * beyond.sum(axis=0).mean()),
    }


def _by_depth(limit: ErrorLimit, edges_nm: NDArray[np.float64]) -> dict[str, list[float]]:
    lateral, axial = limit.by_depth(edges_nm)
    one_axis = (_ONE_AXIS * lateral).tolist()
    return {"x_nm": one_axis, "y_nm": one_axis, "z_nm": axial.tolist(), "lateral_nm": lateral.tolist()}


def _mean(limit: ErrorLimit) -> dict[str, float]:
    return {"lateral_nm": limit.mean_lateral_nm, "axial_nm": limit.mean_axial_nm}


def _root_mean_square(limit: ErrorLimit) -> dict[str, float]:
    return {
        "lateral_nm": float(np.sqrt(np.mean((_LATERAL_RMS * limit.lateral_nm) ** 2))),
        "axial_nm": float(np.sqrt(np.mean((_AXIAL_RMS * limit.axial_nm) ** 2))),
    }
