"""How accurate is the correction of sample drift? Several methods on the same tables with known drift.

    python -m benchmarks.accuracy.sample_drift --rows 200000 --structures filaments --drifts linear steps

Tables of blinking molecules on a structure, which drifts: filaments (60 in 30 µm), clusters, dense (40 filaments in
8 µm), sparse (250 filaments in 45 µm), and random points, each of which blinks once, so that nothing can be aligned.
Precision is 10 nm laterally and 25 nm axially in the middle, a blink lasts three frames in the mean, a molecule blinks
four times in the mean, one localization of twenty is at a random place. The movie has 10,000 frames (39,000 for a
million localizations and more).

The residual is the rms over the frames of the estimated less the true trajectory, after both means are removed; two
thirds of the frames are below the second number, since a jump of the sample that is found one frame too late adds much
to an rms. The bound is the error of an estimator that knows which localizations are of one molecule, knows the
structure and smooths as planeloc does. It is one draw of the errors, so a residual may be a little below it.

Picasso's AIM (`--picasso`) and COMET (`--comet`) run in environments of their own.
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

_ORACLE_ROUNDS, _LONGEST_BLINK = 6, 40  # frames

METHODS: dict[str, Callable] = {
    "cross-correlation": drift_methods.cross_correlation,
    "intersections": drift_methods.intersections,
    "entropy": drift_methods.entropy,
    "planeloc": sample_drift,
}
OTHERS = {"Picasso": drift_methods.by_picasso, "COMET": drift_methods.by_comet}


def frames_of(rows: int) -> int:
    return 39_000 if rows >= 1_000_000 else 10_000


def bound_nm(made: DriftingTable) -> tuple[float, float]:
    """Lateral (rms of x and y) and axial error of an estimator that knows the molecules and smooths as planeloc does.

    It sees the true drift with errors drawn by the information of the localizations, each at its own frame.
    """
    squares = [_oracle(made, axis) for axis in range(3)]
    return float(np.sqrt((squares[0] + squares[1]) / 2)), float(np.sqrt(squares[2]))


def _oracle(made: DriftingTable, axis: int) -> float:
    """Mean squared error along one axis."""
    frames, path = len(made.drift_nm), made.drift_nm[:, axis]
    information, noise = drifting_information(made, axis)
    walk = Walk(30.0, 30.0, np.ones(frames - 1))
    pull = information.times(path) + noise
    for number in range(_ORACLE_ROUNDS):
        walk = most_likely_walk(information, pull, walk, search=number == 0)
    error = Posterior(walk, information, pull).mean - path
    return float(((error - error.mean()) ** 2).mean())


def drifting_information(made: DriftingTable, axis: int) -> tuple[Information, np.ndarray]:
    """What the localizations say of the drift if a blink's molecule is known, and one draw of the pull of their errors.

    The molecule's place, from its other blinks and the structure, has the precision at which the blink as a whole has
    the information of the table.
    """
    rows = np.flatnonzero(made.blink >= 0)
    rows = rows[np.lexsort((made.table["frame"].to_numpy()[rows], made.blink[rows]))]
    frame, frames = made.table["frame"].to_numpy()[rows], len(made.drift_nm)
    blink = np.unique(made.blink[rows], return_inverse=True)[1]
    weight = 1 / made.table[f"{'xyz'[axis]}_sd"].to_numpy()[rows] ** 2
    total = np.bincount(blink, weight)
    part = np.clip(np.bincount(blink, made.information[rows, axis, axis]) / total, 1e-9, 1 - 1e-9)
    band = np.zeros((_LONGEST_BLINK, frames))
    band[0] = np.bincount(frame, weight, frames) + 1e-12
    for lag in range(_LONGEST_BLINK):
        one = np.flatnonzero(blink[lag:] == blink[: len(blink) - lag])
        one = one[frame[one + lag] - frame[one] < _LONGEST_BLINK]
        both = -((1 - part) / total)[blink[one]] * weight[one] * weight[one + lag]
        np.add.at(band, (frame[one + lag] - frame[one], frame[one]), both)
    random, sums = np.random.default_rng(axis), np.bincount(frame, part[blink] * weight, frames) + 1e-12
    place = total * part / (1 - part)  # precision of the molecule's place
    error = random.normal(size=len(rows)) / np.sqrt(weight) + (random.normal(size=len(total)) / np.sqrt(place))[blink]
    estimate = np.bincount(blink, weight * error) / (total + place)
    noise = np.bincount(frame, weight * (error - estimate[blink]), frames)
    information = Information(band, (sums / sums.sum())[:, None], np.array([[sums.sum()]]))
    return information, noise - noise.sum() * sums / sums.sum()


def measure(structure: str, drift: str, rows: int, total_nm: float, seed: int, method: str, interpreter: str) -> str:
    """One method on one table, in this process; results as JSON."""
    made = drifting_table(structure, drift, rows, frames=frames_of(rows), total_nm=total_nm, seed=seed)
    before = _error(np.zeros_like(made.drift_nm), made)
    values = {
        "before_lateral_nm": np.sqrt((before[:, :2] ** 2).mean()),
        "before_axial_nm": np.sqrt((before[:, 2] ** 2).mean()),
    }
    try:
        path, more = _run(made, method, total_nm, interpreter)
    except RuntimeError as error:  # of another program: the other rows still count
        return json.dumps({key: float(value) for key, value in values.items()} | {"corrected": f"stopped: {error}"})
    error = _error(path, made)
    lateral = np.sqrt((error[:, :2] ** 2).mean(axis=1))
    values |= more | {
        "residual_lateral_nm": np.sqrt((error[:, :2] ** 2).mean()),
        "residual_axial_nm": np.sqrt((error[:, 2] ** 2).mean()),
        "two_thirds_lateral_nm": np.quantile(lateral, 2 / 3),
        "two_thirds_axial_nm": np.quantile(np.abs(error[:, 2]), 2 / 3),
    }
    return json.dumps({key: value if isinstance(value, str) else float(value) for key, value in values.items()})


def _run(made: DriftingTable, method: str, total_nm: float, interpreter: str) -> tuple[np.ndarray, dict]:
    """The drift that a method finds, and what else is known of it."""
    table, frames = made.table, len(made.drift_nm)
    if method in OTHERS:
        largest = (1.5 * total_nm,) if method == "COMET" else ()
        path, spent = OTHERS[method](interpreter, table, frames, *largest)
        return path, {"cpu_s": spent}
    columns = table["frame"].to_numpy(), table[["x", "y", "z"]].to_numpy(), table[["x_sd", "y_sd", "z_sd"]].to_numpy()
    start = time.process_time()
    found = METHODS[method](*columns, frames)
    values = {"cpu_s": time.process_time() - start, "memory_mb": largest_memory_mb()}
    if not isinstance(found, SampleDrift):
        return found, values
    corrected = found.beyond_doubt(CorrectDriftSettings().minimum_significance)
    values |= {"corrected": "yes" if corrected else "no", "significance": found.significance}
    values |= dict(zip(("bound_lateral_nm", "bound_axial_nm"), bound_nm(made), strict=True))
    if not corrected:
        return np.zeros_like(made.drift_nm), values
    normalised = np.sqrt((_error(found.trajectory.drift_nm, made) ** 2 / found.trajectory.sd_nm**2).mean(axis=0))
    values |= {f"normalised_error_{axis}": normalised[number] for number, axis in enumerate("xyz")}
    return found.trajectory.drift_nm, values


def _error(path: np.ndarray, made: DriftingTable) -> np.ndarray:
    error = path - made.drift_nm
    return error - error.mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000])
    parser.add_argument("--structures", nargs="+", default=["filaments"], choices=STRUCTURES)
    parser.add_argument("--drifts", nargs="+", default=list(DRIFTS), choices=DRIFTS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, *OTHERS])
    parser.add_argument("--picasso", default="", help="Python of an environment with picassosr")
    parser.add_argument("--comet", default="", help="Python of an environment with comet-smlm")
    parser.add_argument("--total-nm", type=float, default=500.0, help="range of the drift")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extend", action="store_true", help="keep the rows of earlier runs of the same commit")
    add_json_option(parser)
    parser.add_argument("--measure", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        structure, drift, rows, total, seed, method, interpreter = options.measure
        print(measure(structure, drift, int(rows), float(total), int(seed), method, interpreter))
        return
    record = Record("sample_drift", options.json, options.extend)
    for rows in options.rows:
        for structure in options.structures:
            for drift in options.drifts:
                for method in options.methods:
                    case = [structure, drift, str(rows), str(options.total_nm), str(options.seed), method]
                    case.append({"Picasso": options.picasso, "COMET": options.comet}.get(method, ""))
                    values = json.loads(run_again(["--measure", *case]).splitlines()[-1])
                    record.add(
                        structure=structure, drift=drift, rows=rows, total_nm=options.total_nm, method=method, **values
                    )
    record.show(*TABLES["sample_drift"].columns)


if __name__ == "__main__":
    main()
