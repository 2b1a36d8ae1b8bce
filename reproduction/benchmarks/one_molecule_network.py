"""How well a network finds one molecule in drifted images, by the paper's measure (Table 3) and against the continuous
ground truth.

    python -m reproduction.benchmarks.one_molecule_network resources/quadplane.safetensors

The paper's network, fully trained on a GPU: lateral 16.7 nm, axial 8.90 nm voxel to voxel. With the drift of a frame
unknown, one molecule in one frame cannot be known better than about 15.4 to 16.0 nm laterally on average (Fisher
information of the same model).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import Column

from planeloc.networks.voxel_peaks import find_peaks
from planeloc.networks.weight_files import load_network
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_PHOTONS
from planeloc_reproduction.network_estimator import most_probable_voxel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--resampling", action="store_true", help="with the sub-pixel sampling of registered planes")
    add_json_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, record = load_network(arguments.weights)
    light = {"photons": PAPER_PHOTONS, "background": PAPER_BACKGROUND}
    scene = replace(record.scene, emitters=1, registration_resampling=arguments.resampling, **light)
    generator = torch.Generator().manual_seed(arguments.seed)
    voxel = torch.tensor([scene.voxel_depth_nm, *scene.voxel_nm(record.psf.pixel_size_nm)[:2]])
    to_voxel, to_truth, found = [], [], 0
    start = time.perf_counter()
    for _ in range(arguments.images):
        batch = draw_batch(record.psf, scene, 1, generator)
        with torch.inference_mode():
            logits = network(batch.images.contiguous(memory_format=torch.channels_last))
        to_voxel.append((most_probable_voxel(logits)[0] - batch.voxels[0, 0]) * voxel)
        peaks = find_peaks(logits, 0.005)
        if len(peaks.image):
            found += 1
            position = peaks.position[peaks.probability.argmax()] * voxel
            truth = batch.positions_nm[0, 0].flip(0) - torch.tensor([scene.depth_range_nm[0], 0.0, 0.0])
            to_truth.append(position - truth)
    seconds = time.perf_counter() - start
    voxels, truths = torch.stack(to_voxel), torch.stack(to_truth)
    record = Record("one_molecule_network", arguments.json)
    speed = {"weights": arguments.weights.name, "images": arguments.images, "images_per_s": arguments.images / seconds}
    for name, errors, number in (
        ("most probable voxel to true voxel", voxels, arguments.images),
        ("centroid to true position", truths, found),
    ):
        record.add(**speed, error=name, found=number, lateral_nm=lateral(errors), axial_nm=axial(errors))
    record.show(
        Column("mean error", "error"),
        Column("lateral, axial, nm", "lateral_nm axial_nm", ".1f"),
        Column("found", "found"),
        Column("images/s", "images_per_s", ".1f"),
    )


def lateral(errors: torch.Tensor) -> float:
    return float(errors[:, 1:].float().norm(dim=1).mean())


def axial(errors: torch.Tensor) -> float:
    return float(errors[:, 0].float().abs().mean())


if __name__ == "__main__":
    main()
