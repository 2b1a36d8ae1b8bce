"""What came out for a sample, in a few lines: verdict, figures of merit, and where to look."""

from __future__ import annotations

from pathlib import Path

from planeloc.core.files import read_json

_METRICS = (
    ("recall", "recall", ""),
    ("precision", "precision", ""),
    ("jaccard", "Jaccard", ""),
    ("rmse_lateral_nm", "RMSE lateral", " nm"),
    ("rmse_axial_nm", "RMSE axial", " nm"),
)


def summary(folder: Path, report: Path) -> str:
    """Verdict and metrics of the sample in `folder`, and where its pages, picture, table and the report are."""
    values = read_json(folder / "evaluation.json")["values"]
    lines = [f"{title:14}{values[name]:.3g}{unit}" for name, title, unit in _METRICS if values.get(name) is not None]
    if (folder / "verdict.json").is_file():
        said = read_json(folder / "verdict.json")
        lines.insert(0, f"{'verdict':14}{said['verdict']}: {said['why']}")
    paths = {
        "begin with": folder / "quality.html",
        "3D view": folder / "view_3d.html",
        "picture": folder / "depth.png",
        "table": folder / "localizations.filtered.h5",
        "report": report,
    }
    return "\n".join(["", *lines, "", *(f"{title:14}{path}" for title, path in paths.items())])
