"""How well are blinks linked? planeloc and Picasso on the same tables with known molecules.

    python -m benchmarks.accuracy.linking --picasso /path/to/python --movies benchmarks/scratch/movie

Drawn tables: molecules at random places or on 20 filaments in a field of 10 µm, 5,000 frames, each molecule blinks
three times in the mean. Precision is 10 nm laterally and 25 nm axially in the middle and varies between molecules, 2 %
of the localizations are at random places. `density` is the mean number of localizations per frame and µm².

Movies: folders with localizations.h5, as `localize` writes it, and truth.csv of the simulated acquisition.

Links that should be found are those between successive localizations of a blink with at most four missing frames
between them. A link is false if it joins localizations of different blinks or molecules, or a false positive. RMSE is
that of the localizations, and that of the same with the position of the row that they became part of. Normalised errors
are of merged rows of two localizations or more, from the molecule of which they hold most localizations; of the movies,
also of those that are at least 600 nm from the next molecule that is on. `shared` is the part of the variance that is
drawn once for every blink.

Picasso (`picasso.postprocess`) links within a radius of four times the median lateral precision, and across as many
missing frames. It runs by an interpreter of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import TABLES
from scipy.spatial import cKDTree
from tests.support.blinking_tables import FIELD_NM, FRAMES, blinking_table, previous_of, true_links

from planeloc.io import localization_table
from planeloc.postprocessing.link import link_columns
from planeloc.postprocessing.merge import merge
from planeloc.postprocessing.settings import LinkSettings

SETTINGS = LinkSettings()
LAGS = SETTINGS.maximum_gap_frames + 1
RADIUS = 4.0  # Picasso's, in median lateral precisions
CASES = [  # structure, blinks, mean length of a blink in frames, missed localizations, part of the variance shared
    *(("random", blinks, 4.0, 0.0, 0.0) for blinks in (2_500, 12_500, 60_000)),
    *(("random", round(50_000 / on), on, 0.0, 0.0) for on in (1.0, 2.0, 15.0, 50.0)),
    *(("random", 12_500, 4.0, missed, 0.0) for missed in (0.1, 0.3)),
    *(("random", round(50_000 / on), on, 0.1, 0.12) for on in (4.0, 15.0, 50.0)),
    *(("filaments", blinks, 4.0, 0.0, 0.0) for blinks in (2_500, 12_500, 60_000)),
    *(("filaments", round(50_000 / on), on, 0.1, 0.12) for on in (2.0, 15.0, 50.0)),
]
APART_NM, MATCH_NM = 600.0, 250.0
PICASSO = """
import sys, time
import numpy as np, pandas as pd
from picasso import postprocess
for file in sys.argv[1:]:
    given = dict(np.load(file))
    frame, radius, dark = given["frame"], float(given["radius"]), int(given["dark"])
    locs = pd.DataFrame({k: given[k] for k in ("frame", "x", "y", "z", "lpx", "lpy", "lpz")})
    x, y, one = locs.x.to_numpy(), locs.y.to_numpy(), np.zeros(len(frame), np.int32)
    postprocess._get_link_groups(frame[:100], x[:100], y[:100], radius, dark, one[:100])  # compiles it
    start = time.process_time()
    group = postprocess._get_link_groups(frame, x, y, radius, dark, one)
    used = time.process_time() - start
    info = [{"Frames": int(frame.max()) + 1}]
    merged = postprocess._link_loc_groups(locs, info, group, remove_ambiguous_lengths=False)
    merged = {name: merged[name].to_numpy() for name in ("x", "y", "z", "lpx", "lpy", "lpz")}
    np.savez(file, group=group, cpu_s=used, **merged)
