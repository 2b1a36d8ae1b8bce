"""A whole movie through the pipeline's own commands: how long each takes, how much memory, and what comes out.

    python -m benchmarks.speed.whole_movie --folder /tmp/full_length --frames 39000 --size 64 --workers 2
    python -m benchmarks.speed.whole_movie --folder /tmp/full_length --memory --workers 2

A four-plane microscope like the paper's is simulated (a few molecules in a frame, shot and read noise, cameras that are
turned, mirrored and drift). As in the default chain, the transforms and the spline PSF come from a bead scan. The
camera files are converted and localized, and the table is compared with the ground truth. What is finished stays in the
folder. A run that was stopped continues with the same command, and the time of all its runs is added up. Options that
are not known here go to `localize`.

With `--memory`, the same is done for three lengths of a small movie, and the growth of the peak memory is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, Column

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import BENCHMARK

DEMO = ROOT / "config" / "demo" / "simulation.yaml"
Z_STEP_NM = 50  # of the demo's bead scan
SMALL = 64  # pixels on a side, for `--memory`
SAMPLED_S = 0.2
SAVED_S = 5.0

Records = dict[str, dict[str, Any]]


def simulation(frames: int, size: int, molecules: float) -> dict[str, Any]:
    """The demo's microscope with a movie of another length, size and density, declared as it is."""
    settings = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    settings |= {"frames": frames, "width_px": size, "height_px": size}
    settings["camera_movies"] = {"frames": 0}
    structure, blinking = settings["structure"], settings["blinking"]
    field_nm = (size - 2 * settings["border_px"]) * settings["pixel_size_nm"]
    # Filaments pass through the field; about this much of each lies in it. A blink is seen in every frame it touches.
    dyes = structure["filaments"] * structure["labels_per_um"] * min(structure["length_nm"], 0.8 * field_nm) / 1000
    blinking["mean_off_s"] = dyes * (blinking["mean_on_s"] + settings["exposure_s"]) / molecules
    return settings


class Step:
    """A command of the pipeline, run unless its record says that it is done; time and memory add up over all runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / f"step.{name}.json"
        start = {"done": False, "seconds": 0.0, "main_mb": 0.0, "largest_child_mb": 0.0, "all_mb": 0.0, "runs": 0}
        self.record: dict[str, Any] = read_json(self._path) if self._path.is_file() else start

    def run(self, *arguments: str | Path) -> dict[str, Any]:
        """Run `planeloc NAME ARGUMENTS`; returns the record."""
        if self.record["done"]:
            return self.record
        before = self.record["seconds"]
        self.record["runs"] += 1
        log = self._folder / f"{self._name}.log"
        command = [sys.executable, "-m", "planeloc.cli.main", self._name, *map(str, arguments)]
        start = saved = time.monotonic()
        with log.open("a", encoding="utf-8") as output:
            process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    self._look(process)
                    time.sleep(SAMPLED_S)
                    self.record["seconds"] = before + time.monotonic() - start
                    if time.monotonic() - saved > SAVED_S:
                        saved = time.monotonic()
                        write_json(self._path, self.record, BENCHMARK)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
                write_json(self._path, self.record, BENCHMARK)
        self.record["done"] = process.returncode == 0
        write_json(self._path, self.record, BENCHMARK)
        if process.returncode:
            raise PlanelocError(f"{log}: `planeloc {self._name}` failed with code {process.returncode}; see its end")
        return self.record

    def _look(self, process: psutil.Process) -> None:
        """Note the memory of the command and of what it started."""
        try:
            children = process.children(recursive=True)
        except psutil.Error:
            return
        main, main_peak = _memory_mb(process)
        others = [_memory_mb(child) for child in children]
        largest = {
            "main_mb": main_peak,
            "largest_child_mb": max((peak for _, peak in others), default=0.0),
            "all_mb": main + sum(now for now, _ in others),
        }
        for key, value in largest.items():
            self.record[key] = max(self.record[key], value)


def _memory_mb(process: psutil.Process) -> tuple[float, float]:
    """Resident memory of a process now and at its peak; 0 where it has ended."""
    try:
        now = process.memory_info().rss / 1e6
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        peak = next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("VmHWM")), now)
    except (psutil.Error, OSError, UnicodeDecodeError):
        return 0.0, 0.0
    return now, peak


def run(folder: Path, frames: int, size: int, chosen: argparse.Namespace, options: list[str]) -> Records:
    """All steps on one movie; the record of each by name, and the scores."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, text = folder / "simulation.yaml", yaml.safe_dump(simulation(frames, size, chosen.molecules))
    if not settings.exists():
        settings.write_text(text, encoding="utf-8")
    if settings.read_text(encoding="utf-8") != text:
        raise PlanelocError(f"{folder}: holds another movie; name another folder or empty this one")
    acquisition, manifest, table = folder / "acquisition", folder / "movie.manifest.json", folder / "localizations.h5"
    records = {"simulate": Step(folder, "simulate").run("--settings", settings, "--output", acquisition)}
    cameras = sorted(acquisition.glob("movie_camera*.ome.tif"))
    records["convert"] = Step(folder, "convert").run(
        *(argument for camera in cameras for argument in ("--movie", camera)),
        *("--microscope", acquisition / "microscope.yaml", "--threads", str(os.cpu_count() or 1)),
        *("--store", folder / "movie.zarr", "--manifest", manifest, "--quality", folder / "movie.quality.json"),
    )
    beads = [argument for file in sorted(acquisition.glob("beads_camera*.ome.tif")) for argument in ("--beads", file)]
    registration, psf = folder / "registration.json", folder / "psf.h5"
    for name, output, more in (
        ("register", registration, ()),
        ("calibrate", psf, ("--registration", registration, "--z-step-nm", Z_STEP_NM, "--scan", "objective")),
    ):
        records[name] = Step(folder, name).run(
            *(*beads, "--microscope", acquisition / "microscope.yaml", *more, "--output", output),
            *("--figure", folder / f"{name}.png", "--quality", folder / f"{name}.quality.json"),
        )
    calibration = ("--registration", registration, "--psf", psf)
    records["localize"] = Step(folder, "localize").run(
        *("--movie", manifest, *calibration, "--weights", chosen.weights, "--output", table),
        *("--workers", str(chosen.workers), *options),
    )
    records["evaluate"] = Step(folder, "evaluate").run(
        *("--localizations", table, "--truth", acquisition / "truth.csv"),
        *("--output", folder / "evaluation.json", "--figure", folder / "evaluation.png"),
    )
    return records


