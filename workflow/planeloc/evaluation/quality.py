"""Quality values of a table of localizations, and verdicts on its accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.evaluation.metrics import AXES

_DEPTH_ENDS = 0.1  # the outermost tenth of the depth range on either side


def statistics(table: pd.DataFrame, metadata: Mapping[str, Any]) -> dict[str, float]:
    """Quality values of a table that need no ground truth."""
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
        "photons_median": median(table["photons"]),
        "background_median": median(table["background"]),
        "probability_median": median(table["probability"]),
        "lateral_sd_median_nm": median(lateral_sd),
        "axial_sd_median_nm": median(table["z_sd"]),
        "depth_median_nm": median(table["z"]),
        "depth_ends_fraction": float(((z < low + end) | (z > high - end)).mean()) if len(z) else math.nan,
    }


def median(values: pd.Series) -> float:
    """Median of the known values; NaN for an empty table."""
    return float(values.median()) if len(values) else math.nan


def statistics_checks(values: Mapping[str, float]) -> list[Check]:
    """Verdicts that need no ground truth."""
    advice = "check the movie and the calibration; is the threshold of localize too high?"
    checks = [check_at_least("localizations", values["localizations"], advice, warn=100, fail=1)]
    if values["localizations"]:
        ends = "many molecules lie at the ends of the depth range; is the sample thicker than the range of the planes?"
        checks.append(check_at_most("depth_ends_fraction", values["depth_ends_fraction"], ends, warn=0.5))
        checks.append(check_at_most("empty_frames_fraction", values["empty_frames_fraction"], advice, warn=0.9))
    return checks


def accuracy_checks(values: Mapping[str, float]) -> list[Check]:
    """Verdicts on the figures of merit; a movie of ordinary brightness and density passes them all."""
    checks = [
        check_at_least(
            "recall",
            values["recall"],
            "raise the laser power or lower the threshold",
            warn=0.7,
            fail=0.3,
        ),
        check_at_least("precision", values["precision"], "raise the threshold or filter", warn=0.8, fail=0.5),
    ]
    if values["true_positives"]:
        fit = "check that PSF, registration and network belong to this movie"
        checks += [
            check_at_most("rmse_lateral_nm", values["rmse_lateral_nm"], fit, warn=50, fail=150),
            check_at_most("rmse_axial_nm", values["rmse_axial_nm"], fit, warn=100, fail=300),
        ]
        shift = "a constant shift; check that ground truth and movie have the same origin and direction of depth"
        for axis, limit in zip(AXES, (15, 15, 30), strict=True):
            checks.append(check_at_most(f"bias_{axis}_nm", abs(values[f"bias_{axis}_nm"]), shift, warn=limit))
    return checks
