"""Reading what the experiments wrote. A file that is missing leaves its part out; a damaged one is an error.

Files by their place in the folder of the reproduction: ``training/{network}.json``, ``architecture.json``,
``one_molecule/{data}/{estimator}.json`` with ``{estimator}.seconds.json``, ``bound.json``,
``sweeps/{sweep}/{estimator}.json``, ``helix/{network}.json`` and ``speed.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, require_file
from planeloc_reproduction.names import DATA_SETS, ESTIMATORS, SWEEPS
from planeloc_reproduction.published import TRAINING_IMAGES

SWEEP_BOUND = "bound"
"""The pseudo-estimator of a sweep that is the information limit."""

_HISTORY = ("samples", "training_loss", "validation_loss", "lateral_nm", "axial_nm")
_SWEEP_COLUMNS = (
    *("value", "images", "molecules", "voxel_jaccard"),
    *(f"{name}{end}" for name in ("jaccard", "lateral", "axial") for end in ("", "_low", "_high")),
    *("rmse_lateral", "rmse_axial"),
)


@dataclass(frozen=True)
class Training:
    """How far a network was trained, and what it is."""

    history: dict[str, NDArray[np.float64]]
    architecture: Mapping[str, Any]
    device: str
    torch: str
    settings: Mapping[str, Any]  # empty where the file records an adoption: then they are not the training's

    @property
    def images(self) -> int | None:
        samples = self.history["samples"]
        return int(samples[-1]) if len(samples) else None

    @property
    def fraction(self) -> float | None:
        """Of the images that the paper presented."""
        return None if self.images is None else self.images / TRAINING_IMAGES.value


@dataclass(frozen=True)
class Variant:
    """One architecture of the study."""

    name: str
    architecture: Mapping[str, Any]
    parameters: int
    training_images: int
    milliseconds_per_image: float
    validation_loss: float
    lateral_nm: float
    axial_nm: float


@dataclass(frozen=True)
class Timing:
    images: int
    seconds: float
    device: str

    @property
    def frames_per_second(self) -> float:
        return self.images / self.seconds


@dataclass(frozen=True)
class OneMolecule:
    """What one estimator found in images of one molecule; positions (n, 3) nm, voxels (n, 3) as column, row, slice."""

    voxel_nm: tuple[float, float, float]
    depth_range_nm: tuple[float, float]
    truth_nm: NDArray[np.float64]
    found_nm: NDArray[np.float64]
    truth_voxel: NDArray[np.int64]
    found_voxel: NDArray[np.int64]
    nothing_found: int  # images without an estimate, which stand as one in the middle
    timing: Timing | None


Sweep = dict[str, NDArray[np.float64]]
"""Columns of one estimator's sweep by name; NaN where there was nothing to measure."""


@dataclass(frozen=True)
class Bound:
    """Information limits on mean absolute errors: by depth and axis (x, y, z, lateral), and over the scene.

    `mean` and `root_mean_square` map a case to (lateral, axial) in nm.
    """

    depth_nm: NDArray[np.float64]
    known_drift: dict[str, NDArray[np.float64]]
    unknown_drift: dict[str, NDArray[np.float64]]
    mean: dict[str, tuple[float, float]]  # cases, and how many molecules share the drift
    root_mean_square: dict[str, tuple[float, float]]
    photons: Sweep  # means by photons per molecule


@dataclass(frozen=True)
class HelixFrame:
    truth_nm: NDArray[np.float64]
    found_nm: NDArray[np.float64]
    peaks_nm: NDArray[np.float64]


@dataclass(frozen=True)
class Helix:
    threshold: float
    curve_nm: NDArray[np.float64]
    frames: tuple[HelixFrame, ...]
    examples: tuple[int, ...]


@dataclass(frozen=True)
class Speed:
    device: str
    precision: str
    network: str
    size_px: NDArray[np.float64]
    frames_per_second: NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """Everything that was found in the folder."""

    training: dict[str, Training] = field(default_factory=dict)
    architecture: tuple[Variant, ...] = ()
    one_molecule: dict[str, dict[str, OneMolecule]] = field(default_factory=dict)
    bound: Bound | None = None
    sweeps: dict[str, dict[str, Sweep]] = field(default_factory=dict)
    helix: dict[str, Helix] = field(default_factory=dict)
    speed: Speed | None = None

    @property
    def trained(self) -> dict[str, Training]:
        """Networks whose learning curve is known."""
        return {name: record for name, record in self.training.items() if record.images}