"""


@dataclass(frozen=True)
class Scene:
    """A table by frames, the blink of every row (−1: none), its true position, who is alone, and its case."""

    name: str
    table: pd.DataFrame
    blink: np.ndarray
    place: np.ndarray
    alone: np.ndarray
    said: dict[str, float]


@dataclass(frozen=True)
class Result:
    """The group of every row, and position and standard deviation of the groups."""

    method: str
    group: np.ndarray
    position: np.ndarray
    sd: np.ndarray
    cpu_s: float
    expected_false: float | None = None


def planeloc(table: pd.DataFrame) -> Result:
    columns = {name: table[name].to_numpy() for name in table}
    start = time.process_time()
    found = link_columns(columns, SETTINGS)
    used = time.process_time() - start
    sd = table[["x_sd", "y_sd", "z_sd"]].to_numpy()
    merged = merge(columns, found.blink, np.isfinite(sd), sd, None, found.scatter)
    position, deviation = (np.stack([merged[f"{a}{end}"] for a in "xyz"], axis=1) for end in ("", "_sd"))
    links = len(table) - len(position)
    expected = found.links.expected_false / links if found.links else None
    return Result("planeloc", found.blink, position, deviation, used, expected)


def picasso(tables: list[pd.DataFrame], python: str) -> list[Result]:
    """All tables in one process, whose start takes longer than the rest."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(len(tables))]
        for file, table in zip(files, tables, strict=True):
            radius = RADIUS * float(np.median(table[["x_sd", "y_sd"]]))
            columns = {name: table[name].to_numpy() for name in ("frame", "x", "y", "z")}
            columns |= {f"lp{axis}": table[f"{axis}_sd"].to_numpy() for axis in "xyz"}
            np.savez(file, radius=radius, dark=SETTINGS.maximum_gap_frames, **columns)
        subprocess.run([python, "-c", PICASSO, *map(str, files)], check=True, capture_output=True)
        return [_of_picasso(np.load(file)) for file in files]


def _of_picasso(found: Mapping[str, np.ndarray]) -> Result:
    position, sd = (np.stack([found[f"{begin}{a}"] for a in "xyz"], axis=1) for begin in ("", "lp"))
    return Result("Picasso", found["group"], position, sd, float(found["cpu_s"]))


def assess(scene: Scene, result: Result) -> dict[str, float]:
    """Links and errors of one result."""
    frame = scene.table["frame"].to_numpy()
    wanted, found = true_links(scene.blink, frame, LAGS), previous_of(result.group, frame)
    linked = np.flatnonzero(found >= 0)
    false = (scene.blink[linked] != scene.blink[found[linked]]) | (scene.blink[linked] < 0)
    values = {
        "rows": len(frame),
        "linked_rows": len(result.position),
        "true_blinks": len(np.unique(scene.blink[scene.blink >= 0])) + int((scene.blink < 0).sum()),
        "links_found": float((found[wanted >= 0] == wanted[wanted >= 0]).mean()) if (wanted >= 0).any() else None,
        "false_links": float(false.mean()) if len(linked) else 0.0,
        "expected_false_links": result.expected_false,
        "cpu_s": result.cpu_s,
    }
    single = scene.table[["x", "y", "z"]].to_numpy() - scene.place
    normalised = single / scene.table[["x_sd", "y_sd", "z_sd"]].to_numpy()
    known = np.isfinite(single[:, 0])
    linked_error = (result.position[result.group] - scene.place)[known]
    values |= _errors("before", single[known]) | _errors("after", linked_error)
    values |= _normalised("single", normalised[known])
    values |= _normalised("single_alone", normalised[known & scene.alone])
    truth, number, alone = _truth_of_groups(scene, result.group)
    error = result.position - truth
    known = np.isfinite(error[:, 0])
    several = known & (number > 1)
    values |= _normalised("merged", (error / result.sd)[several])
    return values | _normalised("merged_alone", (error / result.sd)[several & alone])


