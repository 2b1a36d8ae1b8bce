"""Accuracy of localizations against the ground truth: counts, errors and the figures of merit of the field.

Definitions (Sage et al. 2019): recall = TP/(TP + FN), precision = TP/(TP + FP), Jaccard = TP/(TP + FP + FN),
RMSE lateral = sqrt(mean(dx² + dy²)) (both axes together; the RMSE per axis is √2 smaller),
efficiency E = 100 − sqrt((100 − 100 Jaccard)² + (α RMSE)²) with α = 1 nm⁻¹ laterally and 0.5 nm⁻¹ axially; in 3D
their mean.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.evaluation.settings import EvaluateSettings
from planeloc.scenes.truth_matching import Points, match
from planeloc.transforms.coverage import Coverage

_ALPHA_LATERAL = 1.0  # 1/nm
_ALPHA_AXIAL = 0.5  # 1/nm
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Comparison:
    """Localizations paired with the molecules of the ground truth."""

    found_nm: NDArray[np.float64]  # (pairs, 3)
    truth_nm: NDArray[np.float64]  # (pairs, 3)
    sd_nm: NDArray[np.float64]  # (pairs, 3), stated standard deviation, NaN where unknown
    photons: NDArray[np.float64]  # (pairs,), true
    molecule_nm: NDArray[np.float64]  # (molecules, 3), all that count, detected or not
    molecule_photons: NDArray[np.float64]
    detected: NDArray[np.bool_]
    false_positives: int

    @property
    def error_nm(self) -> NDArray[np.float64]:
        """Found minus true, (pairs, 3)."""
        return self.found_nm - self.truth_nm


def compare(
    table: pd.DataFrame, truth: pd.DataFrame, size_nm: tuple[float, float], settings: EvaluateSettings
) -> Comparison:
    """Match all localizations with all molecules, then apply the border and the minimum brightness.

    A molecule counts if it lies at least `border_nm` inside the field and has `minimum_truth_photons`. Matching comes
    first, so that the border has no edge effect:

    - a pair counts if its molecule does, wherever the localization lies;
    - a localization paired with a molecule that does not count is not counted;
    - an unpaired localization is a false positive if it lies inside the border.

    `truth` has the columns of `read_ground_truth`, and `size_nm` is the (width, height) of the field.
    """
    found, molecules = (
        Points(rows["frame"].to_numpy(dtype=np.int64), rows[list(AXES)].to_numpy(dtype=np.float64))
        for rows in (table, truth)
    )
    pairs = match(found, molecules, settings.lateral_nm, settings.axial_nm)
    photons = truth["photons"].to_numpy(dtype=np.float64)
    counts = _inside(molecules.position_nm, size_nm, settings.border_nm) & ~(photons < settings.minimum_truth_photons)
    alone = np.ones(len(found), dtype=bool)
    alone[pairs.found] = False
    detected = np.zeros(len(molecules), dtype=bool)
    detected[pairs.truth] = True
    kept = counts[pairs.truth]
    sd = table[[f"{axis}_sd" for axis in AXES]].to_numpy(dtype=np.float64)
    return Comparison(
        found_nm=found.position_nm[pairs.found[kept]],
        truth_nm=molecules.position_nm[pairs.truth[kept]],
        sd_nm=sd[pairs.found[kept]],
        photons=photons[pairs.truth[kept]],
        molecule_nm=molecules.position_nm[counts],
        molecule_photons=photons[counts],
        detected=detected[counts],
        false_positives=int((alone & _inside(found.position_nm, size_nm, settings.border_nm)).sum()),
    )


def _inside(position_nm: NDArray[np.float64], size_nm: tuple[float, float], border_nm: float) -> NDArray[np.bool_]:
    x, y = position_nm[:, 0], position_nm[:, 1]
    edge = np.minimum(np.minimum(x, size_nm[0] - x), np.minimum(y, size_nm[1] - y))
    return edge >= border_nm


def scores(comparison: Comparison) -> dict[str, float]:
    """Figures of merit by name; NaN where they are undefined."""
    hits, misses, wrong = len(comparison.found_nm), int((~comparison.detected).sum()), comparison.false_positives
    error = comparison.error_nm
    lateral, axial = rmse_lateral(error), rmse_axial(error)
    jaccard = _ratio(hits, hits + misses + wrong)
    efficiency = [_efficiency(jaccard, lateral, _ALPHA_LATERAL), _efficiency(jaccard, axial, _ALPHA_AXIAL)]
    result = {
        "true_positives": hits,
        "false_positives": wrong,
        "false_negatives": misses,
        "recall": _ratio(hits, hits + misses),
        "precision": _ratio(hits, hits + wrong),
        "jaccard": jaccard,
        "rmse_lateral_nm": lateral,
        "rmse_axial_nm": axial,
        "efficiency_lateral": efficiency[0],
        "efficiency_axial": efficiency[1],
        "efficiency_3d": sum(efficiency) / 2,
    }
    for number, axis in enumerate(AXES):
        result[f"bias_{axis}_nm"] = _mean(error[:, number])
        result[f"normalised_error_{axis}"] = _rms(error[:, number] / comparison.sd_nm[:, number])
    return result


def voxel_scores(comparison: Comparison, voxel_nm: tuple[float, float, float], bottom_nm: float) -> dict[str, float]:
    """Errors as in Table 3 of the paper: mean distance between the estimated and the true voxel, nm.

    `bottom_nm` is the depth at which the first voxel begins. Positions within a voxel do not matter.
    """
    corner = np.array([0.0, 0.0, bottom_nm])
    found, truth = (np.floor((p - corner) / voxel_nm) for p in (comparison.found_nm, comparison.truth_nm))
    difference = (found - truth) * voxel_nm
    return {
        "voxel_error_lateral_nm": _mean(np.hypot(difference[:, 0], difference[:, 1])),
        "voxel_error_axial_nm": _mean(np.abs(difference[:, 2])),
    }


def bound_scores(comparison: Comparison, bound_nm: NDArray[np.float64]) -> dict[str, float]:
    """Root mean squares of the Cramér–Rao bounds (pairs, 3), and of the errors relative to them.

    No unbiased estimate of a single, isolated molecule with known camera transforms is below 1.
    """
    squared, limit = comparison.error_nm**2, bound_nm**2
    return {
        "bound_lateral_nm": rmse_lateral(bound_nm),
        "bound_axial_nm": rmse_axial(bound_nm),
        "rmse_lateral_over_bound": _rms(np.sqrt(squared[:, :2].sum(axis=1) / limit[:, :2].sum(axis=1))),
        "rmse_axial_over_bound": _rms(np.sqrt(squared[:, 2] / limit[:, 2])),
    }


def edge_scores(
    comparison: Comparison, bound_nm: NDArray[np.float64], coverage: Coverage, pixel_size_nm: float
) -> dict[str, float]:
    """How well molecules are found that all cameras but one see: `edge_…`; NaN where there are none.

    `bound_nm` (pairs, 3) is that of the cameras that see them.
    """
    missing = coverage.registration.planes - 1
    found, all_ = (
        coverage.seen(position[:, :2] / pixel_size_nm).sum(axis=-1) == missing
        for position in (comparison.truth_nm, comparison.molecule_nm)
    )
    error, bound, sd = comparison.error_nm[found], bound_nm[found], comparison.sd_nm[found]
    lateral = (error[:, :2] ** 2).sum(axis=1) / (bound[:, :2] ** 2).sum(axis=1)
    return {
        "edge_molecules": int(all_.sum()),
        "edge_recall": _mean(comparison.detected[all_]),
        "edge_lateral_over_bound": _rms(np.sqrt(lateral)),
        "edge_axial_over_bound": _rms(error[:, 2] / bound[:, 2]),
        **{f"edge_normalised_error_{axis}": _rms(error[:, n] / sd[:, n]) for n, axis in enumerate(AXES)},
    }


def by_depth(comparison: Comparison, edges_nm: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Recall, errors and bias by interval of true depth."""
    result = []
    for low, high in itertools.pairwise(edges_nm):
        inside = _between(comparison.molecule_nm[:, 2], low, high)
        error = comparison.error_nm[_between(comparison.truth_nm[:, 2], low, high)]
        result.append(
            {
                "depth_nm": [float(low), float(high)],
                "molecules": int(inside.sum()),
                "recall": _mean(comparison.detected[inside]),
                "rmse_lateral_nm": rmse_lateral(error),
                "rmse_axial_nm": rmse_axial(error),
                **{f"bias_{axis}_nm": _mean(error[:, number]) for number, axis in enumerate(AXES)},
            }
        )
    return result


def _between(values: NDArray, low: float, high: float) -> NDArray[np.bool_]:
    return (values >= low) & (values < high)


def rmse_lateral(error_nm: NDArray[np.float64]) -> float:
    """sqrt(mean(dx² + dy²)) of errors (n, 3)."""
    return _rms(np.hypot(error_nm[:, 0], error_nm[:, 1]))


def rmse_axial(error_nm: NDArray[np.float64]) -> float:
    """sqrt(mean dz²) of errors (n, 3)."""
    return _rms(error_nm[:, 2])


def _efficiency(jaccard: float, rmse_nm: float, alpha: float) -> float:
    return 100.0 - math.hypot(100.0 - 100.0 * jaccard, alpha * rmse_nm)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: NDArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _rms(values: NDArray) -> float:
    values = values[np.isfinite(values)]
    return math.sqrt(float(np.mean(values**2))) if len(values) else math.nan
