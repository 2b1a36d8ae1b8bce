"""Is a movie what a network was trained for? Said before it is localized, in what a microscopist can see.

A network that meets more background, brighter or denser molecules or wider spots than it has seen in training gives
no error: it gives wrong localizations. So a few stretches of the movie are looked at first. Light is judged by the
same measure as when weights are adopted (`planeloc.networks.compatibility`), so that the training that is offered
does train.
"""

from __future__ import annotations

import logging
import math
import shlex
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.density import crowd, mean_cumulants, measure_flicker
from planeloc.diagnostics.light import FEWEST_EMITTERS, stretches
from planeloc.diagnostics.spot_width import cut_windows, fit_windows, relative_widths
from planeloc.movie.store import Movie
from planeloc.networks.compatibility import other_brightness, pixel_noise, too_noisy, worst_mistaken_depth
from planeloc.networks.record import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene, natural_depth_range
from planeloc.training.settings import TrainSettings
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)

_DENSITY_FACTOR = 2.0  # the densest that are learned are not the densest that are found
_WIDTH_FACTOR = 1.15  # depths come out wrong by 70 nm where one plane is so much wider, by 190 nm where all are
_DENSEST_PER_WINDOW = 25.0  # that training draws
_PER_WINDOW = 16**2  # pixels that densities are given for


@dataclass(frozen=True)
class Measured:
    """What some frames of a movie show."""

    background: tuple[float, ...]  # per plane, photons per pixel
    density: float  # molecules per pixel and frame, where they are
    photons: tuple[float, float] | None  # 5th and 95th percentile, all planes together; None: too few to tell
    widths: tuple[float, ...]  # per plane, over that of the network's PSF; nan: too few to tell
    molecules: int  # in focus


@dataclass(frozen=True)
class Quantity:
    """One thing that was compared."""

    name: str
    measured: Any
    trained: Any
    outside: bool | None  # None: could not be told
    line: str  # both in words
    remedy: dict[str, Any] = field(default_factory=dict)  # settings under `train:` that would take it in


def measure(movie: Movie, registration: Registration, psf: PSF, record: NetworkRecord) -> Measured:
    """Look at a few stretches of a movie, of which `psf` is the calibration.

    Molecules that lie more densely than a network is made for are not told from each other: their light and size stay
    unknown.
    """
    cameras = movie.microscope.cameras
    flicker, windows, levels = [], [], []
    for stretch in stretches(movie):
        flicker.append(measure_flicker(stretch, cameras))
        windows.append(cut_windows(stretch, registration))
        levels.append(np.median(stretch.level, axis=(1, 2)))
    made_for = record.scene
    found = crowd(mean_cumulants(flicker), psf, made_for)
    background = np.minimum(found.background, np.median(levels, axis=0)).clip(min=0)  # crowds raise the median
    light = _scene(movie, made_for, background)
    unknown = (math.nan,) * psf.planes
    if found.density > _DENSITY_FACTOR * densest(made_for):
        return Measured(tuple(background.tolist()), found.density, None, unknown, 0)
    spots = fit_windows(windows, cameras, psf)
    if photons := _range(spots.photons):
        light = replace(light, photons=photons)
    widths = relative_widths(spots, record.psf, light, found.density, cameras)
    sharp = [own for own, width in zip(spots.photons, widths, strict=True) if not _other_width(width)]
    return Measured(
        tuple(background.tolist()), found.density, _range(sharp), tuple(widths.tolist()), sum(map(len, sharp))
    )


def _range(photons: Any) -> tuple[float, float] | None:
    found = np.concatenate([np.empty(0), *photons])
    return tuple(np.quantile(found, (0.05, 0.95)).tolist()) if len(found) >= FEWEST_EMITTERS else None


def _scene(movie: Movie, made_for: Scene, background: Any) -> Scene:
    """The movie's cameras and background, all else as in training."""
    cameras = movie.microscope.cameras
    return replace(
        made_for,
        background=(float(min(background)), float(max(background))),
        read_noise_photons=max(camera.read_noise_photons() for camera in cameras),
        quantum_efficiency=min(camera.quantum_efficiency for camera in cameras),
        em_multiplication=any(camera.em_gain > 1 for camera in cameras),
    )


