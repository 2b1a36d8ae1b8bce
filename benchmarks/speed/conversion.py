"""How long `convert` takes compared with copying the same files, how small the store is, and whether memory grows.

    python -m benchmarks.speed.conversion --frames 4000 --size 256 --folder /tmp

Four cameras with photon and read noise and some molecules are written as OME-TIFF. In one run their files are copied
(to the memory of the operating system, and to the disk) and converted, in turns, and each part of the work that cannot
be left out is timed alone, on one core and the same counts: together they say how fast conversion could be. Then small
movies of three lengths are converted, each in a process of its own, and their peak memory is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from benchmarks.support.record import Record, add_json_option, largest_memory_mb, run_again
from benchmarks.tables import Column

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.io.camera_source import open_cameras
from planeloc.movie import chunks
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import Movie

CAMERA = Camera(offset_counts=100, electrons_per_count=0.5, read_noise_electrons=1.6)
PLANES = 4
MICROSCOPE = Microscope("benchmark", 100.0, cameras=tuple(CAMERA for _ in range(PLANES)))
DIFFERENT = 100  # images of a camera before they repeat: more than the compressor looks at together
MEMORY_SIZE = 32


def images(frames: int, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The images of one camera."""
    yx = np.arange(size) + 0.5
    shown = []
    for _ in range(min(frames, DIFFERENT)):
        photons = np.full((size, size), 5.0)
        for y, x in random.uniform(0, size, (size // 8, 2)):
            spot = np.exp(-((yx - y) ** 2) / 3)[:, None] * np.exp(-((yx - x) ** 2) / 3)
            photons += random.uniform(10, 100) * spot
        shown.append(CAMERA.expose(photons, random))
    for i in range(frames):
        yield shown[i % len(shown)]


def write_cameras(folder: Path, frames: int, size: int) -> list[Path]:
    """One file per camera, written image by image."""
    random = np.random.default_rng(1)
    files = [folder / f"camera{plane}_{frames}.ome.tif" for plane in range(PLANES)]
    for file in files:
        shape = (frames, size, size)
        tifffile.imwrite(
            file, images(frames, size, random), shape=shape, dtype="uint16", ome=True, metadata={"axes": "TYX"}
        )
    return files


def outputs(folder: Path) -> list[Path]:
    return [folder / f"movie.{name}" for name in ("zarr", "manifest.json", "quality.json")]


def copy(files: list[Path], folder: Path, flush: bool) -> None:
    for file in files:
        target = folder / f"copy_of_{file.name}"
        shutil.copyfile(file, target)
        if flush:
            with target.open("rb") as stream:
                os.fsync(stream.fileno())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(folder: Path, frames: int, size: int, threads: int, repeats: int, record: Record) -> None:
    """Copying, converting and checking the same files, the best of each."""
    files = write_cameras(folder, frames, size)
    gigabytes = sum(file.stat().st_size for file in files) / 1e9
    store, manifest, _ = outputs(folder)
    best: dict[str, float] = {}
    used = []
    for _ in range(repeats):
        before = time.process_time()
        for name, work in {
            "convert": lambda: convert(files, MICROSCOPE, *outputs(folder), ConvertSettings(threads=threads)),
            "copy": lambda: copy(files, folder, flush=False),
            "copy to disk": lambda: copy(files, folder, flush=True),
            "verify": lambda: Movie.open(manifest).verify(),
        }.items():
            took = seconds(work)
            best[name] = min(took, best.get(name, took))
            if name == "convert":
                used.append(time.process_time() - before)
        for file in files:
            (folder / f"copy_of_{file.name}").unlink()
    for name, took in best.items():
        record.add(quantity=f"{name} {frames} frames of {PLANES} × {size} × {size}", value=took, unit="s")
        record.add(quantity=f"{name}, speed", value=1e3 * gigabytes / took, unit="MB/s")
    parts = part_times(files, folder)
    for name, took in parts.items():
        record.add(quantity=f"{name}, one core", value=took, unit="s/GB")
    floor = sum(parts.values()) * gigabytes / min(threads, os.cpu_count() or 1)
    stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file()) / 1e9
    record.add(quantity="convert, processor time", value=min(used) / gigabytes, unit="s/GB")
    record.add(quantity=f"parts that no conversion can leave out, on {threads} threads", value=floor, unit="s")
    record.add(quantity="speed of these parts alone / speed of copy", value=best["copy"] / floor, unit="")
    record.add(quantity="speed of convert / speed of copy", value=best["copy"] / best["convert"], unit="")
    record.add(
        quantity="speed of convert / speed of copy to disk", value=best["copy to disk"] / best["convert"], unit=""
    )
    record.add(quantity="size of source / size of store", value=gigabytes / stored, unit="")
    for file in files:
        file.unlink()


def part_times(files: list[Path], folder: Path) -> dict[str, float]:
    """Seconds per GB of what every conversion must do, alone on one core, the best of five."""
    with open_cameras(files, MICROSCOPE) as source:
        counts = source.read(0, min(source.shape[0], 8))
        scratch = np.empty_like(counts)
        encoded = chunks.encode(counts, 1)
        work = {
            "reading": lambda: source.read(0, len(counts)),
            "SHA-256, twice": lambda: [hashlib.sha256(counts) for _ in range(2)],
            "compressing": lambda: chunks.encode(counts, 1),
            "writing": lambda: (folder / "part").write_bytes(encoded),
        }
        times = {name: min(seconds(part) for _ in range(5)) for name, part in work.items()}
        chunks.write(folder / "part", counts, 1, scratch)
        times["decompressing"] = min(seconds(lambda: chunks.read(folder / "part", scratch)) for _ in range(5))
    (folder / "part").unlink()
    return {name: took / (counts.nbytes / 1e9) for name, took in times.items()}


def compare_memory(folder: Path, lengths: list[int], threads: int, record: Record) -> None:
    """Peak memory of conversions that differ in nothing but the number of frames."""
    peaks = []
    for frames in lengths:
        files = write_cameras(folder, frames, MEMORY_SIZE)
        peaks.append(float(run_again(["--threads", str(threads), "--measure", *map(str, files)])))
        record.add(
            quantity=f"peak memory, {frames} frames of {PLANES} × {MEMORY_SIZE} × {MEMORY_SIZE}",
            value=peaks[-1],
            unit="MB",
        )
        for file in files:
            file.unlink()
    slope = 1e3 * np.polyfit(lengths, peaks, 1)[0]
    record.add(quantity="growth of the peak memory per frame", value=float(slope), unit="kB")
    record.add(quantity="size of a frame", value=2e-3 * PLANES * MEMORY_SIZE**2, unit="kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128, help="pixels on a side of every camera")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1000, 4000, 16000], help="frames to compare memory")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    add_json_option(parser)
    parser.add_argument("--measure", type=Path, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if options.measure:
            convert(options.measure, MICROSCOPE, *outputs(folder), ConvertSettings(threads=options.threads))
            print(largest_memory_mb())
            return
        record = Record("conversion", options.json)
        compare(folder, options.frames, options.size, options.threads, options.repeats, record)
        if options.lengths:
            compare_memory(folder, options.lengths, options.threads, record)
        record.show(Column("quantity", "quantity"), Column("value", "value", ".3f"), Column("unit", "unit"))


if __name__ == "__main__":
    main()
