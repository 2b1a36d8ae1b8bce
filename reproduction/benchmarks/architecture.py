"""Which network? The choices that the paper's text leaves open, settled by training each variant alike.

    python reproduction/benchmarks/architecture.py study.json                  all variants, one after the other
    python reproduction/benchmarks/architecture.py study.json 'last kernel 5'  one variant, unless study.json holds it

The text gives neither kernel sizes nor channels, nor how deep the convolution before the doublings is. Every variant
sees the same images of Table 2 with drift in the same order; what differs is one choice at a time from `basis`.
Training on few images favours what learns fast, which is what a network on CPU cores needs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from planeloc.scenes.scene import paper_scene
from planeloc.training.loop import fit_network
from planeloc.training.settings import TrainSettings

VARIANTS = {
    "basis": {},
    "first kernel 5": {"first_kernel": 5},
    "first kernel 15": {"first_kernel": 15},
    "two first layers": {"first_layers": 2},
    "four first layers": {"first_layers": 4},
    "upsampling kernel 2": {"upsampling_kernel": 2},
    "upsampling kernel 6": {"upsampling_kernel": 6},
    "last kernel 1": {"last_kernel": 1},
    "last kernel 5": {"last_kernel": 5},
    "even channels": {"channels": "56,56,56,56"},
    "half the channels": {"channels": "64,32,16,8"},
    "wide first": {"channels": "256,64,32,16"},
    "deep": {"first_kernel": 5, "first_layers": 4, "upsampling_kernel": 6},
    "deeper": {"first_kernel": 5, "first_layers": 7, "upsampling_kernel": 6},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="results (JSON); variants that it holds are not trained again")
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), help=f"of {', '.join(VARIANTS)}; default: all")
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.variants:
        results = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
        if name not in results:
            results[name] = study(name, arguments.samples, arguments.precision)
            latest = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
            text = json.dumps({**latest, name: results[name]}, indent=2, allow_nan=False)
            arguments.output.write_text(f"{text}\n", encoding="utf-8")
    print_table(json.loads(arguments.output.read_text()))


def study(name: str, samples: int, precision: str) -> dict:
    """Train one variant; its choices, size, cost and what it reached."""
    psf, scene = paper_scene()
    settings = TrainSettings(
        network="upsampling",
        samples=samples,
        registration_resampling=False,
        validate_every=samples,
        precision=precision,
        **VARIANTS[name],
    )
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        network, record, history = fit_network(psf, scene, None, Path(folder) / "checkpoint.safetensors", settings)
    seconds = time.process_time() - start
    return {
        "architecture": asdict(record.architecture),
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_images": samples,
        "milliseconds_per_image": 1e3 * seconds / samples,
        **{key: history[-1][key] for key in ("validation_loss", "lateral_nm", "axial_nm")},
    }


def print_table(results: dict) -> None:
    print(f"{'variant':22}{'parameters':>12}{'ms/image':>10}{'loss':>8}{'lateral nm':>12}{'axial nm':>10}")
    for name, r in results.items():
        print(
            f"{name:22}{r['parameters']:12,}{r['milliseconds_per_image']:10.1f}{r['validation_loss']:8.2f}"
            f"{r['lateral_nm']:12.1f}{r['axial_nm']:10.1f}"
        )


if __name__ == "__main__":
    main()