def _truth_of_groups(scene: Scene, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True position of the molecule of most rows of every group, the number of rows, and whether all are alone."""
    rows = pd.DataFrame({"group": group, "blink": scene.blink, "row": np.arange(len(group))})
    votes = rows.groupby(["group", "blink"])["row"].agg(["size", "min"]).reset_index()
    best = votes.sort_values(["group", "size", "min"], ascending=[True, False, True]).drop_duplicates("group")
    number = np.bincount(group)
    alone = np.bincount(group, ~scene.alone) == 0
    return scene.place[best["min"].to_numpy()], number, alone


def _errors(when: str, error: np.ndarray) -> dict[str, float]:
    lateral, axial = np.sqrt((error[:, :2] ** 2).sum(axis=1).mean()), np.sqrt((error[:, 2] ** 2).mean())
    return {f"rmse_lateral_{when}_nm": lateral, f"rmse_axial_{when}_nm": axial}


def _normalised(what: str, error: np.ndarray) -> dict[str, float]:
    """Root mean square, and the median of the absolute values as a standard deviation."""
    if len(error) < 30:
        return {}
    rms, robust = np.sqrt((error**2).mean(axis=0)), 1.4826 * np.median(np.abs(error), axis=0)
    return {
        f"{what}_{kind}_{axis}": value[number]
        for kind, value in (("rms", rms), ("robust", robust))
        for number, axis in enumerate("xyz")
    }


def drawn(case: tuple[str, int, float, float, float], seed: int) -> Scene:
    """A table that was drawn."""
    structure, blinks, on, missed, shared = case
    made = blinking_table(blinks, structure=structure, on_frames=on, missed=missed, shared=shared, seed=seed)
    density = len(made.table) / FRAMES / (FIELD_NM / 1000) ** 2
    said = {"on_frames": on, "missed": missed, "shared": shared, "density": density}
    return Scene(structure, made.table, made.blink, made.place, made.blink >= 0, said)


def movie(folder: Path) -> Scene:
    """A table that was localized in a simulated movie, matched with its truth."""
    table, _ = localization_table.read(folder / "localizations.h5")
    table = table.sort_values("frame", kind="stable").reset_index(drop=True)
    truth = pd.read_csv(folder / "truth.csv")
    emitter = truth.groupby(["x_nm", "y_nm", "z_nm"], sort=False).ngroup().to_numpy()
    blink = emitter * (int(truth["frame"].max()) + 1) + _first_frames(emitter, truth["frame"].to_numpy())
    at = np.column_stack([table[["x", "y"]], table["z"] / 2, 1e5 * table["frame"]])
    true = np.column_stack([truth[["x_nm", "y_nm"]], truth["z_nm"] / 2, 1e5 * truth["frame"]])
    distance, nearest = cKDTree(true).query(at, distance_upper_bound=MATCH_NM)
    matched = np.isfinite(distance)
    nearest = np.where(matched, nearest, 0)
    matched &= cKDTree(at).query(true)[1][nearest] == np.arange(len(at))
    place = np.where(matched[:, None], truth[["x_nm", "y_nm", "z_nm"]].to_numpy()[nearest], np.nan)
    others = cKDTree(true[:, [0, 1, 3]]).query(true[:, [0, 1, 3]], k=2)[0][:, 1]
    alone = matched & (others[nearest] > APART_NM)
    return Scene(folder.name, table, np.where(matched, blink[nearest], -1), place, alone, {})


def _first_frames(emitter: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """First frame of the blink of every row of a truth: a blink ends where a molecule is off for longer than a link."""
    order = np.lexsort((frame, emitter))
    new = (np.diff(emitter[order], prepend=-1) != 0) | (np.diff(frame[order], prepend=-1) > LAGS)
    first = np.empty(len(frame), np.int64)
    first[order] = frame[order][np.maximum.accumulate(np.where(new, np.arange(len(frame)), 0))]
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picasso", help="Python interpreter of an environment with picassosr")
    parser.add_argument("--movies", type=Path, nargs="*", default=[], help="folders of movies")
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))), help="numbers of drawn tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extend", action="store_true", help="keep the rows of earlier runs of the same commit")
    add_json_option(parser)
    options = parser.parse_args()
    record = Record("linking", options.json, options.extend)
    if options.picasso:
        say = "from importlib.metadata import version; print(version('picassosr'))"
        run = subprocess.run([options.picasso, "-c", say], check=True, capture_output=True, text=True)
        words = ["--picasso", "python", "--movies", *map(str, options.movies)]  # not where the interpreter lies
        record.describe(picasso=run.stdout.strip(), command=["python", "-m", "benchmarks.accuracy.linking", *words])
    scenes = [drawn(CASES[number], options.seed) for number in options.cases] + [movie(path) for path in options.movies]
    others = picasso([scene.table for scene in scenes], options.picasso) if options.picasso else []
    for number, scene in enumerate(scenes):
        for result in (planeloc(scene.table), *others[number : number + 1]):
            record.add(table=scene.name, method=result.method, **scene.said, **assess(scene, result))
    record.show(*TABLES["linking"].columns)


if __name__ == "__main__":
    main()
