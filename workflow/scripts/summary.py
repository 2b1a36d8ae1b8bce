"""What came out for a sample, in a few lines: summary.py SAMPLE_FOLDER REPORT.html."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_METRICS = (
    ("recall", "recall", ""),
    ("precision", "precision", ""),
    ("jaccard", "Jaccard", ""),
    ("rmse_lateral_nm", "RMSE lateral", " nm"),
    ("rmse_axial_nm", "RMSE axial", " nm"),
)


def summary(folder: Path, report: Path) -> str:
    """Metrics, and where the picture, the table and the report are."""
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["values"]
    lines = [f"{title:14}{values[name]:.3g}{unit}" for name, title, unit in _METRICS if values.get(name) is not None]
    paths = {"picture": folder / "depth.png", "table": folder / "localizations.filtered.h5", "report": report}
    return "\n".join(["", *lines, "", *(f"{title:14}{path}" for title, path in paths.items())])


if __name__ == "__main__":
    print(summary(Path(sys.argv[1]), Path(sys.argv[2])))
