"""The least errors that the images of a scene allow: drift between the cameras known, or unknown with its prior.

An average over molecules as a scene has them. Where Fisher information gives the limit, the error is taken as normal
with the bound as its covariance: mean distance laterally, mean |z error| axially.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.psf import PSF, Emitters
from planeloc.psf.fisher_information import plane_information
from planeloc.scenes.scene import Scene
from planeloc_reproduction.drift_information import (
    covariance_with_drift,
    lateral_precision,
    least_error_of_steps,
    mean_axial_error,
    mean_lateral_error,
)

Array = NDArray[np.float64]

DRIFTS = ("known", "normal", "steps")
_AT_ONCE = 200  # molecules: bounds the memory of the derivatives


@dataclass(frozen=True)
class ErrorLimit:
    """The least mean errors of many molecules, one each; to be averaged."""

    depth_nm: Array  # (n,) true z
    lateral_nm: Array  # (n,) distance from the true position in x and y
    axial_nm: Array  # (n,) |z error|

    @property
    def mean_lateral_nm(self) -> float:
        return float(self.lateral_nm.mean())

    @property
    def mean_axial_nm(self) -> float:
        return float(self.axial_nm.mean())

    def by_depth(self, edges_nm: Array) -> tuple[Array, Array]:
        """Mean lateral and axial error between every two edges; NaN where no molecule lies."""
        between = np.digitize(self.depth_nm, edges_nm) - 1
        chosen = [between == interval for interval in range(len(edges_nm) - 1)]
        lateral, axial = (
            np.array([values[of].mean() if of.any() else np.nan for of in chosen])
            for values in (self.lateral_nm, self.axial_nm)
        )
        return lateral, axial


def scene_limit(
    psf: PSF,
    scene: Scene,
    drift: str = "normal",
    *,
    molecules: int = 1,
    draws: int = 4000,
    central_px: float | None = 1.0,
    background_known: bool = True,
    noise: PixelNoise | None = None,
    seed: int = 0,
) -> ErrorLimit:
    """The limit for molecules of a scene, drawn with even depths, random places, photons and drift.

    Parameters
    ----------
    drift : one of `DRIFTS`.
        known: the planes' shifts are known.
        normal: unknown, a normal prior of the scene's variance. Holds for a drift that is normal; where it comes in
        steps, for every estimate that is linear in what the planes tell.
        steps: unknown, the scene's own prior of equally likely whole voxels; single molecules only.
    molecules : that share a frame and its drift, none near another, all of them used.
    draws : molecules drawn, rounded up to whole frames.
    central_px : side of the square about the window's middle where molecules lie; None: all of the window, whose
        edge cuts photons off. 1 averages over the place within a pixel.
    background_known : else every plane's is unknown.
    noise : of the pixels; the scene's if left out.

    Raises
    ------
    ValueError : a drift that is not one of `DRIFTS`, or steps that are shared or that registration errors blur.
    """
    if drift not in DRIFTS:
        raise ValueError(f"drift {drift!r} is not one of {', '.join(DRIFTS)}")
    if drift == "steps" and (molecules > 1 or any(scene.registration_sds_nm(psf.planes))):
        raise ValueError("a drift of whole steps has a limit for single molecules without registration errors only")
    generator = torch.Generator().manual_seed(seed)
    frames = -(-draws // molecules)
    noise = scene.pixel_noise(psf.planes) if noise is None else noise
    depth, information = _information(psf, scene, noise, frames, molecules, central_px, background_known, generator)
    sd = 0.0 if drift == "known" else scene.drift_sds_nm(psf.pixel_size_nm, psf.planes)
    covariance = covariance_with_drift(information, sd)
    lateral = mean_lateral_error(covariance)
    if drift == "steps":
        voxel = scene.voxel_nm(psf.pixel_size_nm)[0]
        steps = voxel * torch.arange(
            -scene.inter_camera_drift_voxels, scene.inter_camera_drift_voxels + 1, dtype=torch.float64
        )
        lateral = least_error_of_steps(lateral_precision(information[:, 0]), steps, generator)
    return ErrorLimit(depth.flatten().numpy(), lateral.ravel(), mean_axial_error(covariance).ravel())


def _information(
    psf: PSF,
    scene: Scene,
    noise: PixelNoise,
    frames: int,
    molecules: int,
    central_px: float | None,
    background_known: bool,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Depths (frames, molecules) and the planes' information (frames, molecules, planes, 4, 4)."""
    count = frames * molecules

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    central = scene.window_px if central_px is None else central_px
    margins = [psf.pixel_size_nm * (scene.window_px + sign * central) / 2 for sign in (-1, 1)]
    x, y, photons = uniform(*margins), uniform(*margins), uniform(*scene.photons)
    # One molecule in each of `count` equal layers leaves little of the scatter of depths in the averages.
    low, high = scene.depth_range_nm
    depth = low + (high - low) / count * (torch.randperm(count, generator=generator) + uniform(0, 1))
    background = uniform(*scene.background)[:, None].expand(-1, psf.planes)
    sd = torch.tensor((0.0, *scene.drift_sds_nm(psf.pixel_size_nm, psf.planes)), dtype=torch.float64)[:, None]
    shifts = sd * torch.randn(frames, 1, psf.planes, 2, generator=generator, dtype=torch.float64)
    shifts = shifts.expand(-1, molecules, -1, -1).reshape(count, psf.planes, 2)
    shape = (scene.window_px, scene.window_px)
    emitters = Emitters(x, y, depth, photons, shifts, background)
    parts = [
        plane_information(psf, emitters[part], noise, shape, background_known)
        for part in torch.arange(count).split(_AT_ONCE)
    ]
    information = torch.cat(parts).reshape(frames, molecules, psf.planes, 4, 4)
    return depth.reshape(frames, molecules), information
