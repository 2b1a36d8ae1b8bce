"""Quality values of a table of localizations, and verdicts on its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io.localization_table import kept_frames

_DEPTH_ENDS = 0.1  # the outermost tenth of the depth range on either side
_FIT = "check that PSF, registration and network belong to this movie"
_SHIFT = "a constant shift; check that ground truth and movie have the same origin and direction of depth"


def statistics(table: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, float]:
    """Quality values of a table that need no ground truth; medians of unknown values are NaN."""
    kept = kept_frames(metadata)
    frames = int(np.count_nonzero(kept))
    per_frame = np.bincount(table["frame"], minlength=len(kept))[: len(kept)][kept]
    low, high = metadata["depth_range_nm"]
    end = _DEPTH_ENDS * (high - low)
    z = table["z"].to_numpy()
    coverage = metadata.get("coverage", {})
    at_edges = {
        "common_field_fraction": coverage.get("common_share"),
        "partly_seen": coverage.get("partly_seen"),
        "left_out_at_edges": coverage.get("left_out"),
    }
    return {
        **{name: value for name, value in at_edges.items() if value is not None},
        "localizations": len(table),
        "frames": frames,
        "localizations_per_frame": len(table) / frames if frames else math.nan,
        "empty_frames_fraction": float((per_frame == 0).mean()) if frames else math.nan,
        "photons_median": float(table["photons"].median()),
        "background_median": float(table["background"].median()),
        "probability_median": float(table["probability"].median()),
        "lateral_sd_median_nm": float(lateral_sd(table).median()),
        "axial_sd_median_nm": float(table["z_sd"].median()),
        "depth_median_nm": float(table["z"].median()),
        "depth_ends_fraction": float(((z < low + end) | (z > high - end)).mean()) if len(z) else math.nan,
    }


def lateral_sd(table: pd.DataFrame) -> pd.Series:
    """Stated standard deviation per lateral axis, nm: the rms of both."""
    return np.sqrt((table["x_sd"] ** 2 + table["y_sd"] ** 2) / 2)


def statistics_checks(values: Mapping[str, float], s: EvaluateSettings) -> list[Check]:
    """Verdicts that need no ground truth."""
    advice = "check the movie and the calibration; is the threshold of localize too high?"
    count, ends, empty = (values[f] for f in ("localizations", "depth_ends_fraction", "empty_frames_fraction"))
    checks = [check_at_least("localizations", count, advice, warn=s.localizations_warn, fail=s.localizations_fail)]
    if count:
        thick = "many molecules lie at the ends of the depth range; is the sample thicker than the range of the planes?"
        checks.append(check_at_most("depth_ends_fraction", ends, thick, warn=s.depth_ends_warn))
        checks.append(check_at_most("empty_frames_fraction", empty, advice, warn=s.empty_frames_warn))
    return checks


def accuracy_checks(values: Mapping[str, float], s: EvaluateSettings) -> list[Check]:
    """Verdicts on the figures of merit."""
    dim, wrong = "raise the laser power or lower the threshold", "raise the threshold or filter"
    checks = [
        check_at_least("recall", values["recall"], dim, warn=s.recall_warn, fail=s.recall_fail),
        check_at_least("precision", values["precision"], wrong, warn=s.precision_warn, fail=s.precision_fail),
    ]
    if values["true_positives"]:
        rmse = {
            "rmse_lateral_nm": (s.rmse_lateral_warn_nm, s.rmse_lateral_fail_nm),
            "rmse_axial_nm": (s.rmse_axial_warn_nm, s.rmse_axial_fail_nm),
        }
        checks += [check_at_most(name, values[name], _FIT, warn=w, fail=f) for name, (w, f) in rmse.items()]
        bias = {"x": s.bias_lateral_warn_nm, "y": s.bias_lateral_warn_nm, "z": s.bias_axial_warn_nm}
        checks += [check_at_most(f"bias_{a}_nm", abs(values[f"bias_{a}_nm"]), _SHIFT, warn=w) for a, w in bias.items()]
    return checks
