"""Frames per second and memory of localization, on one core, against the paper's network run everywhere.

    python -m benchmarks.speed.localization_modes

A movie of drifting planes is drawn (the paper's microscope; all molecules and their drift are new in every frame), and
the same frames go through

- `wide`: a network of the paper's kind with 64 channels everywhere, in plain float32 PyTorch on whole frames. Its
  weights are random, so only its time and memory count. The paper does not give its channels; this is the size of the
  network that it descends from (FSRCNN, 56 channels).
- `plain`: the shipped network in the same way, and the search for maxima.
- `dense`, `sparse`: the pipeline's `localize`, from the compressed store to columns, in its two modes.

Each runs in a process of its own on one core, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmarks.support.drawn_movies import CAMERA, FILES, write_drawn_movie
from benchmarks.support.record import Record, add_json_option, largest_memory_mb, run_again
from benchmarks.tables import TABLES

from planeloc.evaluation.metrics import compare, rmse_axial, rmse_lateral, scores
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.localization.context import InputPaths
from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.store import Movie
from planeloc.networks.upsampling import Architecture, UpsamplingNetwork
from planeloc.networks.voxel_peaks import find_peaks
from planeloc.networks.weight_files import load_network
from planeloc.scenes.truth_matching import Points, match

WAYS = {
    "wide": "a network of the paper's kind, 64 channels, whole frames, float32",
    "plain": "the shipped `upsampling` network, whole frames, float32",
    "dense": "`mode: dense`",
    "sparse": "`mode: sparse`",
}
THRESHOLD, MINIMUM_PROBABILITY = 0.005, 0.1  # the pipeline's defaults
MATCH_NM = (250.0, 500.0)  # laterally and axially, of a localization and its molecule


def draw_movie(folder: Path, weights: Path, frames: int, size: int, molecules: int, light: float) -> None:
    """A movie of the network's microscope, its calibration, and the ground truth."""
    _, record = load_network(weights)
    background = float(np.mean(record.scene.background))
    scene = replace(
        record.scene,
        window_px=size,
        emitters=molecules,
        photons=tuple(light * value for value in record.scene.photons),
        background=(background, background),
        read_noise_photons=CAMERA.read_noise_photons(),
        registration_resampling=False,
    )
    write_drawn_movie(folder, record.psf, scene, frames)


@torch.inference_mode()
def run_plain(folder: Path, weights: Path, frames: int, wide: bool) -> tuple[float, pd.DataFrame, dict]:
    """Whole frames, one after the other: seconds, and the table."""
    network, record = load_network(weights)
    if wide:
        shape = Architecture(record.architecture.planes, record.architecture.depth_slices, (64,) * 4)
        network = UpsamplingNetwork(shape, record.input_scale, 1e-6).eval()
    movie = Movie.open(folder / "movie.json")
    background = float(np.mean(record.scene.background))
    voxel = torch.tensor(record.scene.voxel_nm(record.psf.pixel_size_nm), dtype=torch.float64)
    tables = []
    start = time.perf_counter()
    for frame in range(frames):
        counts = torch.from_numpy(movie.read(frame, frame + 1).astype(np.float32))
        images = (counts - CAMERA.offset_counts) * CAMERA.photons_per_count - background
        logits = network(images)
        if wide:
            continue
        peaks = find_peaks(logits, THRESHOLD)
        x, y, z = (peaks.position.flip(1).double() * voxel).T.numpy()
        z = z + record.scene.depth_range_nm[0]
        columns = {"frame": frame, "x": x, "y": y, "z": z, "probability": peaks.probability.numpy()}
        columns |= dict.fromkeys(("x_sd", "y_sd", "z_sd"), np.nan)
        tables.append(pd.DataFrame(columns))
    return time.perf_counter() - start, pd.concat(tables) if tables else pd.DataFrame(), {}


def run_pipeline(folder: Path, weights: Path, frames: int, mode: str, device: str) -> tuple[float, pd.DataFrame, dict]:
    """`localize` in one process, after it has been warmed up on one group of frames; also what work that was."""
    paths = InputPaths(*(folder / name for name in FILES), weights)
    settings = LocalizeSettings(mode=mode, threshold=THRESHOLD, refine="none", device=device)
    localizer = Localizer(Job(paths, settings))
    localize_frames(localizer, 0, 1)
    localizer.stopwatch.take()
    before = localizer.finder.regions
    start = time.perf_counter()
    columns = localize_frames(localizer, 0, frames)
    seconds = time.perf_counter() - start
    regions = (localizer.finder.regions - before) / frames
    spent = localizer.stopwatch.take()
    work = {"regions": regions, "operations": regions * localizer.finder.network.operations, "seconds": spent}
    return seconds, pd.DataFrame(columns), work


