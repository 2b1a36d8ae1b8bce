"""The fast baseline: orthogonal matching pursuit (Pati et al. 1993) on the paper's voxels, K molecules known.

K times, the voxel whose column of Ĥ explains most of what is left is taken, and the photons of all voxels taken so far
are fitted again. One product with Ĥᵀ for each molecule is all it costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls
from torch import Tensor

from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc_reproduction.forward_operator import (
    Array,
    Indices,
    Molecules,
    Observation,
    checked_images,
    molecules_per_image,
)


def pursue(observation: Observation, image: Array, count: int) -> tuple[Indices, Array]:
    """Voxels (count, 3) and photons (count,) of one image (planes, rows, columns), in the order they were found.

    A voxel lowers ‖rest‖² by (hᵀ rest)²/‖h‖². Fewer than `count` where no voxel lowers it.
    """
    voxels, photons = np.zeros((0, 3), dtype=np.int64), np.zeros(0)
    rest = image
    for _ in range(count):
        gain = observation.single.adjoint(rest.astype(np.float32)) / observation.single.norms
        best = np.unravel_index(gain.argmax(), gain.shape)
        if gain[best] <= 0 or (voxels == best).all(axis=1).any():
            break
        voxels = np.append(voxels, [best], axis=0)
        columns = observation.columns(voxels)
        photons, _ = nnls(columns.T, image.ravel())
        rest = image - (photons @ columns).reshape(image.shape)
    return voxels, photons


def locate(
    images: Tensor | ArrayLike,
    psf: PSF,
    scene: Scene,
    molecules: Sequence[int] | int,
    *,
    shifts_nm: ArrayLike | None = None,
) -> Molecules:
    """Find the molecules of every image, at the centres of voxels.

    Parameters and errors as in `compressed_sensing.locate`.
    """
    observation = Observation.of(psf, scene, shifts_nm)
    values = checked_images(images, psf, scene)
    found = []
    for image, count in zip(values, molecules_per_image(molecules, len(values)), strict=True):
        voxels, photons = pursue(observation, image, count)
        order = np.argsort(-photons, kind="stable")
        found.append(observation.molecules(voxels[order].astype(np.float64), voxels[order], photons[order]))
    return Molecules.joined(found)
