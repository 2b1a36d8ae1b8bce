"""Samples and calibrations, checked against each other and against the disk before the first job starts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from preflight import schema as schemas
from preflight.errors import ConfigurationError
from preflight.sheets import Row, read_sheet

# Columns of the calibrations from which the cameras are measured.
_CAMERA_MOVIES = ("dark", "bright", "bright_without_em")

_SIMULATED = "<simulated>/"

# Folders of the results; "demo" is that of `make demo`, which `make clean` deletes, "paper" that of the paper's
# experiments.
RESERVED_NAMES = (
    "acquisition",
    "benchmarks",
    "calibration",
    "demo",
    "experiments",
    "figures",
    "logs",
    "networks",
    "paper",
)


@dataclass(frozen=True)
class Calibration:
    """One microscope on one day: its description, its bead stacks, and movies to measure its cameras by, if any."""

    name: str
    microscope: str
    beads: tuple[str, ...]
    registration_beads: tuple[str, ...]
    z_step_nm: float
    scan: str
    dark: tuple[str, ...]
    bright: tuple[str, ...]
    bright_without_em: tuple[str, ...]

    @property
    def measures_cameras(self) -> bool:
        """Whether the cameras are measured, or what the microscope file says of them holds."""
        return bool(self.dark)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that its row names."""
        movies = (*self.dark, *self.bright, *self.bright_without_em)
        return (self.microscope, *self.beads, *self.registration_beads, *movies)


@dataclass(frozen=True)
class Sample:
    """One movie, the calibration it belongs to, and the true positions where they are known."""

    name: str
    calibration: str
    movie: tuple[str, ...]
    truth: tuple[str, ...]  # one path or none


@dataclass(frozen=True)
class Experiment:
    """Both sheets by name."""

    samples: dict[str, Sample]
    calibrations: dict[str, Calibration]

    def samples_of(self, calibration: str) -> list[str]:
        """Names of the samples that share a calibration, in the order of the sheet."""
        return [sample.name for sample in self.samples.values() if sample.calibration == calibration]

    def files(self) -> list[str]:
        """Every file that the sheets name, each once."""
        calibrations, samples = self.calibrations.values(), self.samples.values()
        named = [path for c in calibrations for path in c.files]
        named += [path for s in samples for path in (*s.movie, *s.truth)]
        return list(dict.fromkeys(named))

    def files_in(self, folder: str) -> list[str]:
        """Those of them whose path begins with `folder`."""
        return [path for path in self.files() if path.startswith(folder)]


def read_experiment(samples: str, calibrations: str, simulated: str | None = None) -> Experiment:
    """Read both sheets and raise `ConfigurationError` for the first mistake in them.

    `simulated` is the folder that a simulation is going to write, with a slash at its end; the sheets call it
    ``<simulated>/``, and files in it may be missing now.
    """

    def will_be_made(path: str) -> bool:
        return simulated is not None and path.startswith(simulated)

    calibration_rows, sample_rows = (
        [_with_folder(row, simulated) for row in read_sheet(sheet, schemas.read_schema(name))]
        for sheet, name in ((calibrations, "calibrations"), (samples, "samples"))
    )
    if not sample_rows and not calibration_rows:
        raise ConfigurationError(
            f"{samples}: no samples yet; fill in {samples} and {calibrations} (config/README.md says how), "
            "or see the demo with: make demo"
        )
    _refuse_repeated("calibration", calibration_rows)
    _refuse_repeated("sample", sample_rows)
    for row in calibration_rows:
        _check_calibration(row, will_be_made)
    by_name = {row.values["calibration"]: row for row in calibration_rows}
    for row in sample_rows:
        _check_sample(row, by_name, calibrations, will_be_made)
    experiment = Experiment(
        {row.values["sample"]: _sample(row) for row in sample_rows},
        {row.values["calibration"]: _calibration(row) for row in calibration_rows},
    )
    if simulated is not None and not experiment.files_in(simulated):
        raise ConfigurationError(
            f"{samples}: no file in {simulated}, where the simulation writes; name its files, or set simulation to ''"
        )
    return experiment


def check_microscope(path: str) -> dict[str, Any]:
    """Read a microscope file, check its keys, and return it with the defaults filled in."""
    schema = schemas.read_schema("microscope")
    locate = schemas.YamlLines([path])
    microscope = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(microscope, dict):
        raise ConfigurationError(f"{path}: empty; it needs pixel_size_nm and cameras, see config/README.md")
    schemas.check(microscope, schema, locate)
    microscope = schemas.with_defaults(microscope, schema)
    cameras, regions = len(microscope["cameras"]), len(microscope["regions"])
    if microscope["layout"] == "regions" and regions != cameras:
        raise ConfigurationError(
            f"{locate(('regions',))}: {regions} regions for {cameras} cameras; layout regions needs one per camera"
        )
    sizes = {(region["width"], region["height"]) for region in microscope["regions"]}
    if microscope["layout"] == "regions" and len(sizes) > 1:
        raise ConfigurationError(
            f"{locate(('regions',))}: the regions differ in size; give all the same width and height"
        )
    return microscope


