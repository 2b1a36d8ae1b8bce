"""How much faster is the compiled multi-emitter fit than the one in PyTorch, and how far from its floor?

python -m benchmarks.speed.multi_emitter_fit [repeats]

Both fit the same frames in turn, on one thread, in single precision, with a spline point spread function of the size
that `calibrate` makes. The floor counts the multiply-adds of the images, of their derivatives and of the products of an
evaluation, at the speed of a matrix product in the same run; it leaves out the solution of the equations, logarithms
and memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import Column

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules, window_side
from planeloc.psf import Emitters, SplinePSF, paper_psf
from planeloc.psf.cubic_spline import Knots

FRAMES = 20
FIELDS = ((64, 10), (256, 50), (64, 48))  # pixels along the field, molecules in a frame
LEVEL = 4.0  # photons per pixel
STEPS = 7  # evaluations of a frame, the first included


def calibrated_psf() -> SplinePSF:
    """The paper's Gaussian with small random residuals, on as many knots as the demo's calibration has."""
    gaussian = replace(paper_psf(), pixel_integration=True)
    knots = Knots(lateral=31, lateral_nm=96.0, axial=44, axial_nm=100.0, first_nm=-2200.0)
    generator = torch.Generator().manual_seed(0)
    shape = (gaussian.planes, knots.axial, knots.lateral, knots.lateral)
    coefficients = 1e-4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return SplinePSF(gaussian, knots, coefficients, tuple(range(gaussian.planes)))


def draw(psf: SplinePSF, side: int, per_frame: int) -> tuple[torch.Tensor, torch.Tensor, InitialMolecules]:
    """Images above the background (frames, planes, side, side), background, molecules with errors like a network's."""
    random = np.random.default_rng(side + per_frame)
    frame, pixel = np.repeat(np.arange(FRAMES), per_frame), psf.pixel_size_nm
    lateral = random.uniform(2 * pixel, (side - 2) * pixel, (len(frame), 2))
    z, photons = random.uniform(-500, 500, len(frame)), random.uniform(1500, 5000, len(frame))
    expected = torch.full((FRAMES, psf.planes, side, side), LEVEL, dtype=torch.float64)
    for part in np.array_split(np.arange(len(frame)), FRAMES):
        emitters = Emitters(*(torch.from_numpy(values[part]) for values in (*lateral.T, z, photons)))
        expected.index_add_(0, torch.from_numpy(frame[part]), psf.expected_photons(emitters, (side, side)).clamp(min=0))
    images = torch.from_numpy(random.poisson(expected)).float() - LEVEL
    start = np.column_stack((lateral + random.normal(0, 25, lateral.shape), z + random.normal(0, 40, len(z))))
    mapped = np.repeat(start[:, None, :2] / pixel, psf.planes, axis=1)
    axes = np.broadcast_to(np.eye(2), (len(frame), psf.planes, 2, 2))
    molecules = InitialMolecules(*map(torch.from_numpy, (frame, start, photons, mapped, axes.copy())))
    return images, torch.full(expected.shape[1:], LEVEL), molecules


def multiply_adds(psf: SplinePSF) -> int:
    """Multiply-adds of one molecule in one evaluation."""
    side, every = window_side(psf), round(psf.pixel_size_nm / psf.knots.lateral_nm)
    lines, pixels = every * (side - 1) + 4, side**2
    depth, columns, rows = 2 * 4 * lines**2, 3 * 4 * lines * side, 4 * 4 * pixels
    return psf.planes * (depth + columns + rows + 5 * pixels + 20 * pixels)


def peak_per_s() -> float:
    """Multiply-adds per second of a large matrix product on one thread."""
    a = torch.randn(768, 768)
    times = []
    for _ in range(20):
        start = time.process_time()
        a @ a
        times.append(time.process_time() - start)
    return 768**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repeats", type=int, nargs="?", default=7)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    psf, record = calibrated_psf(), Record("multi_emitter_fit", options.json)
    noise = PixelNoise(torch.ones(psf.planes).double(), torch.ones(psf.planes).double())
    floor_ms = 1e3 * STEPS * multiply_adds(psf) / peak_per_s()
    for side, per_frame in FIELDS:
        images, level, molecules = draw(psf, side, per_frame)
        spent: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.repeats):
            for compiled, times in spent.items():
                start = time.process_time()
                MultiEmitterFit(psf, noise, images, level, molecules, 30.0, compiled=compiled).fit()
                times.append(1e3 * (time.process_time() - start) / len(molecules.frame))
        fast, slow = (statistics.median(spent[compiled]) for compiled in (True, False))
        record.add(
            field=f"{side}×{side}, {per_frame} molecules",
            compiled_ms=fast,
            pytorch_ms=slow,
            ratio=slow / fast,
            floor_ms=floor_ms,
            over_floor=fast / floor_ms,
            frame_ms=fast * per_frame,
        )
    record.show(
        Column("field", "field"),
        Column("compiled, ms per molecule", "compiled_ms", ".3f"),
        Column("in PyTorch", "pytorch_ms", ".3f"),
        Column("ratio", "ratio", ".1f"),
        Column("floor, ms", "floor_ms", ".3f"),
        Column("over the floor", "over_floor", ".1f"),
        Column("ms per frame", "frame_ms", ".1f"),
    )


if __name__ == "__main__":
    main()
