"""The demo's accuracy, with the default network and with the upsampling network.

python -m benchmarks.accuracy.demo

The demo must have run before (`make demo`). Its movie is localized again with the upsampling network, without
refinement, and both tables are compared with the ground truth as the demo's own is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, Column

DEMO = ROOT / "results" / "demo"
CALIBRATION, SAMPLE = DEMO / "calibration" / "quadplane", DEMO / "filaments"
SHOWN = ("localizations", "recall", "precision", "rmse_lateral_nm", "rmse_axial_nm")


def planeloc(*arguments: str | Path) -> None:
    """Run a command of planeloc."""
    subprocess.run([sys.executable, "-m", "planeloc.cli.main", *map(str, arguments)], check=True)


def evaluate_upsampling(folder: Path) -> Path:
    """Localize the demo's movie with the upsampling network; returns the file of the evaluation."""
    table, filtered, evaluation = (folder / name for name in ("all.h5", "filtered.h5", "evaluation.json"))
    calibration = ("--registration", CALIBRATION / "registration.json", "--psf", CALIBRATION / "psf.h5")
    planeloc(
        *("localize", "--movie", SAMPLE / "movie.manifest.json", *calibration, "--refine", "none", "--output", table),
        *("--weights", ROOT / "resources" / "quadplane.safetensors"),
    )
    planeloc("filter", "--localizations", table, "--output", filtered)
    planeloc(
        *("evaluate", "--localizations", filtered, "--truth", DEMO / "acquisition" / "truth.csv"),
        *("--psf", CALIBRATION / "psf.h5", "--microscope", CALIBRATION / "microscope.yaml", "--output", evaluation),
        *("--figure", folder / "evaluation.png"),
    )
    return evaluation


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json_option(parser)
    record = Record("demo", parser.parse_args().json)
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "regression, refined (the default)": SAMPLE / "evaluation.json",
            "upsampling, not refined": evaluate_upsampling(Path(folder)),
        }
        for method, file in files.items():
            values = json.loads(file.read_text(encoding="utf-8"))["values"]
            record.add(method=method, **{name: values[name] for name in SHOWN})
    record.show(
        Column("method", "method"),
        Column("localizations", "localizations", ",.0f"),
        Column("recall, precision", "recall precision", ".3f"),
        Column("RMSE lateral, axial, nm", "rmse_lateral_nm rmse_axial_nm", ".1f"),
    )


if __name__ == "__main__":
    main()