def report(folder: Path, frames: int, size: int, records: Records, path: Path | None) -> None:
    source = sum(file.stat().st_size for file in (folder / "acquisition").glob("movie_camera*.ome.tif")) / 1e6
    stored = sum(file.stat().st_size for file in (folder / "movie.zarr").rglob("*") if file.is_file()) / 1e6
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["values"]
    table = (folder / "localizations.h5").stat().st_size / 1e6
    record = Record("whole_movie_steps", path)
    for name, step in records.items():
        record.add(
            step=f"{name}, {frames} frames of 4 × {size} × {size}",
            seconds=step["seconds"],
            frames_per_s=frames / step["seconds"],
            command_mb=step["main_mb"],
            largest_worker_mb=step["largest_child_mb"],
            together_mb=step["all_mb"],
            runs=step["runs"],
        )
    kept = ("localizations", "recall", "precision", "rmse_lateral_nm", "rmse_axial_nm")
    record.add(step="result", source_mb=source, store_mb=stored, table_mb=table, **{key: values[key] for key in kept})
    record.show(
        Column("step", "step"),
        Column("seconds", "seconds", ".1f"),
        Column("frames/s", "frames_per_s", ".1f"),
        Column("MB: command, largest worker, together", "command_mb largest_worker_mb together_mb", ".0f"),
        Column("runs", "runs"),
        Column("recall, precision", "recall precision", ".4f"),
        Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
    )


def compare_memory(chosen: argparse.Namespace, options: list[str]) -> None:
    """Peak memory of movies that differ in nothing but their length."""
    record = Record("whole_movie_memory", chosen.json)
    peaks: dict[str, list[float]] = {}
    for frames in chosen.lengths:
        records = run(chosen.folder / f"memory_{frames}", frames, SMALL, chosen, options)
        seen = {
            "convert": records["convert"]["main_mb"],
            "localize, command": records["localize"]["main_mb"],
            "localize, largest worker": records["localize"]["largest_child_mb"],
        }
        for name, peak in seen.items():
            record.add(quantity=f"{name}, peak memory of {frames} frames", value=peak, unit="MB")
            peaks.setdefault(name, []).append(peak)
    for name, values in peaks.items():
        growth = 1e3 * np.polyfit(chosen.lengths, values, 1)[0]
        record.add(quantity=f"{name}, growth of the peak memory per frame", value=float(growth), unit="kB")
    record.add(quantity=f"size of a frame of 4 × {SMALL} × {SMALL}", value=8e-3 * SMALL**2, unit="kB")
    record.show(Column("quantity", "quantity"), Column("value", "value", ".3f"), Column("unit", "unit"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is written and stays")
    parser.add_argument("--frames", type=int, default=39000)
    parser.add_argument("--size", type=int, default=64, help="pixels on a side of every camera")
    parser.add_argument("--molecules", type=float, default=4, help="in a frame, on average")
    parser.add_argument("--weights", type=Path, default=ROOT / "resources" / "regression.safetensors")
    parser.add_argument("--workers", type=int, default=2)
    add_json_option(parser)
    parser.add_argument("--memory", action="store_true", help="compare peak memory for three lengths instead")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 4000, 16000], help="of these movies")
    arguments, options = parser.parse_known_args()
    try:
        if arguments.memory:
            compare_memory(arguments, options)
            return
        records = run(arguments.folder, arguments.frames, arguments.size, arguments, options)
        report(arguments.folder, arguments.frames, arguments.size, records, arguments.json)
    except PlanelocError as error:
        sys.exit(f"whole_movie: {error}")
    except KeyboardInterrupt:
        sys.exit("whole_movie: stopped; the same command goes on from here")


if __name__ == "__main__":
    main()
