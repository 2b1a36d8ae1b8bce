"""Fig. 9: several molecules at once, on a helix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc_reproduction import published
from planeloc_reproduction.figures.helix import draw_helix
from planeloc_reproduction.measures import distance_to_curve, nearest_nm
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import Helix
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, condition, label, number, percent

_CLOSE_NM = 250.0
"""Molecules with a neighbour within this lateral distance have overlapping spots."""
_REACH_VOXELS = 2.0


@dataclass(frozen=True)
class _Measured:
    found_distance: NDArray[np.float64]  # of the voxels above the threshold from the curve, in voxels
    peak_distance: NDArray[np.float64]
    found_distance_nm: NDArray[np.float64]
    molecules: int
    close: NDArray[np.bool_]  # per molecule: another one within _CLOSE_NM laterally
    seen: NDArray[np.bool_]  # per molecule: a voxel above the threshold within _REACH_VOXELS


def helix(context: Context) -> Section:
    """Two frames, the merged cloud, and how far what was found lies from the curve."""
    title, results = "Fig. 9: molecules on a helix", context.results.helix
    if not results:
        return Section("fig9", title, missing="The helix was not part of this run (helix/*.json).")
    names = list(results)
    pictures, tables, measured = [], [], {}
    for number_, name in enumerate(names):
        path = context.figures / f"fig9.{number_}.png"
        draw_helix(path, results[name], name, context.mark([name]))
        pictures.append(
            Picture(
                path,
                f"Molecules on a helix and what the {label(name)} found",
                f"The {label(name)}: two frames and all {len(results[name].frames)} together, seen along z (above) and "
                "along y (below). Circles: true molecules; triangles: voxels above the threshold, the paper's rule.",
            )
        )
        measured[name] = _measure(results[name])
        tables.append(_table(name, results[name], measured[name], context.mark([name])))
    return Section("fig9", title, _why(names[0], measured[names[0]]), pictures, tables)


def _measure(helix: Helix) -> _Measured:
    unit = published.VOXEL_NM
    found = np.concatenate([frame.found_nm for frame in helix.frames])
    peaks = np.concatenate([frame.peaks_nm for frame in helix.frames])
    close, seen = [], []
    for frame in helix.frames:
        truth = frame.truth_nm
        lateral = np.hypot(*(truth[:, None, :2] - truth[None, :, :2]).transpose(2, 0, 1))
        np.fill_diagonal(lateral, math.inf)
        close.append((lateral <= _CLOSE_NM).any(axis=1))
        seen.append(nearest_nm(truth / unit, frame.found_nm / unit) <= _REACH_VOXELS)
    return _Measured(
        found_distance=distance_to_curve(found, helix.curve_nm, unit),
        peak_distance=distance_to_curve(peaks, helix.curve_nm, unit),
        found_distance_nm=distance_to_curve(found, helix.curve_nm),
        molecules=sum(len(frame.truth_nm) for frame in helix.frames),
        close=np.concatenate(close),
        seen=np.concatenate(seen),
    )


def _share(condition: NDArray[np.bool_]) -> float:
    return float(condition.mean()) if len(condition) else math.nan


def _table(name: str, helix: Helix, measured: _Measured, mark: str) -> Table:
    median = float(np.median(measured.found_distance_nm)) if len(measured.found_distance_nm) else math.nan
    rows = [
        ("frames", condition(published.HELIX_FRAMES.value), condition(len(helix.frames))),
        ("threshold", condition(published.HELIX_THRESHOLD.value), condition(helix.threshold)),
        ("molecules", NOTHING, f"{measured.molecules:,}"),
        ("voxels above the threshold", NOTHING, f"{len(measured.found_distance):,}"),
        *(
            (
                f"voxels above the threshold within {reach} of the curve",
                NOTHING,
                percent(_share(measured.found_distance <= n)),
            )
            for n, reach in ((1, "1 voxel"), (2, "2 voxels"))
        ),
        ("median distance of these voxels from the curve, nm", NOTHING, number(median)),
        ("molecules with such a voxel within 2 voxels", NOTHING, percent(_share(measured.seen))),
        (
            f"… with a neighbour within {_CLOSE_NM:g} nm laterally",
            "difficult",
            percent(_share(measured.seen[measured.close])),
        ),
        ("… without", "accurate", percent(_share(measured.seen[~measured.close]))),
        (
            "planeloc's own peaks per molecule",
            NOTHING,
            number(len(measured.peak_distance) / max(measured.molecules, 1)),
        ),
        ("planeloc's own peaks within 2 voxels of the curve", NOTHING, percent(_share(measured.peak_distance <= 2))),
    ]
    rows = [(*row, _difference(row)) for row in rows]
    header = (f"Helix, {label(name)}", "Paper", "Ours", "Difference")
    return Table("What was found, against the curve and the molecules", header, rows, mark)


def _difference(row: tuple[str, ...]) -> str:
    return "none" if row[1] == row[2] else NOTHING


def _why(name: str, measured: _Measured) -> str:
    on_curve = _share(measured.found_distance <= 2)
    close, alone = _share(measured.seen[measured.close]), _share(measured.seen[~measured.close])
    if not len(measured.found_distance):
        return f"The {label(name)} put no voxel above the threshold, so there is no curve to see."
    visible = (
        "the curve shows, as in the paper" if on_curve > 0.5 else "most of them lie off the curve, unlike in the paper"
    )
    text = f"{percent(on_curve)} of the voxels above the threshold lie within 2 voxels of the curve: {visible}"
    if math.isfinite(close) and math.isfinite(alone):
        crowded = (
            "overlapping spots are the difficult ones, as the paper says"
            if close < alone
            else "overlap of spots is not what limits it here"
        )
        shares = (
            f"{percent(alone)} of the molecules that stand alone are found and {percent(close)} of those with a near"
        )
        text += f"; {shares} neighbour: {crowded}"
    return text + "."
