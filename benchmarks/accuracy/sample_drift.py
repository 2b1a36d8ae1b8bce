"""How accurate is the correction of sample drift? Four methods on the same tables with known drift.

    python -m benchmarks.accuracy.sample_drift --rows 200000 --structures filaments --drifts linear steps

Tables of blinking molecules on a structure, which drifts: filaments (60 in 30 µm), clusters, dense (40 filaments in
8 µm), sparse (250 filaments in 45 µm), and random points, each of which blinks once, so that nothing can be aligned.
Precision is 10 nm laterally and 25 nm axially in the middle, a blink lasts three frames in the mean, a molecule blinks
four times in the mean, one localization of twenty is at a random place. The movie has 10,000 frames (39,000 for a
million localizations and more).

The residual is the rms over the frames of the estimated less the true trajectory, after both means are removed; two
thirds of the frames are below the second number, since a jump of the sample that is found one frame too late adds much
to an rms. The bound is the standard deviation of an estimator that knows which blinks are of one molecule, knows the
structure and smooths as planeloc does (`tests.support.drifting_tables`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from benchmarks.support import drift_methods
from benchmarks.support.record import Record, add_json_option, largest_memory_mb, run_again
from benchmarks.tables import TABLES
from tests.support.drifting_tables import DRIFTS, STRUCTURES, DriftingTable, drifting_table

from planeloc.postprocessing.sample_drift import SampleDrift, sample_drift
from planeloc.postprocessing.settings import CorrectDriftSettings
from planeloc.postprocessing.trajectory import Information, Posterior, Walk, most_likely_walk

METHODS: dict[str, Callable] = {
    "cross-correlation": drift_methods.cross_correlation,
    "intersections": drift_methods.intersections,
    "entropy": drift_methods.entropy,
    "planeloc": sample_drift,
}


def frames_of(rows: int) -> int:
    return 39_000 if rows >= 1_000_000 else 10_000


def bound_nm(made: DriftingTable) -> tuple[float, float]:
    """Lateral (mean of x and y) and axial standard deviation of the trajectory that the information allows."""
    frames = len(made.drift_nm)
    times = frames
    variances = []
    for axis in range(3):
        frame = made.table["frame"].to_numpy() * times // frames
        own = np.bincount(frame, made.information[:, axis, axis], times) + 1e-12
        information = Information(own, (own / own.sum())[:, None], np.array([[own.sum()]]))
        path = made.drift_nm[((np.arange(times) + 0.5) * frames / times).astype(int), axis]
        pull = information.times(path)
        walk = most_likely_walk(information, pull - pull.mean(), Walk(30.0, 30.0, np.ones(times - 1)), search=True)
        variances.append(Posterior(walk, information, pull).variance(own).mean())
    return float(np.sqrt((variances[0] + variances[1]) / 2)), float(np.sqrt(variances[2]))


def measure(structure: str, drift: str, rows: int, total_nm: float, seed: int, method: str) -> str:
    """One method on one table, in this process; results as JSON."""
    made = drifting_table(structure, drift, rows, frames=frames_of(rows), total_nm=total_nm, seed=seed)
    table = made.table
    given = (
        table["frame"].to_numpy(),
        table[["x", "y", "z"]].to_numpy(),
        table[["x_sd", "y_sd", "z_sd"]].to_numpy(),
        len(made.drift_nm),
    )
    start = time.process_time()
    found = METHODS[method](*given)
    values = {"cpu_s": time.process_time() - start, "memory_mb": largest_memory_mb()}
    if isinstance(found, SampleDrift):
        corrected = found.beyond_doubt(CorrectDriftSettings().minimum_significance)
        values |= {"corrected": "yes" if corrected else "no", "significance": found.significance}
        path = found.trajectory.drift_nm if corrected else np.zeros_like(made.drift_nm)
        error, before = _error(path, made), _error(np.zeros_like(path), made)
        if corrected:
            normalised = np.sqrt((error**2 / found.trajectory.sd_nm**2).mean(axis=0))
            values |= {f"normalised_error_{axis}": normalised[number] for number, axis in enumerate("xyz")}
        values |= dict(zip(("bound_lateral_nm", "bound_axial_nm"), bound_nm(made), strict=True))
    else:
        error, before = _error(found, made), _error(np.zeros_like(found), made)
    lateral = np.sqrt((error[:, :2] ** 2).mean(axis=1))
    values |= {
        "before_lateral_nm": np.sqrt((before[:, :2] ** 2).mean()),
        "before_axial_nm": np.sqrt((before[:, 2] ** 2).mean()),
        "residual_lateral_nm": np.sqrt((error[:, :2] ** 2).mean()),
        "residual_axial_nm": np.sqrt((error[:, 2] ** 2).mean()),
        "two_thirds_lateral_nm": np.quantile(lateral, 2 / 3),
        "two_thirds_axial_nm": np.quantile(np.abs(error[:, 2]), 2 / 3),
    }
    return json.dumps({key: value if isinstance(value, str) else float(value) for key, value in values.items()})


def _error(path: np.ndarray, made: DriftingTable) -> np.ndarray:
    error = path - made.drift_nm
    return error - error.mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000])
    parser.add_argument("--structures", nargs="+", default=["filaments"], choices=STRUCTURES)
    parser.add_argument("--drifts", nargs="+", default=list(DRIFTS), choices=DRIFTS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--total-nm", type=float, default=500.0, help="range of the drift")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extend", action="store_true", help="keep the rows of earlier runs of the same commit")
    add_json_option(parser)
    parser.add_argument("--measure", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        structure, drift, rows, total, seed, method = options.measure
        print(measure(structure, drift, int(rows), float(total), int(seed), method))
        return
    record = Record("sample_drift", options.json, options.extend)
    for rows in options.rows:
        for structure in options.structures:
            for drift in options.drifts:
                for method in options.methods:
                    case = [structure, drift, str(rows), str(options.total_nm), str(options.seed), method]
                    values = json.loads(run_again(["--measure", *case]).splitlines()[-1])
                    record.add(
                        structure=structure, drift=drift, rows=rows, total_nm=options.total_nm, method=method, **values
                    )
    record.show(*TABLES["sample_drift"].columns)


if __name__ == "__main__":
    main()
