"""Can a microscope tell depths at all? Asked before a network is trained on them.

Two depths are told apart by how many standard deviations of the noise their images differ, when photons and every
plane's background are free. For neighbouring depths that is their distance over the Cramér–Rao bound; unlike the bound,
it also shows depths far apart that look alike, as those above and below one focal plane do.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene

_LOG = logging.getLogger(__name__)

_DEPTHS = 65  # looked at, over the range
_WINDOW_PX = 15
_TOLD_APART = 2.0  # standard deviations; at fewer, one in six is taken for the other
_STOPS, _WARNS = 0.5, 0.25  # of the range: distance of depths that look alike


def check_depths(psf: PSF, scene: Scene, source: str) -> None:
    """Stop training for depths that were not measured or look alike; `source` is the file of the PSF.

    Beyond the scan a measured PSF is not known: what is trained there would be wrong without a word, so it stops.
    Depths that look alike over half of the range make depth a guess, which stops as well; over a quarter, dim light may
    be all the reason, and training goes on with a warning.
    """
    low, high = scene.depth_range_nm
    measured = psf.measured_depths_nm
    spacing = scene.voxel_depth_nm
    if measured and (low < measured[0] - spacing or high > measured[1] + spacing):
        covered = f"beads were measured from {measured[0]:.0f} to {measured[1]:.0f} nm"
        if measured[0] >= measured[1]:
            covered = "no depth of the beads was measured on all planes"
        possible = 2 * spacing * int(max(0.0, min(-measured[0], measured[1])) // spacing)
        smaller = f"set depth_range_nm: {possible:g} or less, or " if possible else ""  # 0 would mean automatic
        raise PlanelocError(
            f"{source}: {covered}, and depths from {low:.0f} to {high:.0f} nm are to be trained; {smaller}record beads"
            " over a longer scan"
        )
    one, other = alike(psf, scene)
    share = abs(one - other) / (high - low)
    if share < _WARNS:
        return
    planes = ", ".join(f"{depth:.0f}" for depth in psf.plane_depths_nm)
    light = f"{np.mean(scene.photons):.0f} photons on a background of {np.mean(scene.background):.0f}"
    said = (
        f"{source}: with focal planes at {planes} nm, depths {one:.0f} and {other:.0f} nm look alike to a molecule's"
        f" image of {light}"
    )
    if share >= _STOPS:
        raise PlanelocError(f"{said}; give a smaller depth_range_nm, or record with focal planes at other depths")
    _LOG.warning(f"{said}; expect large errors of depth")


def alike(psf: PSF, scene: Scene) -> tuple[float, float]:
    """The two depths (nm) of the scene's range that are farthest apart and not told apart, in its middle light."""
    depths = np.linspace(*scene.depth_range_nm, _DEPTHS)
    close = difference(psf, scene, depths) < _TOLD_APART
    apart = np.where(close | close.T, np.abs(depths[:, None] - depths), 0.0)
    one, other = np.unravel_index(apart.argmax(), apart.shape)
    return float(depths[one]), float(depths[other])


def difference(psf: PSF, scene: Scene, depths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(depths, depths) standard deviations by which images at depths (rows) differ from those at others (columns)."""
    z = torch.from_numpy(np.asarray(depths_nm, dtype=np.float64))
    centre = torch.full_like(z, 0.5 * _WINDOW_PX * psf.pixel_size_nm)
    photons = torch.full_like(z, float(np.mean(scene.photons)))
    images = psf.expected_photons(centre, centre, z, photons, (_WINDOW_PX, _WINDOW_PX))
    weights = 1 / scene.pixel_noise(psf.planes).variance(images + float(np.mean(scene.background)))
    rows = []
    for own, weight in enumerate(weights):
        level = (weight * images).sum(dim=(-2, -1), keepdim=True) / weight.sum(dim=(-2, -1), keepdim=True)
        seen = (weight.sqrt() * (images - level)).flatten(1)  # each plane's background is free
        squared = seen.square().sum(dim=1)
        left = squared[own] - (seen @ seen[own]).clamp(min=0).square() / squared.clamp(min=1e-30)  # and the photons
        rows.append(left.clamp(min=0).sqrt())
    return torch.stack(rows).numpy()