def densest(scene: Scene) -> float:
    """Molecules per pixel up to which a network has been trained."""
    return scene.density[1] if scene.density else scene.emitters / scene.window_px**2


def _other_width(factor: float) -> bool:
    return not 1 / _WIDTH_FACTOR <= factor <= _WIDTH_FACTOR if math.isfinite(factor) else False


def compare(measured: Measured, record: NetworkRecord, movie: Movie) -> list[Quantity]:
    """The movie beside what the network was trained on, quantity by quantity."""
    made_for = record.scene
    here = _scene(movie, made_for, measured.background)
    return [
        _background(here, measured, made_for),
        _brightness(here, measured, made_for),
        _spot_size(measured, movie, record.psf),
        _density(measured, record),
    ]


def _background(here: Scene, measured: Measured, made_for: Scene) -> Quantity:
    (low, high), (least, most) = here.background, made_for.background
    return Quantity(
        "background",
        list(measured.background),
        list(made_for.background),
        too_noisy(made_for, here),
        f"background {low:.1f} to {high:.1f} photons per pixel (noise {pixel_noise(here):.1f}), trained with {least:g}"
        f" to {most:g} (noise {pixel_noise(made_for):.1f})",
        {"background": f"{low:.1f}-{high:.1f}"},
    )


def _brightness(here: Scene, measured: Measured, made_for: Scene) -> Quantity:
    least, most = made_for.photons
    if measured.photons is None:
        line = f"brightness could not be told from {measured.molecules} molecules in focus"
        return Quantity("brightness", None, list(made_for.photons), None, line)
    low, high = measured.photons
    return Quantity(
        "brightness",
        list(measured.photons),
        list(made_for.photons),
        other_brightness(made_for, replace(here, photons=measured.photons)),
        f"brightness {low:.0f} to {high:.0f} photons per molecule, trained with {least:.0f} to {most:.0f}",
        {"photons": f"{low:.0f}-{high:.0f}"},
    )


def _spot_size(measured: Measured, movie: Movie, psf: PSF) -> Quantity:
    known = [width if math.isfinite(width) else None for width in measured.widths]
    cameras = zip(movie.microscope.cameras, known, strict=True)
    told = ", ".join(f"{width:.2f} on {camera.name}" for camera, width in cameras if width)
    if not told:
        line = "spot size could not be told from the spots that were found"
        return Quantity("spot size", known, 1.0, None, line)
    waist = psf.gaussian.waist_nm
    line = f"spot size {told} times that of the PSF that it was trained with (waist {waist:.0f} nm)"
    return Quantity("spot size", known, 1.0, any(_other_width(width) for width in measured.widths), line)


def _density(measured: Measured, record: NetworkRecord) -> Quantity:
    here, most = (_PER_WINDOW * density for density in (measured.density, densest(record.scene)))
    wanted = min(here, _DENSEST_PER_WINDOW)
    fewest = _PER_WINDOW * record.scene.density[0] if record.scene.density else 0.0
    remedy = {"density": f"{fewest:.2g}-{wanted:.2g}"} if record.scene.density else {"emitters": math.ceil(wanted)}
    return Quantity(
        "density",
        here,
        most,
        here > _DENSITY_FACTOR * most,
        f"density {here:.2g} molecules per 16×16 pixels, trained with up to {most:.2g}",
        remedy,
    )


def as_dict(quantities: list[Quantity]) -> dict[str, Any]:
    """Plain values for records; density per 16×16 pixels, spot sizes over those of the network's PSF."""
    words = {True: "outside", False: "inside", None: "unknown"}
    return {
        quantity.name.replace(" ", "_"): {
            "measured": quantity.measured,
            "trained": quantity.trained,
            "verdict": words[quantity.outside],
        }
        for quantity in quantities
    }


