"""Molecules along a helix, three to a frame: Fig. 9."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from planeloc.core.files import write_json
from planeloc.core.marks import EXPERIMENT
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.images import Recipe, TestImages, draw_images, rounded
from planeloc_reproduction.network_estimator import NetworkEstimator

SEED = 1009
_MOLECULES = 3  # per frame, as in training
_RADIUS_NM = 900.0
_TURNS = 2.0
_DEPTH_NM = 1200.0  # from the first to the last turn
_CURVE_POINTS = 400
_THRESHOLD = 0.1  # the paper's
_CLOSE_NM = 400.0  # of the example of molecules that are near each other


def helix(estimator: NetworkEstimator, frames: int, output: Path) -> None:
    """Find molecules in drifted frames, and write true positions, voxels above the threshold, and peaks."""
    test = draw_images(replace(Recipe(), molecules=_MOLECULES), frames, SEED, _along_the_helix)
    voxels, peaks = estimator.voxels_above(test, _THRESHOLD), estimator.detect(test)
    columns = {
        "truth_nm": _by_frame(test.image, test.position_nm, frames),
        "found_nm": _by_frame(voxels.image, voxels.position_nm, frames),
        "peaks_nm": _by_frame(peaks.image, peaks.position_nm, frames),
    }
    write_json(
        output,
        {
            "estimator": estimator.name,
            "seed": SEED,
            "threshold": _THRESHOLD,
            "curve_nm": rounded(curve(torch.linspace(0, 1, _CURVE_POINTS))),
            "frames": [dict(zip(columns, rows, strict=True)) for rows in zip(*columns.values(), strict=True)],
            "examples": _examples(test),
        },
        EXPERIMENT,
    )


def curve(along: Tensor) -> Tensor:
    """(..., 3) nm: points of the helix, from its lower (0) to its upper end (1), in the middle of the target space."""
    psf, scene = paper_scene()
    middle = 0.5 * scene.window_px * psf.pixel_size_nm
    angle = 2 * math.pi * _TURNS * along
    depth = (along - 0.5) * _DEPTH_NM + sum(scene.depth_range_nm) / 2
    return torch.stack((middle + _RADIUS_NM * angle.cos(), middle + _RADIUS_NM * angle.sin(), depth), dim=-1)


def _along_the_helix(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return curve(torch.rand(shape, generator=generator))


def _examples(test: TestImages) -> list[int]:
    """Of the frames, the one whose molecules are farthest apart, and the one where two are closest but not on one spot.

    As in Fig. 9 (a) and (b); `_CLOSE_NM` keeps molecules that cannot be resolved out of the example.
    """
    position = test.position_nm.reshape(len(test.images), -1, 3)
    distance = torch.cdist(position, position) + torch.diag(torch.full((position.shape[1],), torch.inf))
    nearest = distance.flatten(1).min(dim=1).values
    return [int(nearest.argmax()), int((nearest - _CLOSE_NM).abs().argmin())]


def _by_frame(image: Tensor, position_nm: Tensor, frames: int) -> list[list[list[float]]]:
    counts = torch.bincount(image, minlength=frames).tolist()
    return [rounded(part) for part in position_nm.split(counts)]
