"""The `correct-drift` stage: the drift of the sample is taken out of the table, or the table stays as it is.

The corrected table has the drift subtracted at every localization's frame, and the standard deviation of the drift is
added in quadrature to its own. The mean drift is zero, so that the table as a whole stays in place.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from planeloc.core.checks import print_warnings, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import TRAJECTORY
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.localization_table import metadata_value
from planeloc.postprocessing.drift_refinement import Trajectory
from planeloc.postprocessing.figure import write_drift
from planeloc.postprocessing.precision import known_or_stated
from planeloc.postprocessing.quality import drift_checks, drift_values
from planeloc.postprocessing.sample_drift import SampleDrift, sample_drift
from planeloc.postprocessing.settings import CorrectDriftSettings

_POSITION, _SD = ["x", "y", "z"], ["x_sd", "y_sd", "z_sd"]


def correct_drift(
    localizations_file: Path,
    output: Path,
    trajectory: Path,
    figure: Path,
    quality: Path,
    settings: CorrectDriftSettings,
) -> dict[str, Any]:
    """Estimate the drift of the sample and write the table without it; returns what was found, for the record.

    Parameters
    ----------
    output : table (HDF5); equal to the one read where nothing is corrected.
    trajectory : drift that was subtracted at every frame, and its standard deviation (CSV).
    figure, quality : figure (PNG) and quality values (JSON) to write.

    Raises
    ------
    PlanelocError : the table cannot be read, or its frames are outside the movie.
    """
    check(settings)
    table, metadata = localization_table.read(localizations_file)
    frames = int(metadata_value(localizations_file, metadata, "frames"))
    if len(table) and not 0 <= table["frame"].min() <= table["frame"].max() < frames:
        raise PlanelocError(
            f"{localizations_file}: frames {table['frame'].min()} to {table['frame'].max()} do not fit a movie of "
            f"{frames} frames; create the table again with `planeloc localize`"
        )
    found = estimate(table, frames, settings) if settings.mode == "auto" else None
    corrected = found is not None and found.beyond_doubt(settings.minimum_significance)
    subtracted = found.trajectory if found and corrected else _nothing(frames)
    values = drift_values(found, corrected, table["frame"].to_numpy())
    checks = drift_checks(values, settings) if found else []
    print_warnings(checks)
    write_drift(figure, found, subtracted, table, values)
    write_trajectory(trajectory, subtracted)
    write_quality(quality, values, checks)
    before = metadata.get("sample_drift", {}).get("corrected", False)  # a table that is corrected again stays corrected
    record = {"corrected": corrected or before, "settings": asdict(settings)}
    if corrected:
        subtract(table, subtracted)
    localization_table.write(output, table, {**metadata, "sample_drift": record}, made_by="correct-drift")
    return {"corrected": corrected, "significance": found.significance if found else None}


def estimate(table: pd.DataFrame, frames: int, settings: CorrectDriftSettings) -> SampleDrift:
    """The drift of a table's sample, from the localizations that are probable enough; unknown probabilities count."""
    rows = ~(table["probability"].to_numpy() < settings.minimum_probability)
    rows &= np.isfinite(table[_POSITION].to_numpy()).all(axis=1)
    return sample_drift(
        table["frame"].to_numpy()[rows],
        table[_POSITION].to_numpy()[rows],
        known_or_stated(table[_SD].to_numpy(), settings)[rows],
        frames,
    )


def _nothing(frames: int) -> Trajectory:
    return Trajectory(np.zeros((frames, 3)), np.zeros((frames, 3)))


def subtract(table: pd.DataFrame, trajectory: Trajectory) -> None:
    """Take the drift out of a table, in place, and add its standard deviation to that of the positions."""
    frame = table["frame"].to_numpy()
    for number, (axis, sd) in enumerate(zip(_POSITION, _SD, strict=True)):
        table[axis] -= trajectory.drift_nm[frame, number]
        table[sd] = np.hypot(table[sd], trajectory.sd_nm[frame, number])


def write_trajectory(path: Path, trajectory: Trajectory) -> None:
    """Write drift and standard deviation at every frame as CSV."""
    columns = {"frame": np.arange(len(trajectory.drift_nm))}
    for number, axis in enumerate(_POSITION):
        columns[f"{axis}_nm"] = trajectory.drift_nm[:, number]
    for number, axis in enumerate(_POSITION):
        columns[f"{axis}_sd_nm"] = trajectory.sd_nm[:, number]
    with atomic_path(path, TRAJECTORY) as partial:
        pd.DataFrame(columns).to_csv(partial, index=False, float_format="%.3f", lineterminator="\n")
