"""Samples and calibrations, checked against each other and against the disk before the first job starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from runpy import run_path
from typing import Any

import yaml

from preflight import schema as schemas
from preflight.errors import ConfigurationError, Mistakes
from preflight.recordings import pattern_files
from preflight.sample_tables import Row, read_table

# Columns of the calibrations from which the cameras are measured.
_CAMERA_MOVIES = ("dark", "bright", "bright_without_em")

# Columns of images, which may be folders or patterns of file names.
_RECORDINGS = ("beads", "registration_beads", *_CAMERA_MOVIES, "movie")

_SIMULATED = "<simulated>/"

# One function of the package, from its file: see the docstring of `preflight`.
_RULES = Path(__file__).resolve().parents[1] / "planeloc" / "cameras" / "region_rules.py"
_region_mistake = run_path(str(_RULES))["region_mistake"]

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
    """One microscope on one day: its description, its bead scans, and movies to measure its cameras by, if any."""

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
        """Whether the cameras are measured, or taken from the microscope file."""
        return bool(self.dark)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that its row names."""
        movies = (*self.dark, *self.bright, *self.bright_without_em)
        return (self.microscope, *self.beads, *self.registration_beads, *movies)


@dataclass(frozen=True)
class Sample:
    """One movie, the calibration it belongs to, and the ground truth where it is known."""

    name: str
    calibration: str
    movie: tuple[str, ...]
    truth: tuple[str, ...]  # ground truth: one path or none


@dataclass(frozen=True)
class Experiment:
    """Samples and calibrations by name."""

    samples: dict[str, Sample]
    calibrations: dict[str, Calibration]

    def samples_of(self, calibration: str) -> list[str]:
        """Names of the samples that share a calibration, in the order of the sample table."""
        return [sample.name for sample in self.samples.values() if sample.calibration == calibration]

    def files(self) -> list[str]:
        """Every file that the tables name, each once."""
        calibrations, samples = self.calibrations.values(), self.samples.values()
        named = [path for c in calibrations for path in c.files]
        named += [path for s in samples for path in (*s.movie, *s.truth)]
        return list(dict.fromkeys(named))

    def files_in(self, folder: str) -> list[str]:
        """Those of them whose path begins with `folder`."""
        return [path for path in self.files() if path.startswith(folder)]


def read_experiment(samples: str, calibrations: str, simulated: str | None = None) -> Experiment:
    """Read the sample table and the calibration table.

    Parameters
    ----------
    samples, calibrations : paths of the tables.
    simulated : folder that a simulation is going to write, with a slash at its end. The tables call it
        ``<simulated>/``, and files in it may be missing now.

    Raises
    ------
    ConfigurationError
        With all mistakes in the tables and in the microscope files that they name.
    """
    mistakes = Mistakes()
    calibration_rows = _rows(calibrations, "calibration", simulated, mistakes)
    known = None if mistakes.lines else {row.values["calibration"]: row for row in calibration_rows}
    sample_rows = _rows(samples, "sample", simulated, mistakes)
    if not sample_rows and not calibration_rows and not mistakes.lines:
        raise ConfigurationError(
            f"{samples}: no samples yet; fill in {samples} and {calibrations} (config/README.md says how), "
            "or see the demo with: make demo"
        )
    checks = _Checks(mistakes, simulated)
    for row in calibration_rows:
        checks.calibration(row)
    first: dict[tuple[str, ...], Row] = {}
    for row in sample_rows:
        checks.sample(row, known, calibrations)
        with mistakes:
            _check_movie(row, first)
    mistakes.stop()
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
        raise ConfigurationError(f"{path}: empty; it needs pixel_size_nm and cameras, see docs/configuration.md")
    schemas.check(microscope, schema, locate)
    microscope = schemas.with_defaults(microscope, schema)
    sizes = [(region["width"], region["height"]) for region in microscope["regions"]]
    if mistake := _region_mistake(microscope["layout"], len(microscope["cameras"]), sizes):
        raise ConfigurationError(f"{locate(('regions',))}: {mistake}")
    return microscope


def _rows(table: str, column: str, simulated: str | None, mistakes: Mistakes) -> list[Row]:
    """The rows of a table, with the folder of simulated files in the place of its name, each with its own name."""
    rows = read_table(table, schemas.read_schema(f"{column}s"), mistakes)
    if simulated is not None:
        rows = [_with_folder(row, simulated) for row in rows]
    first: dict[str, int] = {}
    for row in rows:
        with mistakes:
            _check_name(row, column, first)
    return rows


def _with_folder(row: Row, simulated: str) -> Row:
    named = {key: v.replace(_SIMULATED, simulated) if isinstance(v, str) else v for key, v in row.values.items()}
    return replace(row, values=named)


def _check_name(row: Row, column: str, first: dict[str, int]) -> None:
    """Some file systems do not distinguish upper from lower case, and the name becomes a folder."""
    name = row.values[column]
    if name.lower() in RESERVED_NAMES:
        raise ConfigurationError(f"{row.where}: {column} cannot be called {name!r}, a folder of the results; rename it")
    line = first.setdefault(name.lower(), row.line)
    if line != row.line:
        raise ConfigurationError(f"{row.where}: {column} {name!r} is already in line {line}; give each its own name")


