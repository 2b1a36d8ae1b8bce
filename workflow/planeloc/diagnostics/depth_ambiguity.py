"""Depth ambiguity of a microscope, checked before a network is trained.

The difference of two depths is that of their images in standard deviations of the noise, with photons and every plane's
background free. For neighbouring depths it is their distance over the Cramér–Rao bound; unlike the bound, it also shows
distant depths with similar images, such as those above and below one focal plane.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, Emitters
from planeloc.scenes.scene import Scene

_LOG = logging.getLogger(__name__)

_DEPTHS = 65  # over the range
_WINDOW_PX = 15
DISTINGUISHED_SDS = 2.0  # standard deviations; below, more than one in six is mistaken for the other


def check_depths(psf: PSF, scene: Scene, source: str, warn: float, fail: float) -> None:
    """Stop training for depths that were not measured or are ambiguous.

    A measured PSF is unknown beyond its scan. Few photons cause ambiguity, too.

    Parameters
    ----------
    source : file of the PSF, for messages.
    warn, fail : distance of ambiguous depths that causes a warning or stops, as a fraction of the depth range.

    Raises
    ------
    PlanelocError : depths were not measured, or are ambiguous.
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
            f"{source}: {covered}, but the training needs {low:.0f} to {high:.0f} nm; {smaller}record beads"
            " over a longer scan"
        )
    one, other = ambiguous_depths(psf, scene)
    share = abs(one - other) / (high - low)
    if share < warn:
        return
    planes = ", ".join(f"{depth:.0f}" for depth in psf.plane_depths_nm)
    brightness = f"{np.mean(scene.photons):.0f} photons on a background of {np.mean(scene.background):.0f}"
    said = (
        f"{source}: with focal planes at {planes} nm, depths {one:.0f} and {other:.0f} nm look alike in a molecule's"
        f" image of {brightness}"
    )
    if share >= fail:
        raise PlanelocError(f"{said}; give a smaller depth_range_nm, or record with focal planes at other depths")
    _LOG.warning(f"{said}; expect large depth errors")


def ambiguous_depths(psf: PSF, scene: Scene) -> tuple[float, float]:
    """The two most distant depths (nm) of the range that cannot be distinguished, at the scene's mean brightness."""
    depths = np.linspace(*scene.depth_range_nm, _DEPTHS)
    close = image_difference(psf, scene, depths) < DISTINGUISHED_SDS
    apart = np.where(close | close.T, np.abs(depths[:, None] - depths), 0.0)
    one, other = np.unravel_index(apart.argmax(), apart.shape)
    return float(depths[one]), float(depths[other])


def image_difference(psf: PSF, scene: Scene, depths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(depths, depths) differences between the images at two depths, in standard deviations of the noise."""
    z = torch.from_numpy(np.asarray(depths_nm, dtype=np.float64))
    emitters = Emitters.in_middle(_WINDOW_PX * psf.pixel_size_nm, z, float(np.mean(scene.photons)))
    images = psf.expected_photons(emitters, (_WINDOW_PX, _WINDOW_PX))
    weights = 1 / scene.pixel_noise(psf.planes).variance(images + float(np.mean(scene.background)))
    rows = []
    for own, weight in enumerate(weights):
        level = (weight * images).sum(dim=(-2, -1), keepdim=True) / weight.sum(dim=(-2, -1), keepdim=True)
        scaled = (weight.sqrt() * (images - level)).flatten(1)  # each plane's background is free
        squared = scaled.square().sum(dim=1)
        left = squared[own] - (scaled @ scaled[own]).clamp(min=0).square() / squared.clamp(min=1e-30)  # and the photons
        rows.append(left.clamp(min=0).sqrt())
    return torch.stack(rows).numpy()