def measure(folder: Path, weights: Path, way: str, frames: int, device: str) -> None:
    """Run one method in this process; prints what was measured and leaves the table in the folder."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # the thread that reads ahead gets no core of its own
    if way in ("wide", "plain"):
        seconds, table, work = run_plain(folder, weights, frames, way == "wide")
    else:
        seconds, table, work = run_pipeline(folder, weights, frames, way, device)
    table.to_csv(folder / f"{way}.csv", index=False)
    print(json.dumps({"fps": frames / seconds, "peak_mb": largest_memory_mb(), "work": work}))


def kept(folder: Path, way: str, frames: int) -> pd.DataFrame:
    """What the pipeline would keep of the first frames."""
    table = pd.read_csv(folder / f"{way}.csv")
    return table[(table.frame < frames) & (table.probability >= MINIMUM_PROBABILITY)].reset_index(drop=True)


def compared(found: pd.DataFrame, truth: pd.DataFrame, size_nm: float) -> dict[str, float]:
    """Recall, precision and errors."""
    limits = EvaluateSettings(lateral_nm=MATCH_NM[0], axial_nm=MATCH_NM[1], border_nm=0.0)
    pairs = compare(found, truth, (size_nm, size_nm), limits)
    values = scores(pairs)
    return {
        "recall": values["recall"],
        "precision": values["precision"],
        "rmse_lateral_nm": rmse_lateral(pairs.error_nm),
        "rmse_axial_nm": rmse_axial(pairs.error_nm),
    }


def missed(dense: pd.DataFrame, sparse: pd.DataFrame, truth: pd.DataFrame) -> tuple[int, int]:
    """Of dense localizations that belong to a molecule: how many sparse does not have, within half a voxel; and all."""
    of_dense = points(dense)
    true = match(of_dense, points(truth), *MATCH_NM).found
    of_dense = Points(of_dense.frame[true], of_dense.position_nm[true])
    return len(true) - len(match(of_dense, points(sparse), 12.0, 25.0)), len(true)


def points(table: pd.DataFrame) -> Points:
    return Points(table.frame.to_numpy(), table[["x", "y", "z"]].to_numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("resources/quadplane.safetensors"))
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument(
        "--plain-frames", type=int, default=20, help="frames of `plain` and `dense`; a tenth for `wide`"
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--molecules", type=int, default=50)
    parser.add_argument("--light", type=float, default=1.0, help="factor on the photons of the network's training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of `dense` and `sparse`")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    add_json_option(parser)
    parser.add_argument("--measure", choices=tuple(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.weights, options.measure, options.frames, options.device)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        report(Path(name), options)


def report(folder: Path, options: argparse.Namespace) -> None:
    draw_movie(folder, options.weights, options.frames, options.size, options.molecules, options.light)
    _, record = load_network(options.weights)
    size_nm = options.size * record.psf.pixel_size_nm
    truth = pd.read_csv(folder / "truth.csv")
    counts = {"wide": max(1, options.plain_frames // 10), "plain": options.plain_frames, "dense": options.plain_frames}
    record, recall, speed = Record("upsampling_speed", options.json), {}, {}
    for way, network in WAYS.items():
        frames = counts.get(way, options.frames)
        command = ["--measure", way, "--folder", str(folder), "--frames", str(frames)]
        result = json.loads(run_again([*command, "--weights", str(options.weights), "--device", options.device]))
        found = {} if way == "wide" else compared(kept(folder, way, frames), truth[truth.frame < frames], size_nm)
        speed[way], recall[way] = result["fps"], found.get("recall")
        memory = f"{result['peak_mb'] / 1000:.1f} GB"
        work = work_per_frame(result["work"], frames, 1 / result["fps"]) if result["work"] else {}
        record.add(network=network, frames_per_s=speed[way], peak_memory=memory, frames=frames, **found, **work)
    record.show(*TABLES["upsampling_speed"].columns)
    first = options.plain_frames
    tables = (kept(folder, "dense", first), kept(folder, "sparse", first), truth[truth.frame < first])
    lost, known = missed(*tables)
    modes = Record("sparse_and_dense", extend=True)  # a row for every number of molecules and every brightness
    modes.add(
        molecules=f"{options.molecules} in {options.size}×{options.size}",
        photons=f"×{options.light:g}",
        missed=f"{lost:,} of {known:,}",
        **{f"recall_{mode}": recall[mode] for mode in ("dense", "sparse")},
        **{f"frames_per_s_{mode}": speed[mode] for mode in ("dense", "sparse")},
    )
    modes.show(*TABLES["sparse_and_dense"].columns)


def work_per_frame(work: dict, frames: int, seconds: float) -> dict[str, float]:
    """Where the time of a frame goes (ms), and how much the network has to do."""
    parts = {name: value / frames for name, value in work["seconds"].items()}
    parts["other"] = seconds - sum(parts.values())
    billions = work["operations"] / 1e9
    return {
        **{f"ms_{name}": 1e3 * value for name, value in parts.items()},
        "regions": work["regions"],
        "billion_multiplications": billions,
        "billion_multiplications_per_s": billions / parts["network"],
    }


if __name__ == "__main__":
    main()
