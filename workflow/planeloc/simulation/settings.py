"""The simulation file (YAML): one section of settings per subject of a simulated acquisition."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import from_mapping, setting
from planeloc.simulation.blinking import BlinkingSettings
from planeloc.simulation.filaments import StructureSettings


@dataclass(frozen=True)
class PsfSettings:
    """Point spread function; `psf:` in a simulation file."""

    model: str = setting(
        "gaussian",
        "gaussian: a defocus curve; stack: a bead's recording; calibrated: psf.h5, with its own depths and brightness.",
        choices=("gaussian", "stack", "calibrated"),
    )
    waist_nm: float = setting(121.0, "gaussian: width in focus before pixel integration (w0).", unit="nm", minimum=1)
    focus_depth_nm: float = setting(
        275.0, "gaussian: defocus that doubles the squared width (d).", unit="nm", minimum=1
    )
    asymmetry: float = setting(0.0, "gaussian: cubic term of the defocus curve (A).")
    quartic: float = setting(0.0, "gaussian: quartic term of the defocus curve (B).")
    file: str = setting(
        "", "stack: TIFF z-stack of one bead on one plane; calibrated: psf.h5; relative to the simulation file."
    )
    pixel_size_nm: float = setting(65.0, "stack: pixel in the sample.", unit="nm", minimum=1)
    z_step_nm: float = setting(100.0, "stack: step between slices.", unit="nm", minimum=1)
    offset_counts: float = setting(100.0, "stack: camera offset.", unit="counts", minimum=0)
    scan: str = setting("objective", "stack: what moved from slice to slice.", choices=("objective", "sample"))


@dataclass(frozen=True)
class InterCameraDriftSettings:
    """Slow motion of every camera against the reference; `inter_camera_drift:` in a simulation file."""

    largest_nm: float = setting(
        48.0, "Largest inter-camera displacement of an image along an axis.", unit="nm", minimum=0
    )
    smoothing_s: float = setting(1.5, "Time over which the random walk is smoothed.", unit="s", minimum=1e-3)


@dataclass(frozen=True)
class SampleDriftSettings:
    """Motion of the sample, seen alike by all cameras; `sample_drift:` in a simulation file."""

    distance_nm: tuple[float, float, float] = setting(
        (0.0, 0.0, 0.0), "How far the sample moves along x, y and z from the first to the last frame.", unit="nm"
    )
    settling_s: float = setting(
        0.0, "Time constant of the motion, which slows down exponentially; 0: steady.", unit="s", minimum=0
    )
    walk_nm: tuple[float, float, float] = setting(
        (0.0, 0.0, 0.0),
        "Standard deviation, at the end of the movie, of a random walk along x, y and z in addition.",
        unit="nm",
    )


@dataclass(frozen=True)
class BeadSettings:
    """The bead scan; `beads:` in a simulation file."""

    count: int = setting(14, "Beads, on the sensor or a little beyond its edge.", minimum=1)
    apart_px: float = setting(11.0, "Least distance between two beads.", unit="px", minimum=0)
    beyond_px: float = setting(3.0, "How far beyond the sensor's edge beads may lie.", unit="px", minimum=0)
    photons_least: float = setting(
        12000.0, "Dimmest bead, per slice on all planes together.", unit="photons", minimum=1
    )
    photons: float = setting(24000.0, "Brightest bead, per slice on all planes together.", unit="photons", minimum=1)
    tilt_nm: float = setting(20.0, "Rise of the coverslip from the left to the right edge.", unit="nm")
    scan: str = setting("objective", "What the stage moves.", choices=("objective", "sample"))
    z_step_nm: float = setting(50.0, "Step of the scan.", unit="nm", minimum=1)
    scan_range_nm: float = setting(1500.0, "The scan goes from − to + this position.", unit="nm", minimum=1)


@dataclass(frozen=True)
class CameraMovieSettings:
    """Dark and bright movies, and what the data sheets get wrong; `camera_movies:` in a simulation file."""

    frames: int = setting(
        0, "Length of a dark and of a bright movie of every camera; 0: none.", unit="frames", minimum=0
    )
    photons: float = setting(
        2000.0,
        "Photons per pixel and frame in the middle of the field; at most half of saturation.",
        unit="photons",
        minimum=1,
    )
    dimmest: float = setting(
        0.05, "Illumination far from the middle of the field, as a fraction of the brightest.", minimum=0, maximum=1
    )
    sheet_offset_counts: float = setting(0.0, "Error of the data sheets' offset.", unit="counts")
    sheet_gain: float = setting(1.0, "Data sheets' electrons per count over the true value.", minimum=0.1, maximum=10)


@dataclass(frozen=True)
class AffineSettings:
    """How a camera's view differs from the reference camera's; `view:` of a camera."""

    rotation_mrad: float = setting(0.0, "Rotation about the middle of the sensor.", unit="mrad")
    stretch_permille: tuple[float, float] = setting((0.0, 0.0), "Magnification along x and y beyond 1.", unit="‰")
    shift_px: tuple[float, float] = setting((0.0, 0.0), "Shift along x and y.", unit="px")
    mirrored: bool = setting(False, "Mirrored left to right.")


@dataclass(frozen=True)
class CameraSettings:
    """One camera; an entry of `cameras:` in a simulation file, whose order is the order of the planes."""

    focus_nm: float = setting(
        0.0, "Depth of the focal plane; 0 is midway between the first and the last plane.", unit="nm"
    )
    brightness: float = setting(1.0, "Photons that reach this camera, relative to the others.", minimum=1e-3)
    view: AffineSettings = field(default_factory=AffineSettings)
    sensor: Camera = field(default_factory=Camera)


@dataclass(frozen=True)
class SimulationSettings:
    """A whole simulation file."""

    seed: int = setting(1, "Random seed: the same seed gives the same files.", minimum=0)
    frames: int = setting(600, "Length of the movie.", unit="frames", minimum=1)
    exposure_s: float = setting(0.045, "Time per frame.", unit="s", minimum=1e-6)
    width_px: int = setting(64, "Columns of every camera.", unit="px", minimum=8)
    height_px: int = setting(64, "Rows of every camera.", unit="px", minimum=8)
    pixel_size_nm: float = setting(192.0, "Camera pixel in the sample.", unit="nm", minimum=1)
    border_px: float = setting(4.0, "Rim of the reference camera outside the illuminated field.", unit="px", minimum=0)
    background_photons: float = setting(4.0, "Background per pixel, frame and plane.", unit="photons", minimum=0)
    background_gradient: float = setting(
        0.3, "Change of the background across the field's diagonal, relative to its mean.", minimum=-2, maximum=2
    )
    truth_least_photons: float = setting(
        100.0, "Dyes with fewer photons in a frame are not listed in truth.csv.", unit="photons", minimum=0
    )
    psf: PsfSettings = field(default_factory=PsfSettings)
    structure: StructureSettings = field(default_factory=StructureSettings)
    blinking: BlinkingSettings = field(default_factory=BlinkingSettings)
    inter_camera_drift: InterCameraDriftSettings = field(
        default_factory=InterCameraDriftSettings, metadata={"was": ("drift",)}
    )
    sample_drift: SampleDriftSettings = field(default_factory=SampleDriftSettings)
    beads: BeadSettings = field(default_factory=BeadSettings)
    camera_movies: CameraMovieSettings = field(default_factory=CameraMovieSettings)
    cameras: tuple[CameraSettings, ...] = ()


def read_settings(path: str | Path) -> SimulationSettings:
    """Read and check a simulation file.

    ``sensor:`` at the top level holds the values that the cameras share; a camera's own ``sensor:`` adds to it.

    Raises
    ------
    PlanelocError : the file is missing or not YAML, or a key is unknown, of the wrong type or out of bounds.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanelocError(f"{path}: {error.strerror}; config/demo/simulation.yaml is an example") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of text, dates, long numbers, depth
        raise PlanelocError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    values = dict(_mapping(content, str(path)))
    shared = _mapping(values.pop("sensor", {}), f"{path}: sensor")
    _build(Camera, shared, f"{path}: sensor")
    values["cameras"] = _share_sensor(values.get("cameras"), shared, path)
    settings = _build(SimulationSettings, values, str(path))
    _check_consistent(settings, path)
    if settings.psf.file:
        file = str(path.parent / settings.psf.file)  # an absolute path stays as it is
        settings = dataclasses.replace(settings, psf=dataclasses.replace(settings.psf, file=file))
    return settings


