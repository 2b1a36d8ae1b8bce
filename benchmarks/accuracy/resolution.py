"""Is the measured resolution the true one? Against what is known, against Picasso, and where the thresholds come from.

    python -m benchmarks.accuracy.resolution --picasso OTHER_ENVIRONMENT/bin/python --picasso-table TABLE.hdf5
    python -m benchmarks.accuracy.resolution --part resolution_thresholds

Tables of blinks on straight filaments in a field of 10 µm (`tests.support.filament_tables`). The correlation of two
halves of linked blinks is known from their density along the filaments and from their precisions; that of two halves of
single frames is not a resolution, since both hold the same blinks. Picasso runs on exports of the same tables: it
divides the rows at random. The last part changes one thing at a time: the truth of the stated precision, the density,
and a sample drift that is left in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, TABLES
from scipy.stats import chi2
from tests.support.filament_tables import FRAMES, BlinkingTable, blinking_table

from planeloc.core.widths import FWHM
from planeloc.io import picasso
from planeloc.resolution.halves import first_and_second, time_block_halves
from planeloc.resolution.neighbouring_frames import frame_pairs, lateral_precision, precision_ratio
from planeloc.resolution.ring_sums import mean_of, resolution
from planeloc.resolution.spacing import spacing
from planeloc.resolution.spectra import planar_sums

FIELD_NM, FILAMENTS, PIXEL_NM = 10_000.0, 40, 100.0
METADATA = {
    **{"frames": FRAMES, "width_px": 100, "height_px": 100, "pixel_size_nm": PIXEL_NM},
    **{"voxel_nm": [10.0, 10.0, 25.0], "depth_range_nm": [-600.0, 600.0], "plane_depths_nm": [-200.0, 200.0]},
}
FEWEST, BLOCKS, DIVISIONS = 200, 20, 4
LINKING_CHI2 = 16.3  # 0.1 % of the pairs of one molecule are beyond it on three axes, if their precision is true


def made(blinks: int, **options: Any) -> BlinkingTable:
    return blinking_table(blinks, field_nm=FIELD_NM, filaments=FILAMENTS, **options)


def inside(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the field, which is all that Picasso reads."""
    return table[((table[["x", "y"]] >= 0) & (table[["x", "y"]] <= FIELD_NM)).all(axis=1)]


def of_planeloc(table: pd.DataFrame, linked: pd.DataFrame) -> dict[str, float]:
    start = time.process_time()
    pixel = float(np.clip(linked["x_sd"].median() / 2, 2, 20))
    whole = resolution(planar_sums(linked[["x", "y"]].to_numpy(), pixel).whole)
    halves = time_block_halves(table["frame"].to_numpy(), BLOCKS, DIVISIONS)
    single = planar_sums(table[["x", "y"]].to_numpy(), pixel, halves=halves)
    return {
        "frc_nm": whole.nm,
        "frc_sd_nm": whole.sd_nm,
        "blocks_nm": resolution(mean_of(single.halves)).nm,
        "naive_nm": resolution(single.whole).nm,
        **nena(table),
        "cpu_s": time.process_time() - start,
    }


def nena(table: pd.DataFrame) -> dict[str, float]:
    axes = ["x", "y", "z"]
    sd = table[[f"{axis}_sd" for axis in axes]].to_numpy()
    pairs = frame_pairs(table["frame"].to_numpy(), table[axes].to_numpy(), sd)
    ratio = [precision_ratio(pairs, axis, FEWEST).value for axis in range(2)]
    return {"nena_nm": lateral_precision(pairs, FEWEST).value, "ratio": float(np.sqrt(np.mean(np.square(ratio))))}


def of_picasso(interpreter: str | None, table: pd.DataFrame, name: str) -> dict[str, float]:
    """Picasso's results on a table, their keys beginning with `name`; nothing without Picasso."""
    if not interpreter:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.hdf5"
        picasso.write(table, METADATA, file)
        return by_picasso(interpreter, file, name)


def by_picasso(interpreter: str, file: Path, name: str) -> dict[str, float]:
    script = ROOT / "benchmarks" / "support" / "picasso_resolution.py"
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run([interpreter, script, file], check=False, capture_output=True, text=True, env=own)
    if run.returncode:  # the other tables still count
        print(f"Picasso failed: {(run.stderr.splitlines() or ['without a message'])[-1]}")
        return {}
    return {f"{name}_{key}": value for key, value in json.loads(run.stdout.splitlines()[-1]).items()}


