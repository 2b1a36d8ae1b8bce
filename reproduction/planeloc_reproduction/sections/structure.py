"""Fig. 12: a structure drawn by the paper's rule."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, read_json, require_file
from planeloc_reproduction import published
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, difference, number

_PNG = b"\x89PNG\r\n\x1a\n"
_ROWS = (
    ("voxel_error_lateral_nm", "lateral error, voxel to voxel, nm", published.STRUCTURE_LATERAL),
    ("voxel_error_axial_nm", "axial error, voxel to voxel, nm", published.STRUCTURE_AXIAL),
    ("rmse_lateral_nm", "lateral RMSE, nm", None),
    ("rmse_axial_nm", "axial RMSE, nm", None),
    ("recall", "recall", None),
    ("precision", "precision", None),
    ("jaccard", "Jaccard index", None),
    ("localizations", "localizations", None),
    ("frames", "frames", None),
)


def structure(context: Context, image: Path | None, threshold: float | None = None) -> Section:
    """The picture as it is, with the values of ``evaluation.json`` beside it where there is one.

    `threshold` is what voxels had to exceed.
    """
    title = "Fig. 12: a structure by the paper's rule"
    if image is None:
        return Section("fig12", title, missing="No picture of a structure was given.")
    content = require_file(image, "picture of the structure").read_bytes()
    if not content.startswith(_PNG):
        raise PlanelocError(f"{image}: not a PNG picture; render it again")
    path = context.figures / "fig12.png"
    with atomic_path(path) as partial:
        shutil.copyfile(image, partial)
    told = published.STRUCTURE_THRESHOLD.value
    found = (
        ""
        if threshold is None
        else f". Molecules are peaks of the probability among voxels above {threshold:g}, of which the improbable are "
        f"left out; the paper takes every voxel above {told:g}"
    )
    picture = Picture(
        path,
        "Structure coloured by depth",
        f"Voxels with a molecule in more than one frame, coloured by depth{found}. The sample is simulated, since the "
        "paper's 39,000 frames are not published, and its network is that of its own calibration, not one of the two "
        "above.",
    )
    values = _values(image.with_name("evaluation.json"))
    rows = [
        (
            name,
            number(told.value) if told else NOTHING,
            number(values[key]),
            difference(values[key], told.value) if told else NOTHING,
        )
        for key, name, told in _ROWS
        if key in values
    ]
    header = ("", "Paper (abstract)", "Ours", "Difference")
    tables = [Table("The localizations of this picture against the truth", header, rows)] if rows else []
    return Section("fig12", title, _why(values), [picture], tables)


def _values(path: Path) -> dict[str, float]:
    """Numbers of an evaluation, by name; empty where there is none."""
    if not path.exists():
        return {}
    content: Any = read_json(path)
    values = content.get("values") if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise PlanelocError(f"{path}: holds no values of an evaluation; run evaluate again")
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _why(values: dict[str, float]) -> str:
    lateral, axial = values.get("voxel_error_lateral_nm"), values.get("voxel_error_axial_nm")
    if lateral is None or axial is None:
        return "The paper shows its picture without a number, so there is only the eye to compare with."
    within = lateral <= published.STRUCTURE_LATERAL.value and axial <= published.STRUCTURE_AXIAL.value
    text = (
        f"The paper had no truth for its cells; here there is one, and the errors of {number(lateral)} nm laterally "
        f"and {number(axial)} nm axially are {'within' if within else 'not both within'} the 20 nm and 50 nm "
        "that it claims"
    )
    recall = values.get("recall")
    return text + (f", for the {100 * recall:.0f} % of the molecules that were found." if recall is not None else ".")