def _check_movie(row: Row, first: dict[tuple[str, ...], Row]) -> None:
    """The same movie with another calibration is a comparison, with the same one a slip of copying."""
    files = (row.values["calibration"], *(str(Path(path).resolve()) for path in row.files("movie")))
    other = first.setdefault(files, row)
    if other is not row:
        raise ConfigurationError(
            f"{row.where}: sample {row.values['sample']!r} has the movie and the calibration of "
            f"{other.values['sample']!r} in line {other.line}; correct the file names, or delete a row"
        )


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


class _Checks:
    """Rows against the disk and the microscope files, each of which is read once."""

    def __init__(self, mistakes: Mistakes, simulated: str | None) -> None:
        self._mistakes, self._simulated = mistakes, simulated
        self._microscopes: dict[str, dict[str, Any] | None] = {}

    def sample(self, row: Row, calibrations: Mapping[str, Row] | None, table: str) -> None:
        """Check a row of the sample table; `calibrations` is None where these have mistakes themselves."""
        name = row.values["calibration"]
        for column in ("movie", "truth"):
            self._files(row, column)
        with self._mistakes:
            if len(row.files("truth")) > 1:
                raise ConfigurationError(
                    f"{row.where}: column truth names several files; give one table, or leave it empty"
                )
            if calibrations is not None and name not in calibrations:
                unknown = schemas.unknown_name(f"calibration {name!r}", name, calibrations)
                raise ConfigurationError(f"{row.where}: {unknown}; correct the name or add a line for it to {table}")
        if calibrations and name in calibrations:
            self._counts(row, ("movie",), calibrations[name].values["microscope"])

    def calibration(self, row: Row) -> None:
        """Check a row of the calibration table."""
        recordings = ("beads", "registration_beads", *_CAMERA_MOVIES)
        for column in ("microscope", *recordings):
            self._files(row, column)
        given = [column for column in _CAMERA_MOVIES if row.files(column)]
        for column in ("dark", "bright"):
            with self._mistakes:
                if given and column not in given:
                    raise ConfigurationError(
                        f"{row.where}: column {column} is empty, but {given[0]} is not; cameras are measured from a "
                        "dark and a bright movie together: give both, or neither"
                    )
        self._counts(row, recordings, row.values["microscope"])

    def _will_be_made(self, path: str) -> bool:
        return self._simulated is not None and path.startswith(self._simulated)

    def _files(self, row: Row, column: str) -> None:
        files = row.files(column)
        for path in files:
            with self._mistakes:
                if files.count(path) > 1:
                    raise ConfigurationError(
                        f"{row.where}: column {column} names {path} twice; give one file per camera"
                    )
                if not _is_recording(path, column) and not self._will_be_made(path):
                    raise ConfigurationError(f"{row.where}: column {column}: {_missing(path)}")

    def _counts(self, row: Row, columns: Iterable[str], path: str) -> None:
        """Check that columns name as many files as the layout of the microscope asks for."""
        if path not in self._microscopes and not self._will_be_made(path) and Path(path).is_file():
            self._microscopes[path] = None
            with self._mistakes:
                self._microscopes[path] = check_microscope(path)
        if microscope := self._microscopes.get(path):
            for column in columns:
                with self._mistakes:
                    _check_count(row, column, path, microscope)


def _is_recording(path: str, column: str) -> bool:
    """Whether a path is a file; for images also a folder, or a pattern that some files fit."""
    if Path(path).is_file():
        return True
    return column in _RECORDINGS and (Path(path).is_dir() or bool(pattern_files(path)))


def _missing(path: str) -> str:
    """Why a path is no file, with the closest name in its folder."""
    if has_magic(Path(path).name) and Path(path).parent.is_dir():
        return f"no file fits the pattern {path}; check the folder and the names"
    if Path(path).is_dir():
        return f"{path} is a folder; name the file in it"
    if "," in path and any(Path(part.strip()).is_file() for part in path.split(",")):
        return f"{path} not found; separate several files by ';', not by ','"
    if not Path(path).parent.is_dir():
        return f"{path} not found: there is no folder {Path(path).parent}; paths count from {Path.cwd()}"
    names = [entry.name for entry in Path(path).parent.iterdir()]
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    if close:
        return f"{path} not found; did you mean {close[0]}?"
    return f"{path} not found; check the path (paths count from {Path.cwd()})"


def _check_count(row: Row, column: str, path: str, microscope: Mapping[str, Any]) -> None:
    cameras, layout, files = len(microscope["cameras"]), microscope["layout"], len(row.files(column))
    if files and layout == "files" and files != cameras:
        raise ConfigurationError(
            f"{row.where}: column {column} names {files} file(s), but {path} lists {cameras} cameras; "
            "give one file per camera in plane order, separated by ';'"
        )
    if files > 1 and layout != "files":
        raise ConfigurationError(
            f"{row.where}: column {column} names {files} files, but {path} says layout {layout}; "
            "give the one file that holds all cameras, or set layout: files"
        )
