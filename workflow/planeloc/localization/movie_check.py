"""Check of a movie against the training distribution of a network, before it is localized.

A network gives no error for more background, brighter or denser molecules or wider spots than in its training: it gives
wrong localizations. A few stretches of the movie are therefore measured first. Background and brightness are judged by
the same criteria as weights for a training (`planeloc.networks.training_match`), so that the advised training is done.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import FEWEST_EMITTERS
from planeloc.diagnostics.density import estimate_density, mean_cumulants, measure_cumulants
from planeloc.diagnostics.spot_width import (
    SPOTS,
    SPOTS_PER_STRETCH,
    cut_windows,
    fit_windows,
    relative_widths,
)
from planeloc.localization.context import Inputs
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.background import stretch_starts, stretches
from planeloc.movie.store import Movie
from planeloc.networks.training_match import other_brightness, pixel_noise, too_noisy
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)

_DENSEST_PER_WINDOW = 25.0  # that training draws
_PER_WINDOW = 16**2  # pixels that densities refer to
_VERDICTS = {True: "outside", False: "inside", None: "unknown"}

# (settings of `train` that would include the movie, whether its spots have another width, record of the network, PSF in
# the reference camera's frame) → one line on how to train for the movie
Advise = Callable[[dict[str, Any], bool, NetworkRecord, PSF], str]


@dataclass(frozen=True)
class Measured:
    """What some frames of a movie show."""

    background: tuple[float, ...]  # per plane, photons per pixel
    density: float  # molecules per pixel and frame, where there are any
    photons: tuple[float, float] | None  # 5th and 95th percentile, all planes together; None: too few molecules
    widths: tuple[float, ...]  # per plane, over that of the network's PSF; nan: too few molecules
    molecules: int  # in focus


@dataclass(frozen=True)
class Quantity:
    """One comparison of a movie with the training."""

    name: str
    measured: Any
    trained: Any
    outside: bool | None  # None: unknown
    line: str  # both in words
    remedy: dict[str, Any] = field(default_factory=dict)  # settings of `train` that would include the movie


def guard(inputs: Inputs, settings: LocalizeSettings, advise: Advise | None = None) -> dict[str, Any]:
    """Compare a movie with the training of its network; log what is outside, with a remedy.

    Parameters
    ----------
    settings : what to do, and thresholds of density and spot width.
    advise : writes the remedy.

    Returns
    -------
    The comparison, for records.

    Raises
    ------
    PlanelocError : something is outside and `on_distribution_mismatch` is ``stop``.
    """
    movie, weights = inputs.paths.movie, inputs.paths.weights
    measured = measure(inputs.movie, inputs.registration, inputs.psf, inputs.record, settings)
    quantities = compare(measured, inputs.record, inputs.movie, settings)
    outside = [quantity for quantity in quantities if quantity.outside]
    for quantity in outside:
        _LOG.warning(f"{movie}: {quantity.line} ({weights})")
    if not outside:
        if unknown := [quantity.line for quantity in quantities if quantity.outside is None]:
            _LOG.info(f"{movie}: {'; '.join(unknown)}")
        return as_dict(quantities)
    advice = "train a network for this movie"
    if advise:
        remedy = {name: value for quantity in outside for name, value in quantity.remedy.items()}
        other_widths = any(not quantity.remedy for quantity in outside)
        advice = advise(remedy, other_widths, inputs.record, inputs.reference_psf)
    if settings.on_distribution_mismatch == "stop":
        names = " and ".join(quantity.name for quantity in outside) + (" is" if len(outside) == 1 else " are")
        raise PlanelocError(f"{movie}: {names} outside the training distribution of {weights}; {advice}")
    _LOG.info(advice)
    return as_dict(quantities)


def measure(
    movie: Movie, registration: Registration, psf: PSF, record: NetworkRecord, settings: LocalizeSettings
) -> Measured:
    """Measure a few stretches of a movie, of which `psf` is the calibration.

    Molecules that are much denser than in training overlap: their brightness and width stay unknown.
    """
    cameras = movie.microscope.cameras
    cumulants, windows, levels = [], [], []
    spots_of_each = min(SPOTS_PER_STRETCH, SPOTS // len(stretch_starts(movie)))
    for stretch in stretches(movie):
        cumulants.append(measure_cumulants(stretch, cameras))
        windows.append(cut_windows(stretch, registration, spots_of_each))
        levels.append(np.median(stretch.background, axis=(1, 2)))
    trained = record.scene
    found = estimate_density(mean_cumulants(cumulants), psf, trained)
    background = np.minimum(found.background, np.median(levels, axis=0)).clip(min=0)  # dense molecules raise the median
    if found.density > settings.density_ratio_warn * densest(trained):
        return Measured(tuple(background.tolist()), found.density, None, (math.nan,) * psf.planes, 0)
    scene = _scene(movie, trained, background)
    spots = fit_windows(windows, cameras, psf)
    if photons := _range(spots.photons):
        scene = replace(scene, photons=photons)
    widths = relative_widths(spots, record.psf, scene, found.density, cameras)
    sharp = [own for own, width in zip(spots.photons, widths, strict=True) if not _other_width(width, settings)]
    return Measured(
        tuple(background.tolist()), found.density, _range(sharp), tuple(widths.tolist()), sum(map(len, sharp))
    )


def compare(measured: Measured, record: NetworkRecord, movie: Movie, settings: LocalizeSettings) -> list[Quantity]:
    """Compare a movie with the training, quantity by quantity."""
    here = _scene(movie, record.scene, measured.background)
    return [
        _background(here, measured, record.scene),
        _brightness(here, measured, record.scene),
        _spot_width(measured, movie, record.psf, settings),
        _density_quantity(measured, record.scene, settings),
    ]


def densest(scene: Scene) -> float:
    """Most molecules per pixel that a network has been trained with."""
    return scene.density[1] if scene.density else scene.emitters / scene.window_px**2


def as_dict(quantities: list[Quantity]) -> dict[str, Any]:
    """Return plain values; density per 16×16 pixels, spot widths over those of the network's PSF."""
    return {
        quantity.name.replace(" ", "_"): {
            "measured": quantity.measured,
            "trained": quantity.trained,
            "verdict": _VERDICTS[quantity.outside],
        }
        for quantity in quantities
    }


