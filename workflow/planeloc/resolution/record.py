"""Everything that was measured of the resolution, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from planeloc.resolution.neighbouring_frames import Precision
from planeloc.resolution.quality import limit_of
from planeloc.resolution.results import Measured, Slice
from planeloc.resolution.ring_sums import THRESHOLD, Resolution, RingSums
from planeloc.resolution.settings import MeasureResolutionSettings


def resolution_record(
    measured: Measured, values: Mapping[str, float], settings: MeasureResolutionSettings
) -> dict[str, Any]:
    """Values, curves, histograms and slices of depth; None where something cannot be told."""
    return _plain(
        {
            "limited_by": limit_of(values),
            "values": dict(values),
            "threshold": THRESHOLD,
            "pixel_nm": measured.pixel_nm,
            "random_divisions_nm": measured.splits_nm,
            "curves": {name: _curve(sums, measured.resolutions[name]) for name, sums in measured.sums.items()},
            "nena": {name: _histogram(found) for name, found in measured.nena.items()},
            "depth": [_slice(each) for each in measured.slices],
            "settings": asdict(settings),
        }
    )


def _curve(sums: RingSums, found: Resolution) -> dict[str, Any]:
    return {
        "resolution_nm": found.nm,
        "resolution_sd_nm": found.sd_nm,
        "cannot_tell": found.reason,
        "frequency_per_nm": [round(float(v), 7) for v in sums.frequency],
        "correlation": [round(float(v), 5) for v in sums.correlation],
    }


def _histogram(found: Precision) -> dict[str, Any]:
    return {
        "precision_nm": found.value,
        "precision_sd_nm": found.sd,
        "edges_nm": [round(float(v), 3) for v in found.edges],
        "counts": [int(v) for v in found.counts],
        "fit": [round(float(v), 2) for v in found.fit],
        "other_molecules": [round(float(v), 2) for v in found.background],
    }


def _slice(each: Slice) -> dict[str, Any]:
    return {
        "depth_nm": [each.low_nm, each.high_nm],
        "molecules": each.molecules,
        "frc_nm": each.frc.nm,
        "frc_sd_nm": each.frc.sd_nm,
        "cannot_tell": each.frc.reason,
        **dict(zip(("linked_precision_lateral_nm", "linked_precision_axial_nm"), each.stated, strict=True)),
        **dict(zip(("nena_lateral_nm", "nena_axial_nm"), each.nena, strict=True)),
        **dict(zip(("precision_ratio_lateral", "precision_ratio_axial"), each.ratio, strict=True)),
        "nyquist_lateral_nm": each.spacing.nyquist_nm,
        "structure_dimension": each.spacing.dimension,
    }


def _plain(value: Any) -> Any:
    """The same with None in the place of what is not finite, and no numbers of NumPy's."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    return float(value) if math.isfinite(value) else None
