"""Time and memory of every stage that works on a table, for tables of several lengths.

    python -m benchmarks.speed.large_tables --rows 200000 1000000 5000000 --folder /tmp

A field of 256 × 256 pixels of 192 nm (49 µm) holds straight filaments over the depth range. A table of localizations on
them and its ground truth, with nine of ten molecules found and some false positives, are written in portions. Each
stage then runs in a process of its own: `correct-drift` and `link` of a table whose molecules are on for three frames
and drift by 300 nm, `filter` with its two exports, each export on its own and back, `render` with
10 nm pixels and all its files, `view` of a part and of the whole, `measure-resolution` with every row a molecule, and
`evaluate` with a measured PSF, so that errors are compared with the Cramér–Rao bounds of all molecules. The memory is
the largest of the process, with some 0.4 GB for the program itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from benchmarks.support.record import Record, add_json_option, largest_memory_mb, run_again
from benchmarks.tables import TABLES

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table, parquet, picasso, smap, thunderstorm
from planeloc.io.importers import import_table
from planeloc.postprocessing.correct_drift import correct_drift
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.link import link_localizations
from planeloc.postprocessing.settings import CorrectDriftSettings, FilterSettings, LinkSettings
from planeloc.psf import SplinePSF, paper_psf, write_psf
from planeloc.psf.cubic_spline import Knots
from planeloc.rendering.render import RenderedFiles, render
from planeloc.rendering.settings import RenderSettings, ViewSettings
from planeloc.rendering.view import view
from planeloc.resolution.measure_resolution import measure_resolution
from planeloc.resolution.settings import MeasureResolutionSettings

SIZE_PX, PIXEL_NM = 256, paper_psf().pixel_size_nm
DEPTHS_NM = (-600.0, 600.0)
FILAMENTS, WIDTH_NM = 400, 20.0
FOUND, FALSE = 0.9, 0.03  # shares of the molecules that are found, and of false positives
PORTION = 100_000
PROGRAMS = {"Picasso": picasso, "ThunderSTORM": thunderstorm, "SMAP": smap}
if find_spec("pyarrow"):
    PROGRAMS["Parquet"] = parquet
RESOLUTION = ("resolution.json", "resolution.png", "resolution.quality.json")
TABLE, LINKED, TRUTH, PSF, MICROSCOPE = (
    "localizations.h5",
    "localizations.linked.h5",
    "truth.csv",
    "psf.h5",
    "microscope.yaml",
)
DRIFT, BLINKING = "drift.csv", "blinking.h5"
ON_FRAMES, MOVED_NM = 3, 300.0


def write_inputs(folder: Path, rows: int, density: float) -> None:
    """A table of about `rows` localizations and its ground truth, with `density` molecules per frame."""
    molecules = round(rows / (FOUND + FALSE))
    metadata = {
        "frames": int(molecules / density) + 1,
        "width_px": SIZE_PX,
        "height_px": SIZE_PX,
        "pixel_size_nm": PIXEL_NM,
        "voxel_nm": [25.0, 25.0, 50.0],
        "depth_range_nm": list(DEPTHS_NM),
        "plane_depths_nm": list(paper_psf().plane_depths_nm),
    }
    with (
        localization_table.LocalizationsWriter(folder / TABLE, metadata) as table,
        localization_table.LocalizationsWriter(folder / LINKED, metadata, ("last_frame", "frames")) as linked,
        (folder / TRUTH).open("w") as file,
    ):
        for start in range(0, molecules, PORTION):
            number = np.arange(start, min(start + PORTION, molecules))
            found, truth = portion((number / density).astype(np.int64), np.random.default_rng([1, start]))
            table.append(found)
            linked.append(found.assign(last_frame=found["frame"], frames=1))
            truth.to_csv(file, index=False, header=start == 0, float_format="%.2f", lineterminator="\n")
    write_blinking(folder / BLINKING, rows, density, metadata)
    frame = np.arange(metadata["frames"])
    pd.DataFrame({"frame": frame, "x_nm": 0.01 * frame, "y_nm": 0.0, "z_nm": 0.0}).to_csv(folder / DRIFT, index=False)
    write_psf(folder / PSF, measured_psf())
    camera = Camera("benchmark", offset_counts=100, electrons_per_count=0.5, read_noise_electrons=1.6)
    microscope = Microscope("benchmark", PIXEL_NM, cameras=(camera,) * len(paper_psf().plane_depths_nm))
    (folder / MICROSCOPE).write_text(yaml.safe_dump(json.loads(json.dumps(microscope.as_dict()))), encoding="utf-8")


def write_blinking(path: Path, rows: int, density: float, metadata: dict) -> None:
    """A table of about `rows` localizations in which every molecule is found in some frames, and the sample drifts."""
    blinks, frames = round(rows / (FOUND + FALSE) / ON_FRAMES), metadata["frames"]
    with localization_table.LocalizationsWriter(path, metadata) as table:
        for start in range(0, blinks, PORTION):
            number = np.arange(start, min(start + PORTION, blinks))
            random = np.random.default_rng([2, start])
            found, _ = portion((number * ON_FRAMES / density).astype(np.int64), random)
            found = found.loc[found.index.repeat(ON_FRAMES)]
            later = np.tile(np.arange(ON_FRAMES), len(found) // ON_FRAMES)
            found["frame"] = np.minimum(found["frame"].to_numpy() + later, frames - 1)
            for axis in "xyz":
                found[axis] += random.normal(0, found[f"{axis}_sd"]) + MOVED_NM * found["frame"] / frames
            table.append(found.sort_values("frame", kind="stable"))


def portion(frame: np.ndarray, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Localizations and molecules of some frames."""
    rows = len(frame)
    ends = np.random.default_rng(0).uniform(
        (0, 0, DEPTHS_NM[0]), (SIZE_PX * PIXEL_NM,) * 2 + DEPTHS_NM[1:], (2, FILAMENTS, 3)
    )
    filament, along = random.integers(0, FILAMENTS, rows), random.random((rows, 1))
    position = ends[0, filament] * along + ends[1, filament] * (1 - along) + random.normal(0, WIDTH_NM, (rows, 3))
    photons = 100 + random.exponential(1500, rows)
    truth = pd.DataFrame({"frame": frame, **dict(zip(("x_nm", "y_nm", "z_nm"), position.T, strict=True))})
    sd = 8 * np.sqrt(2000 / photons)[:, None] * (1, 1, 2)
    drawn = random.random(rows)
    wrong = random.random(position.shape) * (SIZE_PX * PIXEL_NM, SIZE_PX * PIXEL_NM, DEPTHS_NM[1])
    position = np.where(drawn[:, None] < FOUND, position + random.normal(0, sd), wrong)
    columns = {axis: position[:, number] for number, axis in enumerate("xyz")}
    columns |= {f"{axis}_sd": sd[:, number] for number, axis in enumerate("xyz")}
    table = pd.DataFrame({"frame": frame, **columns, "photons": photons, "probability": random.random(rows) ** 0.2})
    return table.assign(background=4.0)[drawn < FOUND + FALSE], truth.assign(photons=photons)


