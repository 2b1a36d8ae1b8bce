"""The `evaluate` stage: localizations against the truth where it is known, and what they look like where it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from planeloc.cameras.microscope import read_microscope
from planeloc.cameras.noise import PixelNoise
from planeloc.core.checks import Check, check_at_least, check_at_most, quality_dict
from planeloc.core.errors import PlanelocError
from planeloc.core.files import write_json
from planeloc.core.settings import check
from planeloc.evaluation import figure as figures
from planeloc.evaluation import metrics
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table
from planeloc.io.localization_table import field_nm, metadata_value
from planeloc.psf import read_psf
from planeloc.psf.fisher_information import position_bound

TRUTH_COLUMNS: dict[str, str] = {"frame": "frame", "x_nm": "x", "y_nm": "y", "z_nm": "z", "photons": "photons"}
"""Columns of planeloc's own truth tables → quantities; frames from 0."""

CHALLENGE_COLUMNS: dict[str, str] = {
    "frame": "frame",
    "xnano": "x",
    "ynano": "y",
    "znano": "z",
    "intensity": "photons",
}
"""Columns of the SMLM challenge's truth tables → quantities; frames from 1."""

_DEPTH_ENDS = 0.1  # the outermost tenth of the depth range on either side


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read a truth table of planeloc or of the SMLM challenge: frame (from 0), x, y, z [nm], photons."""
    path = Path(path)
    try:
        content = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: truth table not found; check the path in the sheet") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise PlanelocError(f"{path}: not a CSV table ({' '.join(str(error).split())})") from None
    content = content.rename(columns=lambda name: str(name).strip())
    names, first = (CHALLENGE_COLUMNS, 1) if "xnano" in content.columns else (TRUTH_COLUMNS, 0)
    missing = [name for name in names if name not in content.columns]
    if missing:
        raise PlanelocError(f"{path}: truth table lacks the column {missing[0]}; expected {','.join(TRUTH_COLUMNS)}")
    truth = content[list(names)].rename(columns=names).apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(truth.to_numpy(dtype=np.float64)).all():
        row = int(np.flatnonzero(~np.isfinite(truth.to_numpy(dtype=np.float64)).all(axis=1))[0])
        raise PlanelocError(f"{path}: row {row + 1} of the truth table is not all numbers; mend or remove it")
    return truth.assign(frame=truth["frame"].astype(np.int64) - first)


def statistics(table: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, float]:
    """What can be said of a table without knowing the truth."""
    frames = int(metadata["frames"])
    per_frame = np.bincount(table["frame"], minlength=frames)
    low, high = metadata["depth_range_nm"]
    end = _DEPTH_ENDS * (high - low)
    z = table["z"].to_numpy()
    lateral_sd = np.sqrt((table["x_sd"] ** 2 + table["y_sd"] ** 2) / 2)
    return {
        "localizations": len(table),
        "frames": frames,
        "localizations_per_frame": len(table) / frames if frames else math.nan,
        "empty_frames_fraction": float((per_frame == 0).mean()) if frames else math.nan,
        "photons_median": _median(table["photons"]),
        "background_median": _median(table["background"]),
        "probability_median": _median(table["probability"]),
        "lateral_sd_median_nm": _median(lateral_sd),
        "axial_sd_median_nm": _median(table["z_sd"]),
        "depth_median_nm": _median(table["z"]),
        "depth_ends_fraction": float(((z < low + end) | (z > high - end)).mean()) if len(z) else math.nan,
    }


def _median(values: pd.Series) -> float:
    return float(values.median()) if len(values) else math.nan


def statistics_checks(values: Mapping[str, float]) -> list[Check]:
    """Signs that something went wrong before, which need no truth."""
    advice = "look at the movie and the calibration; is the threshold of localize too high?"
    checks = [check_at_least("localizations", values["localizations"], advice, warn=100, fail=1)]
    if values["localizations"]:
        ends = "molecules gather at the ends of the depth range: is the sample deeper than the planes?"
        checks.append(check_at_most("depth_ends_fraction", values["depth_ends_fraction"], ends, warn=0.5))
        checks.append(check_at_most("empty_frames_fraction", values["empty_frames_fraction"], advice, warn=0.9))
    return checks


def truth_checks(values: Mapping[str, float]) -> list[Check]:
    """Verdicts on the figures of merit; a movie of ordinary light and density passes them all."""
    checks = [
        check_at_least("recall", values["recall"], "raise the light or lower the threshold", warn=0.7, fail=0.3),
        check_at_least("precision", values["precision"], "raise the threshold or filter", warn=0.8, fail=0.5),
    ]
    if values["true_positives"]:
        fit = "do PSF, registration and network belong to this movie?"
        checks += [
            check_at_most("rmse_lateral_nm", values["rmse_lateral_nm"], fit, warn=50, fail=150),
            check_at_most("rmse_axial_nm", values["rmse_axial_nm"], fit, warn=100, fail=300),
        ]
        shift = "a constant shift: do truth and movie agree on the origin and the direction of depth?"
        for axis, limit in zip(metrics.AXES, (15, 15, 30), strict=True):
            checks.append(check_at_most(f"bias_{axis}_nm", abs(values[f"bias_{axis}_nm"]), shift, warn=limit))
    return checks


def evaluate(
    localizations_file: Path,
    truth: Path | None,
    output: Path,
    figure: Path,
    settings: EvaluateSettings,
    psf: Path | None = None,
    microscope: Path | None = None,
) -> str:
    """Write the quality values of a table as JSON and as a figure; returns the most important ones in words.

    With `truth`, a table of `TRUTH_COLUMNS` or `CHALLENGE_COLUMNS`, the figures of merit come first; without, only what
    the localizations show of themselves. With `psf` and `microscope`, errors are also given over the Cramér–Rao bound.
    """
    check(settings)
    if (psf is None) != (microscope is None):
        raise PlanelocError("--psf and --microscope go together: the bound needs the spot and the cameras' noise")
    table, metadata = localization_table.read(localizations_file)
    for key in ("frames", "depth_range_nm", "voxel_nm"):
        metadata_value(localizations_file, metadata, key)
    values = statistics(table, metadata)
    content = quality_dict(values, statistics_checks(values))
    if truth is None:
        figures.write_statistics(figure, table, metadata)
        write_json(output, content)
        return _statistics_summary(values)
    comparison = _compare(localizations_file, table, metadata, truth, settings)
    merits = metrics.scores(comparison)
    low, high = metadata["depth_range_nm"]
    merits |= metrics.voxel_scores(comparison, tuple(metadata["voxel_nm"]), low)
    if psf and microscope:
        merits |= metrics.bound_scores(comparison, _bounds(comparison, table, psf, microscope))
    depths = metrics.by_depth(comparison, np.linspace(low, high, settings.depth_bins + 1))
    content = quality_dict({**merits, **values}, [*truth_checks(merits), *statistics_checks(values)])
    content["by_depth"] = [{name: _json_number(value) for name, value in row.items()} for row in depths]
    figures.write_comparison(figure, comparison, merits, depths)
    write_json(output, content)
    return _truth_summary(merits)


def _compare(
    path: Path, table: pd.DataFrame, metadata: Mapping[str, Any], truth: Path, settings: EvaluateSettings
) -> metrics.Comparison:
    size = field_nm(path, metadata)
    if 2 * settings.border_nm >= min(size):
        raise PlanelocError(
            f"{path}: a border of {settings.border_nm:g} nm leaves nothing of a field of {size[0]:g} × {size[1]:g} nm; "
            "set border_nm of evaluate lower"
        )
    molecules = read_truth(truth)
    last = int(molecules["frame"].max()) if len(molecules) else 0
    if last >= metadata["frames"] or (len(molecules) and molecules["frame"].min() < 0):
        raise PlanelocError(
            f"{truth}: frames {molecules['frame'].min()} to {last} (counted from 0) do not fit a movie of "
            f"{metadata['frames']} frames; is this the truth of this movie?"
        )
    return metrics.compare(
        table,
        molecules,
        size,
        lateral_nm=settings.lateral_nm,
        axial_nm=settings.axial_nm,
        border_nm=settings.border_nm,
        minimum_photons=settings.minimum_truth_photons,
    )


def _bounds(comparison: metrics.Comparison, table: pd.DataFrame, psf: Path, microscope: Path) -> Any:
    """(pairs, 3) what could be known of every molecule that was found."""
    model, instrument = read_psf(psf), read_microscope(microscope)
    pixels = (model.pixel_size_nm, instrument.pixel_size_nm)
    if model.planes != instrument.planes or not math.isclose(*pixels, rel_tol=1e-3):
        raise PlanelocError(
            f"{psf}: {model.planes} planes and pixels of {pixels[0]:g} nm, but {microscope} has {instrument.planes} "
            f"cameras and {pixels[1]:g} nm; give the PSF that was calibrated for this microscope"
        )
    level = np.full(len(comparison.photons), max(_median(table["background"]), 0.0))
    noise = PixelNoise.of(instrument.cameras)
    return position_bound(model, noise, comparison.truth_nm, comparison.photons, level)


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _truth_summary(values: Mapping[str, float]) -> str:
    molecules = values["true_positives"] + values["false_negatives"]
    over = [values.get(f"rmse_{axis}_over_bound") for axis in ("lateral", "axial")]
    bound = "" if None in over else f"; {over[0]:.2f} and {over[1]:.2f} times the bound of single molecules"
    return (
        f"recall {values['recall']:.3f}  precision {values['precision']:.3f}  Jaccard {values['jaccard']:.3f}  "
        f"RMSE lateral {values['rmse_lateral_nm']:.1f} nm  axial {values['rmse_axial_nm']:.1f} nm  "
        f"({molecules:,} true molecules, efficiency {values['efficiency_3d']:.1f}{bound})"
    )


def _statistics_summary(values: Mapping[str, float]) -> str:
    return (
        f"{values['localizations']:,} localizations in {values['frames']:,} frames  "
        f"({values['localizations_per_frame']:.2f} per frame)  photons {values['photons_median']:.0f}  "
        f"background {values['background_median']:.1f}  probability {values['probability_median']:.2f} (medians)"
    )