def read_results(folder: Path, architecture: Path | None = None) -> Results:
    """Read every result file of `folder`, and the study of architectures where it lies elsewhere.

    Raises
    ------
    PlanelocError : there is none, or one is damaged (the message names it).
    """
    single = {name: folder / f"{name}.json" for name in ("architecture", "bound", "speed")}
    if architecture is not None:
        single["architecture"] = require_file(architecture, "study of architectures")
    results = Results(
        training={name: _training(path) for name, path in _files(folder / "training").items()},
        architecture=_architecture(single["architecture"]) if single["architecture"].exists() else (),
        one_molecule=_by_folder(folder / "one_molecule", DATA_SETS, _one_molecule),
        bound=_bound(single["bound"]) if single["bound"].exists() else None,
        sweeps=_by_folder(folder / "sweeps", SWEEPS, _sweep),
        helix={name: _helix(path) for name, path in _files(folder / "helix").items()},
        speed=_speed(single["speed"]) if single["speed"].exists() else None,
    )
    if results.bound and "photons" in results.sweeps:
        results.sweeps["photons"].setdefault(SWEEP_BOUND, results.bound.photons)
    if not any(part for name, part in vars(results).items() if name != "architecture" or architecture is None):
        raise PlanelocError(f"{folder}: holds no result of the paper's experiments; run them first, then the report")
    return results


def read_seeds(folder: Path) -> dict[str, list[str]]:
    """The seeds that the experiments' files name, by the part of the folder in which they lie."""
    groups = {f"one_molecule/{data}": folder / "one_molecule" / data for data in DATA_SETS}
    groups |= {f"sweeps/{sweep}": folder / "sweeps" / sweep for sweep in SWEEPS} | {"helix": folder / "helix"}
    seeds = {}
    for group, place in groups.items():
        contents = [read_json(path) for path in _files(place).values()]
        seeds[group] = sorted({str(content["seed"]) for content in contents if "seed" in content})
    return {group: values for group, values in seeds.items() if values}


def _by_folder(folder: Path, names: tuple[str, ...], read: Callable[[Path], Any]) -> dict[str, dict[str, Any]]:
    parts = {name: {stem: read(path) for stem, path in _files(folder / name).items()} for name in names}
    return {name: part for name, part in parts.items() if part}


def _files(folder: Path) -> dict[str, Path]:
    """Result files by their names without ``.json``, in the order in which they are shown.

    Names with another point in them (times, provenance) and hidden ones are no results.
    """
    paths = {path.stem: path for path in folder.glob("*.json") if "." not in path.stem}
    order = {name: number for number, name in enumerate(ESTIMATORS)}
    return {name: paths[name] for name in sorted(paths, key=lambda name: (order.get(name, len(order)), name))}


class _File:
    """The content of one file, asked for piece by piece; whatever does not fit is a `PlanelocError`."""

    def __init__(self, path: Path, content: Any = None, where: str = "") -> None:
        self.path, self.where = path, where
        self.content = read_json(path) if where == "" else content
        if not isinstance(self.content, dict):
            raise self.error("is not a group of named values")

    def error(self, what: str) -> PlanelocError:
        return PlanelocError(f"{self.path}: {self.where}{what}; remove the file and run its experiment again")

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = self.content.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(f"{name!r} is missing or of the wrong kind")
        return value

    def part(self, name: str) -> _File:
        return _File(self.path, self.get(name, dict), f"{self.where}{name}: ")

    def parts(self, name: str) -> list[_File]:
        rows = self.get(name, list)
        return [_File(self.path, row, f"{self.where}{name}[{index}]: ") for index, row in enumerate(rows)]

    def number(self, name: str, minimum: float = -np.inf) -> float:
        value = float(self.get(name, (int, float)))
        if not np.isfinite(value) or value < minimum:
            raise self.error(f"{name!r} is {value:g}, which cannot be")
        return value

    def positive(self, name: str) -> float:
        value = self.number(name)
        if value <= 0:
            raise self.error(f"{name!r} is {value:g} and should be above 0")
        return value

    def array(self, name: str, columns: int | None = None) -> NDArray[np.float64]:
        """Numbers of shape (n,) or (n, columns)."""
        rows = self.get(name, list)
        if not rows:
            return np.empty((0, columns) if columns else 0)
        try:
            values = np.array(rows, dtype=np.float64)
        except (TypeError, ValueError):
            raise self.error(f"{name!r} is not a table of numbers") from None
        if values.ndim != (2 if columns else 1) or (columns and values.shape[1] != columns):
            raise self.error(f"{name!r} has the shape {values.shape}")
        if not np.isfinite(values).all():
            raise self.error(f"{name!r} holds values that are not finite numbers")
        return values


def _training(path: Path) -> Training:
    file = _File(path)
    rows = file.parts("history")
    adopted = file.content.get("decision") == "adopted"
    return Training(
        history={name: np.array([row.number(name) for row in rows]) for name in _HISTORY},
        architecture=file.part("network").get("architecture", dict),
        device=str(file.content.get("device", "unknown")),
        torch=str(file.content.get("torch", "unknown")),
        settings={} if adopted else file.get("settings", dict),
    )


