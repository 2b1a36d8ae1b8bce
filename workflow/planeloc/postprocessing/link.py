"""The `link` stage: one row per blink of a molecule instead of one per frame.

The linked table has the columns of the table that was read, the last frame of every blink, and in how many frames it
was found. The file also holds, for every row that was read, the row that it became part of.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.checks import print_warnings, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.exporters import EXPORTERS
from planeloc.io.sample_drift import DRIFT_SD, sample_drift_at
from planeloc.postprocessing.link_figure import write_figure
from planeloc.postprocessing.link_quality import link_checks, link_values
from planeloc.postprocessing.linking import Links, Localizations, link, normalised_differences, too_dense
from planeloc.postprocessing.merge import Scatter, merge, scatter
from planeloc.postprocessing.precision import known_or_stated
from planeloc.postprocessing.settings import LinkSettings

_LOG = logging.getLogger(__name__)
_POSITION, _SD = ("x", "y", "z"), ("x_sd", "y_sd", "z_sd")
_SHORT = "blinks are not longer than a frame"
_NOTHING_TO_LINK = (_SHORT, "the localizations are all in one frame", "there are no localizations")
_RARELY = 0.01  # probability that a blink goes on, below which there is nothing to link


@dataclass(frozen=True)
class Linked:
    """What was linked.

    Attributes
    ----------
    blink : (rows,) number of every localization's blink, in the order of first frames, without gaps.
    links : how; None where nothing was linked, for the `reason`.
    scatter : of the localizations of a blink.
    stated : (3,) whether the table states any standard deviation along x, y, z.
    crowding : where nothing was linked for that, the fraction of links that would have been false; else 0.
    """

    blink: NDArray[np.int64]
    links: Links | None
    scatter: Scatter
    stated: NDArray[np.bool_]
    reason: str = ""
    crowding: float = 0.0


def link_localizations(
    localizations_file: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: LinkSettings,
    sample_drift: Path | None = None,
    exports: Sequence[tuple[str, Path]] = (),
) -> dict[str, Any]:
    """Link a table and write the result; returns what was found, for the record.

    Parameters
    ----------
    output : linked table, one row per blink (HDF5).
    figure, quality : figure (PNG) and quality values (JSON) to write.
    sample_drift : drift of the sample and its standard deviation (CSV of `correct-drift`), which the table's
        standard deviations include.
    exports : names of registered exporters (`planeloc.io.exporters`), each with the file to write.

    Raises
    ------
    PlanelocError : a file cannot be read, they do not fit each other, or the table is linked already.
    """
    check(settings)
    exporters = [(EXPORTERS.load(name), path) for name, path in exports]
    columns, metadata = localization_table.read_columns(localizations_file)
    if (columns.get("frames", np.ones(0)) > 1).any():
        raise PlanelocError(
            f"{localizations_file}: already linked, its rows are blinks; give the table that it was made from"
        )
    drift_sd = sample_drift_at(sample_drift, DRIFT_SD, columns["frame"]).astype(np.float32) if sample_drift else None
    found = link_columns(columns, settings, drift_sd)
    if found.reason:
        _LOG.info("nothing is linked: %s", found.reason)
    known = _known(columns)
    filled = known_or_stated(_matrix(columns, _SD), settings)
    merged = merge(columns, found.blink, known, filled, drift_sd, found.scatter)
    values = link_values(merged, found.links, found.scatter, found.stated, found.crowding)
    checks = link_checks(values, settings)
    print_warnings(checks)
    write_figure(figure, merged, values, found.links, found.reason, columns)
    write_quality(quality, values, checks)
    record = {
        "linked": found.links is not None,
        "reason": found.reason,
        "one_row_per_blink": found.links is not None or found.reason in _NOTHING_TO_LINK,
        "sd_factors": np.sqrt(found.scatter.factor).tolist(),  # by which x_sd, y_sd, z_sd were multiplied
        "settings": asdict(settings),
    }
    metadata = {**metadata, "link": record}
    for exporter, path in exporters:
        exporter.write(pd.DataFrame(merged), metadata, path)
    localization_table.write(output, merged, metadata, found.blink, made_by="link")
    if found.links is not None:
        _LOG.info(f"{output}: {len(found.blink):,} localizations are {len(merged['frame']):,} blinks")
    return {"linked": found.links is not None, "rows_read": len(found.blink), "rows": len(merged["frame"])}


def link_columns(
    columns: Mapping[str, NDArray], settings: LinkSettings, drift_sd: NDArray[np.floating] | None = None
) -> Linked:
    """Decide which rows of a table are of the same blink.

    Parameters
    ----------
    columns : of the table, rows in any order.
    drift_sd : (rows, 3) nm, part of the sample drift in the standard deviations.
    """
    shared = np.array([settings.shared_lateral, settings.shared_lateral, settings.shared_axial])
    frame = columns["frame"]
    stated = _known(columns).any(axis=0) if len(frame) else np.zeros(3, bool)
    nothing = Linked(np.arange(len(frame)), None, Scatter(np.ones(3), shared), stated)
    usable = np.flatnonzero(np.isfinite(_matrix(columns, _POSITION)).all(axis=1))
    order = usable[np.argsort(frame[usable], kind="stable")]
    if reason := _no_reason_to_try(frame[order], settings):
        return replace(nothing, reason=reason)
    sd = known_or_stated(_matrix(columns, _SD), settings)[order]
    rows = Localizations(frame[order], _matrix(columns, _POSITION)[order], sd)
    lags = settings.maximum_gap_frames + 1
    if too_dense(rows, lags):
        return replace(nothing, reason="too many localizations are close to each other", crowding=1.0)
    links = link(rows, lags)
    second = np.flatnonzero(links.previous >= 0)
    if links.law.goes_on < _RARELY or not len(second):
        return replace(nothing, reason=_SHORT)
    if links.expected_false > settings.maximum_false_links * len(second):
        crowding = links.expected_false / len(second)
        return replace(nothing, reason="molecules are too close to each other to tell them apart", crowding=crowding)
    single = rows if drift_sd is None else _without(rows, drift_sd[order])
    differences = normalised_differences(single, links.previous[second], second)
    blink = np.arange(len(frame))
    blink[order] = order[links.origin()]
    return Linked(_in_order(blink, frame), links, scatter(differences, shared), stated)


def _no_reason_to_try(frame: NDArray[np.int64], settings: LinkSettings) -> str:
    if settings.mode == "never":
        return "mode: never"
    if not len(frame) or frame[0] == frame[-1]:
        return _NOTHING_TO_LINK[1 if len(frame) else 2]
    return ""


def _without(rows: Localizations, drift_sd: NDArray[np.floating]) -> Localizations:
    """The localizations with the standard deviations that they have without the sample drift."""
    return Localizations(rows.frame, rows.position, np.sqrt(np.maximum(rows.sd**2 - drift_sd**2, 1e-6 * rows.sd**2)))


def _in_order(blink: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the blinks in the order of their first frames, then of the rows; a blink is named by its first row."""
    first, number = np.unique(blink, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, frame[first]))] = np.arange(len(first))
    return rank[number]


def _matrix(columns: Mapping[str, NDArray], names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.stack([columns[name] for name in names], axis=1)


def _known(columns: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    sd = _matrix(columns, _SD)
    return np.isfinite(sd) & (sd > 0)
