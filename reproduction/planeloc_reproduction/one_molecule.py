"""One molecule per image: Fig. 7, Fig. 8 and Table 3.

Every estimator is told that there is one molecule and names one voxel and one position. The images are the same for all
of them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from planeloc.core.files import write_json
from planeloc.core.marks import EXPERIMENT
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.estimators import Estimator, Found
from planeloc_reproduction.images import centre_of, draw_images, recipe_of, rounded

SEED = 1000


def one_molecule(data: str, estimator: Estimator, count: int, output: Path, seconds: Path) -> None:
    """Locate the molecule of `count` images of a data set, and write true positions and estimates.

    How long it took goes into a file of its own, so that `output` is the same in every run.
    """
    psf, scene = paper_scene()
    test = draw_images(recipe_of(data), count, SEED)
    found = estimator.locate(test)
    position, voxel = _one_each(found, count)
    write_json(
        output,
        {
            "data": data,
            "estimator": estimator.name,
            "images": count,
            "seed": SEED,
            "nothing_found": count - len(found.image),
            "voxel_nm": list(scene.voxel_nm(psf.pixel_size_nm)),
            "depth_range_nm": list(scene.depth_range_nm),
            "truth_nm": rounded(test.position_nm),
            "found_nm": rounded(position),
            "truth_voxel": _voxels(test.voxel),
            "found_voxel": _voxels(voxel),
        },
        EXPERIMENT,
    )
    write_json(seconds, {"images": count, "seconds": found.seconds, "device": estimator.device_in_words}, EXPERIMENT)


def _one_each(found: Found, count: int) -> tuple[Tensor, Tensor]:
    """Position and voxel for every image; where an estimator has found nothing, the middle of the target space."""
    psf, scene = paper_scene()
    middle = scene.window_px * scene.upsampling // 2
    voxel = torch.tensor([scene.depth_slices // 2, middle, middle]).repeat(count, 1)
    position = centre_of(voxel, psf.pixel_size_nm, scene).double()
    voxel[found.image], position[found.image] = found.voxel, found.position_nm.double()
    return position, voxel


def _voxels(voxel: Tensor) -> list[list[int]]:
    """As column, row, slice: in the order of x, y, z."""
    return voxel.flip(-1).tolist()