def _architecture(path: Path) -> tuple[Variant, ...]:
    file = _File(path)
    variants = []
    for name in file.content:
        part = file.part(name)
        numbers = {key: part.number(key, 0) for key in ("validation_loss", "lateral_nm", "axial_nm")}
        numbers |= {key: int(part.positive(key)) for key in ("parameters", "training_images")}
        time = part.positive("milliseconds_per_image")
        variants.append(Variant(name, part.get("architecture", dict), milliseconds_per_image=time, **numbers))
    return tuple(variants)


def _one_molecule(path: Path) -> OneMolecule:
    file = _File(path)
    names = ("truth_nm", "found_nm", "truth_voxel", "found_voxel")
    arrays = {name: file.array(name, 3) for name in names}
    if not len(arrays["truth_nm"]):
        raise file.error("holds no molecules")
    if len(set(map(len, arrays.values()))) > 1:
        lengths = ", ".join(f"{len(values)} {name}" for name, values in arrays.items())
        raise file.error(f"does not hold one estimate for every molecule ({lengths})")
    voxel, depth = file.array("voxel_nm"), file.array("depth_range_nm")
    if voxel.shape != (3,) or depth.shape != (2,) or voxel.min() <= 0 or depth[0] >= depth[1]:
        raise file.error("'voxel_nm' or 'depth_range_nm' cannot be")
    arrays |= {name: np.rint(arrays[name]).astype(np.int64) for name in names[2:]}
    seconds = path.with_suffix(".seconds.json")
    timing = _timing(seconds) if seconds.exists() else None
    return OneMolecule(
        tuple(voxel), tuple(depth), **arrays, nothing_found=file.content.get("nothing_found", 0), timing=timing
    )


def _timing(path: Path) -> Timing:
    file = _File(path)
    return Timing(int(file.positive("images")), file.positive("seconds"), str(file.content.get("device", "unknown")))


def _bound(path: Path) -> Bound:
    file = _File(path)
    depth = file.array("depth_nm")
    curves = {}
    for case in ("known_drift", "unknown_drift"):
        part = file.part(case)
        curves[case] = {axis: part.array(f"{axis}_nm") for axis in ("x", "y", "z", "lateral")}
        if not len(depth) or any(len(curve) != len(depth) for curve in curves[case].values()):
            raise file.error(f"{case!r} does not have one value for every depth")
    mean, rms = file.part("mean"), file.part("root_mean_square")
    cases = {case: _limit(mean.part(case)) for case in ("known_drift", "unknown_drift", "discrete_drift")}
    shared = mean.part("shared_drift")
    cases |= {count: _limit(shared.part(count)) for count in shared.content}
    squares = {case: _limit(rms.part(case)) for case in ("known_drift", "unknown_drift")}
    return Bound(depth, **curves, mean=cases, root_mean_square=squares, photons=_points(file, "photons"))


def _limit(file: _File) -> tuple[float, float]:
    return file.positive("lateral_nm"), file.positive("axial_nm")


def _sweep(path: Path) -> Sweep:
    return _points(_File(path), "points")


def _points(file: _File, group: str) -> Sweep:
    rows = file.parts(group)
    if not rows:
        raise file.error(f"holds no {group}")
    sweep = {}
    for column in _SWEEP_COLUMNS:
        name = f"{column}_nm" if column in ("lateral", "axial", "rmse_lateral", "rmse_axial") else column
        values = [row.number(name) if row.content.get(name) is not None else np.nan for row in rows]
        sweep[column] = np.array(values)
    if not np.isfinite(sweep["value"]).all():
        raise file.error("'value' is missing from a point")
    order = np.argsort(sweep["value"], kind="stable")
    return {name: values[order] for name, values in sweep.items()}


def _helix(path: Path) -> Helix:
    file = _File(path)
    curve, rows = file.array("curve_nm", 3), file.parts("frames")
    if not len(curve) or not rows:
        raise file.error("holds no curve or no frames")
    frames = tuple(HelixFrame(*(row.array(name, 3) for name in ("truth_nm", "found_nm", "peaks_nm"))) for row in rows)
    examples = tuple(int(number) for number in file.array("examples"))
    if any(not 0 <= number < len(frames) for number in examples):
        raise file.error(f"'examples' names frames beyond the {len(frames)}")
    return Helix(file.number("threshold"), curve, frames, examples)


def _speed(path: Path) -> Speed:
    file = _File(path)
    points = sorted((point.positive("size_px"), point.positive("seconds_per_frame")) for point in file.parts("points"))
    if not points:
        raise file.error("holds no points")
    size, seconds = np.array(points).T
    device, precision, network = (str(file.content.get(name, "")) for name in ("device", "precision", "network"))
    return Speed(device or "unknown device", precision, network, size, 1 / seconds)
