"""How long `convert` takes compared with copying the same files, how small the store is, and whether memory grows.

    PYTHONPATH=workflow python benchmarks/conversion.py --frames 500 --size 256 --folder /tmp/bench

Four cameras with photon and read noise and some molecules are written as OME-TIFF; then, in the same run, their files
are copied and converted, and the conversion is repeated in processes of its own for one and four times the frames,
whose peak memory is compared.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from planeloc.camera import Camera
from planeloc.conversion import ConvertSettings, convert
from planeloc.microscope import Microscope
from planeloc.movie import Movie

CAMERA = Camera(offset_counts=100, electrons_per_count=0.5, read_noise_electrons=1.6)
PLANES = 4
MICROSCOPE = Microscope("benchmark", 100.0, cameras=tuple(CAMERA for _ in range(PLANES)))


def write_movie(folder: Path, frames: int, size: int) -> list[Path]:
    """One file per camera, written frame by frame so that this does not set the peak memory."""
    random = np.random.default_rng(1)
    yx = np.arange(size) + 0.5
    files = [folder / f"camera{plane}_{frames}.ome.tif" for plane in range(PLANES)]
    for file in files:

        def images() -> np.ndarray:
            for _ in range(frames):
                photons = np.full((size, size), 5.0)
                for y, x in random.uniform(0, size, (size // 8, 2)):
                    spot = np.exp(-((yx - y) ** 2) / 3)[:, None] * np.exp(-((yx - x) ** 2) / 3)
                    photons += random.uniform(10, 100) * spot
                yield CAMERA.expose(photons, random)

        shape = (frames, size, size)
        tifffile.imwrite(file, images(), shape=shape, dtype="uint16", ome=True, metadata={"axes": "TYX"})
    return files


def timed(action: str, work: object, megabytes: float) -> float:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"{action:8s} {seconds:7.2f} s  {megabytes / seconds:6.0f} MB/s")
    return seconds


def peak_memory(files: list[Path], threads: int) -> float:
    """Peak resident memory in MB of a process that converts the files and does nothing else."""
    command = [sys.executable, __file__, "--threads", str(threads), "--measure", *map(str, files)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--size", type=int, default=128, help="pixels on a side of every camera")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--measure", type=Path, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings = ConvertSettings(threads=options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        outputs = [folder / f"movie.{name}" for name in ("zarr", "manifest.json", "quality.json")]
        store, manifest, _ = outputs
        if options.measure:
            convert(options.measure, MICROSCOPE, *outputs, settings)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        short, long = (write_movie(folder, frames, options.size) for frames in (options.frames, 4 * options.frames))
        megabytes = sum(file.stat().st_size for file in long) / 1e6
        print(f"{PLANES} cameras, {4 * options.frames} frames of {options.size} × {options.size}: {megabytes:.0f} MB")
        copy = timed("copy", lambda: [shutil.copyfile(file, folder / "copy") for file in long], megabytes)
        work = timed("convert", lambda: convert(long, MICROSCOPE, *outputs, settings), megabytes)
        movie = Movie.open(manifest)
        timed("verify", movie.verify, megabytes)
        stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file()) / 1e6
        print(f"convert / copy {work / copy:.1f}; source / store {megabytes / stored:.2f}")
        peaks = [peak_memory(files, options.threads) for files in (short, long)]
        slope = 1e3 * (peaks[1] - peaks[0]) / (3 * options.frames)
        frame = 2e-3 * PLANES * options.size**2
        print(f"peak memory {peaks[0]:.0f} and {peaks[1]:.0f} MB: {slope:.2f} kB per frame (a frame is {frame:.0f} kB)")


if __name__ == "__main__":
    main()