def _calibration(row: Row) -> Calibration:
    values, beads = row.values, row.files("beads")
    return Calibration(
        name=values["calibration"],
        microscope=values["microscope"],
        beads=beads,
        registration_beads=row.files("registration_beads") or beads,
        z_step_nm=values["z_step_nm"],
        scan=values["scan"],
        **{column: row.files(column) for column in _CAMERA_MOVIES},
    )


def _sample(row: Row) -> Sample:
    return Sample(row.values["sample"], row.values["calibration"], row.files("movie"), row.files("truth"))


def _with_folder(row: Row, simulated: str | None) -> Row:
    """The row with the folder of simulated files in the place of its name."""
    if simulated is None:
        return row
    named = {key: v.replace(_SIMULATED, simulated) if isinstance(v, str) else v for key, v in row.values.items()}
    return replace(row, values=named)


def _refuse_repeated(column: str, rows: Iterable[Row]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        name = row.values[column]
        # Some file systems do not tell upper from lower case, and the name becomes a folder.
        if name.lower() in RESERVED_NAMES:
            raise ConfigurationError(
                f"{row.where}: {column} cannot be called {name!r}, a folder of the results; rename it"
            )
        if name.lower() in first:
            raise ConfigurationError(
                f"{row.where}: {column} {name!r} is already in line {first[name.lower()]}; give each its own name"
            )
        first[name.lower()] = row.line


def _check_sample(row: Row, calibrations: Mapping[str, Row], sheet: str, will_be_made: Callable[[str], bool]) -> None:
    name = row.values["calibration"]
    if name not in calibrations:
        unknown = schemas.unknown_name(f"calibration {name!r}", name, calibrations)
        raise ConfigurationError(f"{row.where}: {unknown}; correct the name or add a line for it to {sheet}")
    _check_files(row, "movie", will_be_made)
    _check_files(row, "truth", will_be_made)
    if len(row.files("truth")) > 1:
        raise ConfigurationError(f"{row.where}: column truth names several files; give one table, or leave it empty")
    microscope = calibrations[name].values["microscope"]
    if not will_be_made(microscope):
        _check_count(row, "movie", microscope)


def _check_calibration(row: Row, will_be_made: Callable[[str], bool]) -> None:
    recordings = ("beads", "registration_beads", *_CAMERA_MOVIES)
    for column in ("microscope", *recordings):
        _check_files(row, column, will_be_made)
    given = [column for column in _CAMERA_MOVIES if row.files(column)]
    for column in ("dark", "bright"):
        if given and column not in given:
            raise ConfigurationError(
                f"{row.where}: column {column} is empty, but {given[0]} is not; cameras are measured from a dark and a "
                "bright movie together: give both, or neither"
            )
    microscope = row.values["microscope"]
    if not will_be_made(microscope):
        for column in recordings:
            _check_count(row, column, microscope)


def _check_files(row: Row, column: str, will_be_made: Callable[[str], bool]) -> None:
    files = row.files(column)
    for path in files:
        if files.count(path) > 1:
            raise ConfigurationError(f"{row.where}: column {column} names {path} twice; give one file per camera")
        if not Path(path).is_file() and not will_be_made(path):
            raise ConfigurationError(f"{row.where}: column {column}: {_missing(path)}")


def _missing(path: str) -> str:
    """Why a path is no file, with the closest name in its folder."""
    if Path(path).is_dir():
        return f"{path} is a folder; name the file in it"
    if not Path(path).parent.is_dir():
        return f"{path} not found: there is no folder {Path(path).parent}; paths count from {Path.cwd()}"
    names = [entry.name for entry in Path(path).parent.iterdir()]
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    if close:
        return f"{path} not found; did you mean {close[0]}?"
    return f"{path} not found; check the path (paths count from {Path.cwd()})"


def _check_count(row: Row, column: str, microscope: str) -> None:
    """As many files as the microscope's layout asks for."""
    described = check_microscope(microscope)
    cameras, layout, files = len(described["cameras"]), described["layout"], len(row.files(column))
    if files and layout == "files" and files != cameras:
        raise ConfigurationError(
            f"{row.where}: column {column} names {files} file(s), but {microscope} lists {cameras} cameras; "
            "give one file per camera in plane order, separated by ';'"
        )
    if files > 1 and layout != "files":
        raise ConfigurationError(
            f"{row.where}: column {column} names {files} files, but {microscope} says layout {layout}; "
            "give the one file that holds all cameras, or set layout: files"
        )