def _share_sensor(cameras: Any, shared: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    if not isinstance(cameras, list) or len(cameras) < 2:
        raise PlanelocError(f"{path}: cameras must be a list of at least 2 entries, one per plane")
    entries = []
    for plane, camera in enumerate(cameras):
        where = f"{path}: cameras[{plane}]"
        camera = _mapping(camera, where)
        own = _mapping(camera.get("sensor", {}), f"{where}: sensor")
        entries.append({**camera, "sensor": {"name": f"camera {plane}", **shared, **own}})
    return entries


def _build(cls: type, values: Any, where: str) -> Any:
    """A settings dataclass, with nested ones, from a mapping; `where` begins every message."""
    values = dict(_mapping(values, where))
    kinds = typing.get_type_hints(cls)
    for key in values.keys() & kinds.keys():
        values[key] = _convert(values[key], kinds[key], f"{where}: {key}")
    return from_mapping(cls, values, where)


def _convert(value: Any, kind: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)
    if typing.get_origin(kind) is tuple:
        item, *rest = typing.get_args(kind)
        length = "entries" if rest == [Ellipsis] else 1 + len(rest)
        if not isinstance(value, list | tuple) or length not in ("entries", len(value)):
            raise PlanelocError(f"{where} must be a list of {length}")
        return tuple(_convert(entry, item, f"{where}[{i}]") for i, entry in enumerate(value))
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():  # 2.0e+3
        return int(value)
    if kind is not float and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    names = {float: "a finite number, such as 0.001", int: "a whole number", bool: "true or false", str: "text"}
    raise PlanelocError(f"{where} is {value!r}, but must be {names[kind]}")


def _mapping(content: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise PlanelocError(f"{where}: expected keys and values")
    return content


def _check_consistent(settings: SimulationSettings, path: Path) -> None:
    cameras, beads = settings.cameras, settings.beads
    if cameras[0].view != AffineSettings():
        raise PlanelocError(f"{path}: cameras[0]: view: the first camera is the reference; remove its view")
    if abs(cameras[0].focus_nm + cameras[-1].focus_nm) > 1e-6:
        raise PlanelocError(
            f"{path}: cameras: focus_nm is counted from midway between the first and the last plane; "
            f"give them opposite values instead of {cameras[0].focus_nm:g} and {cameras[-1].focus_nm:g}"
        )
    if min(settings.sample_drift.walk_nm) < 0:
        raise PlanelocError(f"{path}: sample_drift: walk_nm holds standard deviations; give values from 0 on")
    if 2 * settings.border_px >= min(settings.width_px, settings.height_px):
        raise PlanelocError(f"{path}: border_px of {settings.border_px:g} leaves nothing of the field; lower it")
    if beads.photons_least > beads.photons:
        raise PlanelocError(f"{path}: beads: photons_least is above photons; lower it")
    if settings.psf.model != "gaussian" and not settings.psf.file:
        needed = "the z-stack of a bead" if settings.psf.model == "stack" else "the psf.h5 of a calibration"
        raise PlanelocError(f"{path}: psf: file is missing; model {settings.psf.model} needs {needed}")
