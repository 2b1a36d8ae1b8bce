"""How well and how fast a regression network finds molecules: found, errors, and whether its deviations are true.

    python benchmarks/regression.py resources/regression.safetensors

Simulated frames of the network's own microscope, the whole field registered at once, every molecule of the field
counted up to its border; matched within 250 nm laterally and 500 nm axially. Light ×1 is that of the paper's Table 2.
One thread.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from planeloc.devices import autocast, choose_precision
from planeloc.matching import Points, match
from planeloc.networks import load_network
from planeloc.networks.decoding import find_molecules
from planeloc.simulation import PAPER_BACKGROUND, PAPER_PHOTONS, draw_batch

THRESHOLD = 0.3


@dataclass(frozen=True)
class Case:
    name: str
    side_px: int
    molecules: int
    frames: int


CASES = (
    Case("1 in 64×64", 64, 1, 400),
    Case("10 in 64×64", 64, 10, 200),
    Case("3 in 16×16", 64, 48, 60),
    Case("50 in 256×256", 256, 50, 24),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, record = load_network(arguments.weights)
    network = network.to(memory_format=torch.channels_last)
    heads = (
        "case",
        "light",
        "drift",
        "Jaccard",
        "recall",
        "precision",
        "lateral",
        "axial",
        "pulls x, y, z",
        "frames/s",
    )
    print("{:15}{:>6}{:>7}{:>9}{:>8}{:>11}{:>9}{:>7}{:>20}{:>10}".format(*heads))
    for case in CASES:
        for light in (1.0, 0.25):
            for drift in (0, record.scene.drift_voxels):
                print(measure(case, light, drift, network, record, arguments.threshold), flush=True)


@torch.inference_mode()
def measure(case: Case, light: float, drift: int, network, record, threshold: float) -> str:
    """One line of the table."""
    scene = replace(
        record.scene,
        window_px=case.side_px,
        emitters=case.molecules,
        drift_voxels=drift,
        photons=tuple(light * photons for photons in PAPER_PHOTONS),
        background=PAPER_BACKGROUND,
        background_error=0.0,
    )
    generator = torch.Generator().manual_seed(1000)
    precision = choose_precision("auto", torch.device("cpu"))
    errors, pulls, found_number, seconds = [], [], 0, 0.0
    for _ in range(case.frames):
        batch = draw_batch(record.psf, scene, 1, generator)
        start = time.process_time()
        with autocast(torch.device("cpu"), precision):
            maps = network(batch.images.contiguous(memory_format=torch.channels_last))
        found = find_molecules(maps, record.units, threshold)
        seconds += time.process_time() - start
        place, truth = found.position_nm.double().numpy(), batch.positions_nm[0].double().numpy()
        frames = [np.zeros(len(points), dtype=np.int64) for points in (place, truth)]
        pairs = match(Points(frames[0], place), Points(frames[1], truth), 250.0, 500.0)
        found_number += len(found)
        errors.append(place[pairs.found] - truth[pairs.truth])
        pulls.append(errors[-1] / found.position_sd_nm.double().numpy()[pairs.found])
    error, pull = np.concatenate(errors), np.concatenate(pulls)
    true_number = case.frames * case.molecules
    both, square = len(error), (error**2).mean(axis=0)
    rms, core = np.sqrt((pull**2).mean(axis=0)), np.median(np.abs(pull), axis=0) / 0.6745
    shown = " ".join(f"{a:.2f}({b:.2f})" for a, b in zip(rms, core, strict=True))
    return (
        f"{case.name:15}{light:6g}{drift:7d}{both / (true_number + found_number - both):9.3f}{both / true_number:8.3f}"
        f"{both / max(found_number, 1):11.3f}{np.sqrt(square[0] + square[1]):9.1f}{np.sqrt(square[2]):7.1f}"
        f"{shown:>34}{case.frames / seconds:10.1f}"
    )


if __name__ == "__main__":
    main()
