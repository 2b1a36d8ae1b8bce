"""From raw files to the picture: a long acquisition whose sample and cameras drift, with and without each correction.

    python -m benchmarks.accuracy.long_movie --folder FOLDER --picasso PYTHON

39,000 frames of 64×64 pixels on four planes of the demo's microscope are simulated (the sample drifts by some 300 nm,
the cameras by up to 48 nm against each other), and `snakemake` makes everything from them, with the default settings.
Then parts are made again without one of the corrections. ``--picasso`` names an interpreter with `picassosr`:
its correction of sample drift, FRC and NeNA on the same tables.

The folder needs 3 GB, and keeps what is finished.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, TABLES

from planeloc.io import localization_table

DEMO = ROOT / "config" / "demo"
SAMPLE = "filaments"
EVALUATED = ("localizations", "recall", "precision", "rmse_lateral_nm", "rmse_axial_nm")
RESOLUTION = ("molecules", "frc_nm", "frc_sd_nm", "fsc_nm", "nena_lateral_nm", "stated_precision_lateral_nm")


def write_configuration(folder: Path, frames: int) -> Path:
    """The demo's configuration with more frames and labels, dyes that blink rarely, and a sample that drifts."""
    simulation = yaml.safe_load((DEMO / "simulation.yaml").read_text(encoding="utf-8"))
    simulation |= {"seed": 39, "frames": frames}
    simulation["structure"] |= {"labels_per_um": 280}
    simulation["blinking"] |= {"mean_off_s": 430.0}
    simulation["sample_drift"] = {"distance_nm": [240, -150, 100], "settling_s": 600, "walk_nm": [40, 40, 40]}
    (folder / "simulation.yaml").write_text(yaml.safe_dump(simulation), encoding="utf-8")
    configuration = {
        **{name: str(DEMO / f"{name}.tsv") for name in ("samples", "calibrations")},
        "simulation": str(folder / "simulation.yaml"),
        "pathvars": {"results": str(folder / "results")},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path


def snakemake(configuration: Path, cores: int) -> None:
    """The whole workflow, as users run it."""
    command = ["snakemake", "--cores", str(cores), "--configfile", str(configuration), "--rerun-incomplete"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


def planeloc(*arguments: str | Path) -> None:
    """Run a command of planeloc."""
    subprocess.run([sys.executable, "-m", "planeloc.cli.main", *map(str, arguments)], check=True)


class Made:
    """The folders of the workflow, and what is made from them again."""

    def __init__(self, folder: Path) -> None:
        self.folder, results = folder, folder / "results"
        self.sample, self.calibration = results / SAMPLE, results / "calibration" / "quadplane"
        self.weights = results / "networks" / "quadplane" / "weights.safetensors"
        self.acquisition = next(results.rglob("truth.csv")).parent

    def calibrated(self) -> tuple[str | Path, ...]:
        """Options of the calibration."""
        return "--psf", self.calibration / "psf.h5", "--microscope", self.calibration / "microscope.yaml"

    def table_without(self, sample_drift: bool, camera_drift: bool) -> Path:
        """A filtered table in which the sample's drift, or the cameras', was not corrected."""
        name = f"{'without' if sample_drift else 'with'}_sample_{'without' if camera_drift else 'with'}_cameras"
        table, filtered = self.sample / "localizations.h5", self.folder / f"{name}.filtered.h5"
        if camera_drift:
            table = self.folder / "cameras.h5"
            if not table.exists():
                planeloc(
                    *("localize", "--movie", self.sample / "movie.manifest.json", "--weights", self.weights),
                    *("--synchronization", self.sample / "synchronization.json"),
                    *("--registration", self.calibration / "registration.json", "--psf", self.calibration / "psf.h5"),
                    *("--inter-camera-drift-nm", "0", "--output", table),
                )
        if not sample_drift:
            corrected = self.folder / f"{name}.h5"
            planeloc(
                *("correct-drift", "--localizations", table, "--output", corrected),
                *("--trajectory", self.folder / f"{name}.csv", "--figure", self.folder / f"{name}.drift.png"),
                *("--quality", self.folder / f"{name}.drift.json"),
            )
            table = corrected
        planeloc("filter", "--localizations", table, "--output", filtered, "--figure", self.folder / f"{name}.png")
        return filtered

    def judged(self, filtered: Path) -> dict[str, float]:
        """Errors against the truth, and the resolution, of a filtered table."""
        name = filtered.name.removesuffix(".h5")
        evaluation, linked = self.folder / f"{name}.evaluation.json", self.folder / f"{name}.linked.h5"
        resolution = self.folder / f"{name}.resolution.json"
        planeloc(
            *("evaluate", "--localizations", filtered, "--truth", self.acquisition / "truth.csv", *self.calibrated()),
            *("--output", evaluation, "--figure", evaluation.with_suffix(".png")),
        )
        planeloc(
            *("link", "--localizations", filtered, "--output", linked),
            *("--figure", linked.with_suffix(".png"), "--quality", linked.with_suffix(".json")),
        )
        planeloc(
            *("measure-resolution", "--localizations", filtered, "--linked", linked, "--output", resolution),
            *("--figure", resolution.with_suffix(".png"), "--quality", resolution.with_suffix(".quality.json")),
        )
        found = json.loads(evaluation.read_text(encoding="utf-8"))["values"]
        values = json.loads(resolution.with_suffix(".quality.json").read_text(encoding="utf-8"))["values"]
        own = {key: found[key] for key in EVALUATED}
        return own | {key: values.get(key) for key in (*RESOLUTION, "frc_unlinked_nm", "frc_naive_nm")}

    def residual(self, drift_nm: np.ndarray, filtered: Path) -> dict[str, float]:
        """Rms of the sample's drift that is left at the localizations: lateral, per axis, and axial."""
        truth = pd.read_csv(self.acquisition / "sample_drift.csv")[["x_nm", "y_nm", "z_nm"]].to_numpy()
        frame = localization_table.read_columns(filtered)[0]["frame"]
        error = (truth - drift_nm)[frame]
        squared = ((error - error.mean(axis=0)) ** 2).mean(axis=0)
        return {"drift_left_lateral_nm": float(np.sqrt(squared[:2].mean())), "drift_left_axial_nm": squared[2] ** 0.5}

    def drift_of(self, path: Path) -> np.ndarray:
        """The drift that was subtracted, from the CSV of correct-drift."""
        return pd.read_csv(path)[["x_nm", "y_nm", "z_nm"]].to_numpy()


def picasso(made: Made, python: str, filtered: Path) -> dict[str, float]:
    """Picasso's AIM on the table that was not corrected, then its FRC and NeNA."""
    table, corrected = made.folder / "picasso.hdf5", made.folder / "picasso_aim.hdf5"
    planeloc(
        *("filter", "--localizations", made.sample / "localizations.h5", "--output", made.folder / "exported.h5"),
        *("--figure", made.folder / "exported.png", "--export", f"picasso={table}"),
    )
    support = ROOT / "benchmarks" / "support"
    answers = []
    for script, files in (("picasso_drift.py", (table, corrected)), ("picasso_resolution.py", (corrected,))):
        ran = subprocess.run([python, support / script, *files], check=True, capture_output=True, text=True)
        answers.append(json.loads(ran.stdout.splitlines()[-1]))
    drift, found = answers
    pixel = localization_table.read_columns(filtered)[1]["pixel_size_nm"]
    path = np.stack([np.array(drift["x"]) * pixel, np.array(drift["y"]) * pixel, np.array(drift["z"])], axis=1)
    return {"frc_naive_nm": found["frc_nm"], "nena_lateral_nm": found["nena_nm"], **made.residual(path, filtered)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=39_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--picasso", metavar="PYTHON")
    add_json_option(parser)
    options = parser.parse_args()
    record = Record("long_movie", options.json)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    snakemake(write_configuration(folder, options.frames), options.cores)
    made = Made(folder)
    everything = made.sample / "localizations.filtered.h5"
    without_sample = made.table_without(sample_drift=True, camera_drift=False)
    without_cameras = made.table_without(sample_drift=False, camera_drift=True)
    nothing = np.zeros((options.frames, 3))
    record.add(
        corrected="both drifts",
        **made.judged(everything),
        **made.residual(made.drift_of(made.sample / "sample_drift.csv"), everything),
    )
    record.add(
        corrected="inter-camera drift only", **made.judged(without_sample), **made.residual(nothing, without_sample)
    )
    record.add(
        corrected="sample drift only",
        **made.judged(without_cameras),
        **made.residual(made.drift_of(folder / "with_sample_without_cameras.csv"), without_cameras),
    )
    record.add(corrected="neither", **made.judged(made.table_without(sample_drift=True, camera_drift=True)))
    if options.picasso:
        record.add(
            corrected="inter-camera drift; sample drift by Picasso (AIM)",
            **picasso(made, options.picasso, without_sample),
        )
    record.show(*TABLES["long_movie"].columns)


if __name__ == "__main__":
    main()