def measured_psf() -> SplinePSF:
    """The paper's PSF with small, random residuals on the knots of an ordinary bead scan."""
    knots = Knots(31, PIXEL_NM / 2, 30, 100.0, -1500.0)
    generator = torch.Generator().manual_seed(0)
    residuals = 1e-4 * torch.randn(
        4, knots.axial, knots.lateral, knots.lateral, generator=generator, dtype=torch.float64
    )
    return SplinePSF(paper_psf(), knots, residuals, (0, 1, 2, 3))


def read_and(write: Callable[..., None], table: Path, output: Path) -> None:
    rows, metadata = localization_table.read(table)
    write(rows, metadata, output)


def stages(folder: Path) -> dict[str, Callable[[], object]]:
    table, filtered = folder / TABLE, folder / "filtered.h5"
    exports = [("picasso", folder / "picasso.hdf5"), ("thunderstorm", folder / "thunderstorm.csv")]
    written = {name: folder / f"exported{module.endings[0]}" for name, module in PROGRAMS.items()}
    names = ("depth.png", "voxels.png", "depth.ome.tif", "voxels.ome.tif", "zarr", "projections.png", "slices.png")
    drift = folder / DRIFT, folder / "before_after.png"
    images = RenderedFiles(*(folder / name for name in names), *drift)
    part = ViewSettings(region="20000,25000,20000,25000", pixel_nm=5)
    whole = ViewSettings(projection="xz", colour_by="photons", pixel_nm=50)
    viewed = folder / "view.png", folder / "view.ome.tif"
    figures = (folder / "evaluation.json", folder / "evaluation.png")
    results = {name: [folder / f"{name}{end}" for end in (".png", ".json")] for name in ("drift", "link")}
    return {
        "correct-drift": lambda: correct_drift(
            folder / BLINKING, folder / "still.h5", folder / "found.csv", *results["drift"], CorrectDriftSettings()
        ),
        "link": lambda: link_localizations(
            folder / "still.h5", folder / "molecules.h5", *results["link"], LinkSettings(), folder / "found.csv"
        ),
        "filter, with both exports": lambda: filter_localizations(table, filtered, exports, FilterSettings()),
        **{
            f"export to {name}": partial(read_and, module.write, filtered, written[name])
            for name, module in PROGRAMS.items()
        },
        **{
            f"import from {name}": partial(import_table, written[name], module.name, folder / "back.h5", filtered)
            for name, module in PROGRAMS.items()
        },
        "render, 10 nm": lambda: render(filtered, images, RenderSettings()),
        "view, 5 µm at 5 nm": lambda: view(filtered, *viewed, part),
        "view, whole field from a side": lambda: view(filtered, *viewed, whole),
        "measure-resolution": lambda: measure_resolution(
            table, folder / LINKED, *(folder / name for name in RESOLUTION), MeasureResolutionSettings()
        ),
        "evaluate, with bounds": lambda: evaluate(
            filtered, folder / TRUTH, *figures, EvaluateSettings(), folder / PSF, folder / MICROSCOPE
        ),
    }


def measure(stage: str, folder: Path) -> str:
    """Run one stage in this process; seconds, CPU seconds and memory as JSON."""
    start, used = time.perf_counter(), time.process_time()
    stages(folder)[stage]()
    values = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - used}
    return json.dumps(values | {"memory_mb": largest_memory_mb()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000, 5_000_000])
    parser.add_argument("--density", type=float, default=100, help="molecules per frame")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--stages", nargs="+", help="only these (those before one may be needed for its input)")
    add_json_option(parser)
    parser.add_argument("--measure", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure[0], Path(options.measure[1])))
        return
    record = Record("large_tables", options.json)
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            write_inputs(Path(name), rows, options.density)
            for stage in options.stages or stages(Path(name)):
                values = json.loads(run_again(["--measure", stage, name]).splitlines()[-1])
                record.add(stage=stage, rows=rows, **values, cpu_us_per_row=1e6 * values["cpu_s"] / rows)
    record.show(*TABLES["large_tables"].columns)


if __name__ == "__main__":
    main()
