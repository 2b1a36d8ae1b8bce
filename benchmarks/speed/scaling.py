"""How the cost of `localize` grows with the field, the density and the length of a movie; one worker, one thread.

python -m benchmarks.speed.scaling --folder /tmp/scaling

Movies are drawn with the shipped network's microscope, new molecules in every frame, and localized from the compressed
store to columns with a spline point spread function of the size that `calibrate` gives. Times are CPU times per frame,
shared among the steps as the wall time was; memory is the growth of the process by a movie.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from pathlib import Path

import torch
from benchmarks.gpu.movies import as_spline, draw_movie
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, Column

from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.weight_files import load_network

WEIGHTS = ROOT / "resources" / "regression.safetensors"
DENSITY = 50 / 256**2  # molecules per pixel in a frame
# pixels along the field, molecules in a frame, frames
MOVIES = (
    *((side, round(DENSITY * side**2), 60) for side in (64, 128, 256)),
    *((128, count, 60) for count in (1, 50, 192)),
    *((128, round(DENSITY * 128**2), frames) for frames in (240, 960)),
)
STEPS = ("reading", "registration", "candidates", "network", "maxima", "refinement")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the movies")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record, (_, known) = Record("scaling", options.json), load_network(WEIGHTS)
    for side, molecules, frames in MOVIES:
        folder = options.folder / f"{side}_{molecules}_{frames}"
        distinct = min(frames, 60)
        calibrated = as_spline(known.psf)
        files = draw_movie(folder, WEIGHTS, torch.device("cpu"), side, molecules, frames, distinct, calibrated)
        settings = LocalizeSettings(threshold=0.3, device="cpu", precision="auto")
        localizer = Localizer(Job(files, settings))
        localize_frames(localizer, 0, localizer.group)
        localizer.stopwatch.take()
        gc.collect()
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        columns = localize_frames(localizer, 0, frames)
        spent = 1e3 * (time.process_time() - start) / frames
        walls = localizer.stopwatch.take()
        shares = {step: spent * walls.get(step, 0.0) / sum(walls.values()) for step in STEPS}
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        record.add(
            movie=f"{frames} frames of {side}×{side}, {molecules} molecules in each",
            found=len(columns["x"]) / frames, frame_ms=spent, **shares, grown_mb=grown,
        )  # fmt: skip
    record.show(
        Column("movie", "movie"),
        Column("found", "found", ".1f"),
        Column("ms per frame", "frame_ms", ".1f"),
        *(Column(step, step, ".1f") for step in STEPS),
        Column("memory, MB more", "grown_mb", ".0f"),
    )


if __name__ == "__main__":
    main()
