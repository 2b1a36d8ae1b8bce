"""How well a network finds one molecule in drifted images, by the paper's measure (Table 3) and against the continuous
truth.

    python benchmarks/network.py resources/quadplane.safetensors

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

from planeloc.networks.record import load_network
from planeloc.networks.voxel_peaks import find_peaks
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_PHOTONS
from planeloc_reproduction.network_estimator import most_probable_voxel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--resampling", action="store_true", help="with the sub-pixel sampling of registered planes")
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
    print(f"{arguments.weights}: {arguments.images} images of one molecule, random drift, Table 2")
    print(f"arg-max voxel to true voxel: lateral {lateral(voxels):.1f} nm, axial {axial(voxels):.1f} nm (means)")
    print(f"centroid to true position:   lateral {lateral(truths):.1f} nm, axial {axial(truths):.1f} nm (means)")
    print(f"found {found} of {arguments.images}; {arguments.images / seconds:.1f} images/s on one CPU thread")


def lateral(errors: torch.Tensor) -> float:
    return float(errors[:, 1:].float().norm(dim=1).mean())


def axial(errors: torch.Tensor) -> float:
    return float(errors[:, 0].float().abs().mean())


if __name__ == "__main__":
    main()