@dataclass(frozen=True)
class Paths:
    """What a run of `planeloc localize` was given."""

    movie: Path
    registration: Path
    psf: Path
    weights: Path
    output: Path


def guard(
    movie: Movie, maps: Registration, psf: PSF, record: NetworkRecord, paths: Paths, on_mismatch: str
) -> dict[str, Any]:
    """Compare a movie with what its network was trained for; what is outside is said on stderr, with a way out.

    Gives what was measured for the records. Raises `PlanelocError` if something is outside and `on_mismatch` is
    ``stop``.
    """
    quantities = compare(measure(movie, maps, psf, record), record, movie)
    outside = [quantity for quantity in quantities if quantity.outside]
    unknown = [quantity.line for quantity in quantities if quantity.outside is None]
    for quantity in outside:
        _LOG.warning(f"{paths.movie}: {quantity.line} ({paths.weights})")
    if unknown and not outside:
        _LOG.info(f"{paths.movie}: {'; '.join(unknown)}")
    if not outside:
        return as_dict(quantities)
    way_out = offer(quantities, record, psf.seen_through(maps.matrices), paths)
    if on_mismatch == "stop":
        names = " and ".join(quantity.name for quantity in outside)
        raise PlanelocError(f"{paths.movie}: {names} not as {paths.weights} was trained for; {way_out}")
    _LOG.info(way_out)
    return as_dict(quantities)


def offer(quantities: list[Quantity], record: NetworkRecord, psf: PSF, paths: Paths) -> str:
    """In one line: how to train for this movie, as a command and in the workflow's configuration.

    `psf` is the calibration as the planes are seen once they are registered. The configuration leaves out what to start
    from: in the workflow the weights at hand are what rule `train` itself makes.
    """
    settings = _training(record)
    for quantity in quantities:
        if quantity.outside:
            settings |= quantity.remedy
    files = {"psf": paths.psf, "registration": paths.registration, "movie": paths.movie, "start-from": paths.weights}
    made = {"output": "weights.safetensors", "record": "training.json", "figure": "training.png"}
    files |= {name: paths.output.with_name(file) for name, file in made.items()}
    command = ["planeloc", "train"]
    for name, path in files.items():
        command += [f"--{name}", str(path)]
    command += [_option(name, value) for name, value in settings.items()]
    keys = {"on_mismatch": "train", **settings}
    listed = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in keys.items()
    )
    first = ""
    if any(q.outside and not q.remedy for q in quantities) and _same_psf(record, psf):
        first = f"{paths.psf} has the network's spot sizes: calibrate with beads recorded like the movie first; "
    return f"{first}train for this movie with `{shlex.join(command)}`, or in a configuration by `train: {{{listed}}}`"


def _training(record: NetworkRecord) -> dict[str, Any]:
    """Settings of the network's own training, as far as they are not the defaults."""
    scene, kind = record.scene, record.kind
    extent, usual = scene.depth_range_nm[1] - scene.depth_range_nm[0], natural_depth_range(record.psf)
    own = {
        "network": kind,
        "drift_voxels": scene.drift_voxels,
        "registration_resampling": scene.registration_resampling,
        "upsampling": scene.upsampling,
        "voxel_depth_nm": scene.voxel_depth_nm,
        "depth_range_nm": extent if abs(extent - usual) > scene.voxel_depth_nm else 0.0,
    }
    if kind == "regression":
        fewest, most = (_PER_WINDOW * density for density in scene.density)
        own |= {"density": f"{fewest:g}-{most:g}", "window_px": scene.window_px}
        own |= {"background_error": scene.background_error}
    else:
        own |= {"emitters": scene.emitters}
    defaults = {f.name: f.default for f in fields(TrainSettings)}
    return {name: value for name, value in own.items() if value != defaults[name]}


def _option(name: str, value: Any) -> str:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{word}" if value else f"--no-{word}"
    return f"--{word}={value}"


def _same_psf(record: NetworkRecord, psf: PSF) -> bool:
    return worst_mistaken_depth(record, psf) <= TrainSettings().maximum_depth_error_nm
