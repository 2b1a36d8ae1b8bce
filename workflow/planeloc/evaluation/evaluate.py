"""The `evaluate` stage: localizations against the ground truth, or their distributions where none is known."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.cameras.microscope import read_microscope
from planeloc.cameras.noise import PixelNoise
from planeloc.core.checks import quality_dict
from planeloc.core.errors import PlanelocError
from planeloc.core.files import write_json
from planeloc.core.marks import METRICS
from planeloc.core.settings import check
from planeloc.evaluation import figure as figures
from planeloc.evaluation import metrics
from planeloc.evaluation.bounds import bounds_on_cameras
from planeloc.evaluation.ground_truth import read_ground_truth
from planeloc.evaluation.quality import accuracy_checks, statistics, statistics_checks
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table
from planeloc.io.localization_table import field_nm, kept_frames, metadata_value
from planeloc.psf import read_psf
from planeloc.psf.bound_table import many_position_bounds
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.coverage import Coverage

_LOG = logging.getLogger(__name__)


def evaluate(
    localizations_file: Path,
    truth: Path | None,
    output: Path,
    figure: Path,
    settings: EvaluateSettings,
    psf: Path | None = None,
    microscope: Path | None = None,
    registration: Path | None = None,
) -> str:
    """Write the quality values of a table; returns a summary in one line.

    Parameters
    ----------
    truth : ground-truth table (CSV), which adds the figures of merit.
    output, figure : quality values (JSON) and figure (PNG) to write.
    psf, microscope : both or neither; they add the errors relative to the Cramér–Rao bound.
    registration : transforms of the cameras, from which the bound knows what each of them sees; None: all see all.

    Raises
    ------
    PlanelocError : a file cannot be read, or the files do not belong together.
    """
    check(settings)
    if (psf is None) != (microscope is None):
        raise PlanelocError("--psf and --microscope: give both or none; the bound needs PSF and noise")
    table, metadata = localization_table.read(localizations_file)
    for key in ("frames", "depth_range_nm", "voxel_nm"):
        metadata_value(localizations_file, metadata, key)
    values = statistics(table, metadata)
    checks = statistics_checks(values, settings)
    if truth is None:
        figures.write_statistics(figure, table, metadata)
        write_json(output, quality_dict(values, checks), METRICS)
        return _statistics_summary(values)
    if metadata.get("sample_drift", {}).get("corrected"):
        _LOG.warning(
            f"{localizations_file}: the sample is at its mean position, without its drift; ground truth that contains "
            "the drift, or begins at another position, does not fit; compare it with `correct_drift: mode: never`"
        )
    comparison = _compare(localizations_file, table, metadata, truth, settings)
    low, high = metadata["depth_range_nm"]
    merits = metrics.scores(comparison) | metrics.voxel_scores(comparison, tuple(metadata["voxel_nm"]), low)
    if psf and microscope:
        size = (int(metadata_value(localizations_file, metadata, name)) for name in ("height_px", "width_px"))
        coverage = Coverage(Registration.read(registration), tuple(size)) if registration else None
        bounds = _bounds(comparison, values["background_median"], psf, microscope, coverage)
        merits |= metrics.bound_scores(comparison, bounds)
        if coverage:
            merits |= metrics.edge_scores(comparison, bounds, coverage, metadata["pixel_size_nm"])
    depths = metrics.by_depth(comparison, np.linspace(low, high, settings.depth_bins + 1))
    content = quality_dict({**merits, **values}, [*accuracy_checks(merits, settings), *checks])
    content["by_depth"] = [{name: _json_number(value) for name, value in row.items()} for row in depths]
    figures.write_comparison(figure, comparison, merits, depths)
    write_json(output, content, METRICS)
    return _accuracy_summary(merits)


def _compare(
    path: Path, table: pd.DataFrame, metadata: Mapping[str, Any], truth: Path, settings: EvaluateSettings
) -> metrics.Comparison:
    size = field_nm(path, metadata)
    if 2 * settings.border_nm >= min(size):
        raise PlanelocError(
            f"{path}: a border of {settings.border_nm:g} nm leaves none of a field of {size[0]:g} × {size[1]:g} nm; "
            "reduce evaluate: border_nm"
        )
    molecules = read_ground_truth(truth)
    last = int(molecules["frame"].max()) if len(molecules) else 0
    if last >= metadata["frames"] or (len(molecules) and molecules["frame"].min() < 0):
        raise PlanelocError(
            f"{truth}: frames {molecules['frame'].min()} to {last} (counted from 0) do not fit a movie of "
            f"{metadata['frames']} frames; is it the ground truth of this movie?"
        )
    kept = kept_frames(metadata)  # without an image of every camera, a molecule is not missed
    return metrics.compare(table, molecules[kept[molecules["frame"]]], size, settings)


def _bounds(
    comparison: metrics.Comparison, background: float, psf: Path, microscope: Path, coverage: Coverage | None
) -> NDArray[np.float64]:
    """Cramér–Rao bounds of the molecules that were found, (pairs, 3) nm."""
    model, scope = read_psf(psf), read_microscope(microscope)
    pixels = (model.pixel_size_nm, scope.pixel_size_nm)
    if model.planes != scope.planes or not math.isclose(*pixels, rel_tol=1e-3):
        raise PlanelocError(
            f"{psf}: {model.planes} planes and pixels of {pixels[0]:g} nm, but {microscope} has {scope.planes} "
            f"cameras and {pixels[1]:g} nm; give the PSF that was calibrated for this microscope"
        )
    noise = PixelNoise.of(scope.cameras)
    molecules = (model, noise, comparison.truth_nm, comparison.photons, max(background, 0.0))
    if coverage is None:
        return many_position_bounds(*molecules)
    if coverage.registration.planes != model.planes:
        raise PlanelocError(f"{psf}: {model.planes} planes, but the registration has {coverage.registration.planes}")
    return bounds_on_cameras(*molecules, coverage)


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _accuracy_summary(values: Mapping[str, float]) -> str:
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