def known(record: Record, interpreter: str | None) -> None:
    cases = {
        "one frame per blink": {"blinks": 4_000, "longest": 1},
        "1 to 5 frames, sparse": {"blinks": 4_000, "longest": 5},
        "1 to 10 frames, sparse": {"blinks": 4_000, "longest": 10},
        "1 to 10 frames, dense": {"blinks": 30_000, "longest": 10},
        "precision 1.5 times worse than stated": {"blinks": 10_000, "longest": 5, "scale": 1.5},
    }
    for name, options in cases.items():
        case = made(**options)
        table, linked = inside(case.table), inside(case.linked)
        record.add(
            kind="known",
            table=name,
            molecules=len(linked),
            expected_nm=case.expected_resolution_nm,
            true_rms_nm=float(options.get("scale", 1.0) * np.sqrt((table[["x_sd", "y_sd"]] ** 2).to_numpy().mean())),
            **of_planeloc(table, linked),
            **of_picasso(interpreter, table, "picasso"),
            **of_picasso(interpreter, linked, "picasso_linked"),
        )


def real(record: Record, interpreter: str | None, file: Path) -> None:
    """A table of Picasso's own, which is not linked."""
    table, _ = picasso.read(file)
    pixel = float(np.clip(table["x_sd"].median() / 2, 2, 20))
    z = table["z"].to_numpy()
    table = table.assign(
        z=np.where(np.isfinite(z), z, 0.0), z_sd=np.where(np.isfinite(table["z_sd"]), table["z_sd"], 1)
    )
    halves = time_block_halves(table["frame"].to_numpy(), BLOCKS, DIVISIONS)
    sums = planar_sums(table[["x", "y"]].to_numpy(), pixel, halves=halves)
    found = {"naive_nm": resolution(sums.whole).nm, "blocks_nm": resolution(mean_of(sums.halves)).nm, **nena(table)}
    more = by_picasso(interpreter, file, "picasso") if interpreter else {}
    stated = float(np.sqrt((table[["x_sd", "y_sd"]] ** 2).to_numpy().mean()))
    record.add(kind="known", table=f"{file.name}, of Picasso", stated_rms_nm=stated, rows=len(table), **found, **more)


BLINKS = 20_000


def by_precision(record: Record) -> None:
    base = resolution_of(made(BLINKS)).nm
    for scale in (1.0, 1.15, 1.3, 1.5, 2.0):
        case = made(BLINKS, scale=scale)
        lost = float(chi2.sf(LINKING_CHI2 / scale**2, 3))
        frc = resolution_of(case).nm
        record.add(
            kind="precision", scale=scale, ratio=nena(case.table)["ratio"], frc_nm=frc, worse=frc / base, lost=lost
        )


def by_density(record: Record) -> None:
    dense = resolution_of(made(200_000, longest=3)).nm
    for number in (2_500, 5_000, 10_000, 20_000, 50_000, 100_000):
        case = made(number, longest=3)
        nyquist = spacing(case.linked[["x", "y"]].to_numpy(), FEWEST)
        ratio = nyquist.nyquist_nm / (FWHM * case.linked["x_sd"].median())
        frc = resolution_of(case).nm
        record.add(
            kind="density", molecules=number, per_nm=case.per_nm, dimension=nyquist.dimension, ratio=ratio,
            frc_nm=frc, worse=frc / dense,
        )  # fmt: skip


def by_drift(record: Record) -> None:
    base = resolution_of(made(BLINKS)).nm
    for drift in (0.0, 10.0, 20.0, 40.0, 80.0):
        case = made(BLINKS, drift_nm=drift)
        frc, halves = resolution_of(case).nm, time_halves(case)
        record.add(kind="drift", drift_nm=drift, frc_nm=frc, ratio=halves / frc, worse=frc / base)


def resolution_of(case: BlinkingTable) -> Any:
    return resolution(planar_sums(case.linked[["x", "y"]].to_numpy(), 4.0).whole)


def time_halves(case: BlinkingTable) -> float:
    first = first_and_second(case.linked["frame"].to_numpy())[None]
    return resolution(planar_sums(case.linked[["x", "y"]].to_numpy(), 4.0, halves=first).halves[0]).nm


THRESHOLDS = {"precision": by_precision, "density": by_density, "drift": by_drift}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picasso", help="Python of an environment with picassosr; without it, its columns are empty")
    parser.add_argument("--picasso-table", type=Path, help="a table of Picasso (HDF5)")
    parser.add_argument("--part", choices=("resolution", "resolution_thresholds"), default="resolution")
    parser.add_argument("--thresholds", nargs="+", default=list(THRESHOLDS), choices=THRESHOLDS)
    parser.add_argument("--extend", action="store_true", help="keep the rows of earlier runs of the same commit")
    add_json_option(parser)
    options = parser.parse_args()
    record = Record(options.part, options.json, options.extend)
    if options.part == "resolution":
        known(record, options.picasso)
        if options.picasso_table:
            real(record, options.picasso, options.picasso_table)
    for kind in options.thresholds if options.part == "resolution_thresholds" else ():
        THRESHOLDS[kind](record)
    record.show(*TABLES[options.part].columns)


if __name__ == "__main__":
    main()