def _range(photons: Any) -> tuple[float, float] | None:
    found = np.concatenate([np.empty(0), *photons])
    return tuple(np.quantile(found, (0.05, 0.95)).tolist()) if len(found) >= FEWEST_EMITTERS else None


def _scene(movie: Movie, trained: Scene, background: Any) -> Scene:
    """The movie's cameras and background, all else as in training."""
    cameras = movie.microscope.cameras
    return replace(
        trained,
        background=(float(min(background)), float(max(background))),
        read_noise_photons=max(camera.read_noise_photons() for camera in cameras),
        quantum_efficiency=min(camera.quantum_efficiency for camera in cameras),
        em_multiplication=any(camera.em_gain > 1 for camera in cameras),
    )


def _other_width(factor: float, settings: LocalizeSettings) -> bool:
    return math.isfinite(factor) and not 1 / settings.width_ratio_warn <= factor <= settings.width_ratio_warn


def _background(here: Scene, measured: Measured, trained: Scene) -> Quantity:
    (low, high), (least, most) = here.background, trained.background
    return Quantity(
        "background",
        list(measured.background),
        list(trained.background),
        too_noisy(trained, here),
        f"background {low:.1f} to {high:.1f} photons per pixel (noise {pixel_noise(here):.1f}), trained with {least:g}"
        f" to {most:g} (noise {pixel_noise(trained):.1f})",
        {"background": f"{low:.1f}-{high:.1f}"},
    )


def _brightness(here: Scene, measured: Measured, trained: Scene) -> Quantity:
    least, most = trained.photons
    if measured.photons is None:
        line = f"brightness is unknown: only {measured.molecules} molecules in focus"
        return Quantity("brightness", None, list(trained.photons), None, line)
    low, high = measured.photons
    return Quantity(
        "brightness",
        list(measured.photons),
        list(trained.photons),
        other_brightness(trained, replace(here, photons=measured.photons)),
        f"brightness {low:.0f} to {high:.0f} photons per molecule, trained with {least:.0f} to {most:.0f}",
        {"photons": f"{low:.0f}-{high:.0f}"},
    )


def _spot_width(measured: Measured, movie: Movie, psf: PSF, settings: LocalizeSettings) -> Quantity:
    known = [width if math.isfinite(width) else None for width in measured.widths]
    cameras = zip(movie.microscope.cameras, known, strict=True)
    listed = ", ".join(f"{width:.2f} on {camera.name}" for camera, width in cameras if width)
    if not listed:
        return Quantity("spot width", known, 1.0, None, "spot width is unknown: too few molecules")
    line = f"spot width {listed} times that of the training's PSF (waist {psf.gaussian.waist_nm:.0f} nm)"
    outside = any(_other_width(width, settings) for width in measured.widths)
    return Quantity("spot width", known, 1.0, outside, line)


def _density_quantity(measured: Measured, trained: Scene, settings: LocalizeSettings) -> Quantity:
    here, most = (_PER_WINDOW * density for density in (measured.density, densest(trained)))
    wanted = min(here, _DENSEST_PER_WINDOW)
    remedy: dict[str, Any] = {"emitters": math.ceil(wanted)}
    if trained.density:
        remedy = {"density": f"{_PER_WINDOW * trained.density[0]:.2g}-{wanted:.2g}"}
    line = f"density {here:.2g} molecules per 16×16 pixels, trained with up to {most:.2g}"
    return Quantity("density", here, most, here > settings.density_ratio_warn * most, line, remedy)
