"""What training images shall contain: the settings, the cameras' noise, and the light, measured where it is not
given.
"""

from __future__ import annotations

import logging
import math

from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import measure_brightness_and_background
from planeloc.movie.store import Movie
from planeloc.networks.regression import SEEN_PX
from planeloc.psf import PSF
from planeloc.scenes.random_density import MOST_PER_PIXEL
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_CAMERA, PAPER_PHOTONS, Scene
from planeloc.training.settings import TrainSettings
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)

_DENSITY_PX = 16  # densities are given per square of so many pixels
_LEAST = {"photons": 1.0, "background": 0.0, "density": 0.0}
_MOST = {"photons": 1e7, "background": 1e6, "density": MOST_PER_PIXEL * _DENSITY_PX**2}
_UNITS = {
    "photons": "photons per molecule",
    "background": "photons per pixel",
    "density": "molecules per 16×16 pixels",
}


def check_scene_settings(settings: TrainSettings) -> None:
    """`PlanelocError` for what cannot be drawn or learned, before anything is read or measured."""
    for name in ("photons", "background"):
        if getattr(settings, name) != "auto":
            _interval(settings, name)
    if settings.network == "regression":
        if _interval(settings, "density")[1] == 0:
            raise PlanelocError("setting density: 0-0 leaves nothing to learn from; give a density above 0")
        if settings.window_px <= 2 * SEEN_PX:
            _LOG.warning(
                f"setting window_px: {settings.window_px}; the network looks {SEEN_PX} pixels far"
                " and would see a border from everywhere, as it will not in a movie; better are"
                f" {2 * SEEN_PX + 2} or more"
            )
    elif settings.emitters > MOST_PER_PIXEL * Scene.window_px**2:
        most = f"{int(MOST_PER_PIXEL * Scene.window_px**2)} emitters per {Scene.window_px}×{Scene.window_px} pixels"
        raise PlanelocError(f"setting emitters: {settings.emitters}; more than {most} cannot be told apart; give fewer")


def training_scene(
    psf: PSF,
    microscope: Microscope | None,
    movies: list[Movie],
    registration: Registration,
    usual: Scene | None,
    settings: TrainSettings,
) -> Scene:
    """The scene to train on. `usual` is the light to assume where a movie has too few molecules to measure it from."""
    photons, background = PAPER_PHOTONS, PAPER_BACKGROUND
    if movies and "auto" in (settings.photons, settings.background):
        photons, background = _measured_light(movies, psf, usual, settings)
    cameras = microscope.cameras if microscope else (PAPER_CAMERA,)
    extent = settings.depth_range_nm or natural_depth_range(psf)
    half = round(extent / settings.voxel_depth_nm) * settings.voxel_depth_nm / 2
    own = {}
    if settings.network == "regression":
        fewest, most = (number / _DENSITY_PX**2 for number in _interval(settings, "density"))
        own = {
            "window_px": settings.window_px,
            "density": (fewest, most),
            "background_error": settings.background_error,
        }
    return Scene(
        **own,
        emitters=settings.emitters,
        photons=photons if settings.photons == "auto" else _interval(settings, "photons"),
        background=background if settings.background == "auto" else _interval(settings, "background"),
        read_noise_photons=max(camera.read_noise_photons() for camera in cameras),
        quantum_efficiency=min(camera.quantum_efficiency for camera in cameras),
        em_multiplication=any(camera.em_gain > 1 for camera in cameras),
        upsampling=settings.upsampling,
        voxel_depth_nm=settings.voxel_depth_nm,
        depth_range_nm=(-half, half),
        drift_voxels=settings.drift_voxels,
        registration_resampling=settings.registration_resampling,
        registration_sd_nm=_registration_sd_nm(registration),
    )


def _registration_sd_nm(registration: Registration) -> float | tuple[float, ...]:
    """How well the maps of planes 1… are known, rms over the field; 0 where the file does not say.

    `register` finds x and y of a map from the same beads, alike and independent: one value describes both.
    """
    fields = (registration.field_sd_nm(plane)[0] for plane in range(1, registration.planes))
    known = tuple(sd if math.isfinite(sd) else 0.0 for sd in fields)
    return known if any(known) else 0.0


def _measured_light(
    movies: list[Movie], psf: PSF, usual: Scene | None, settings: TrainSettings
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Photons and background to train on.

    The regression network says how sure it is of every molecule, so that it should have seen the dimmest that show:
    its range begins at those. Dim molecules cost the other, whose molecules are alike, some of its accuracy.
    """
    try:
        light = measure_brightness_and_background(movies, psf)
    except PlanelocError as error:
        if usual is None:
            raise
        _LOG.warning(f"{error}; taking the light of the given weights")
        return usual.photons, usual.background
    photons = light.photons
    if settings.network == "regression":
        photons = (max(_LEAST["photons"], min(photons[0], light.faintest)), photons[1])
    _LOG.info(
        f"measured light: {light.photons[0]:.0f} to {light.photons[1]:.0f} photons per molecule,"
        f" background {light.background[0]:.1f} to {light.background[1]:.1f} photons per pixel"
        f" ({light.emitters} molecules); training begins at {photons[0]:.0f} photons"
    )
    for name, high in (("photons", photons[1]), ("background", light.background[1])):
        if high > _MOST[name]:
            raise PlanelocError(
                f"{movies[0].manifest}: {high:.3g} {_UNITS[name]} were measured; check offset and gain in the"
                f" microscope file, or give {name}"
            )
    return photons, light.background


def natural_depth_range(psf: PSF) -> float:
    """The planes' span and half a spacing beyond each end: the paper's slabs."""
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    return span * psf.planes / (psf.planes - 1)


def _interval(settings: TrainSettings, name: str) -> tuple[float, float]:
    """``"1600-5400"`` → (1600.0, 5400.0)."""
    text = getattr(settings, name)
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high < math.inf:
        raise PlanelocError(
            f"setting {name}: {text!r} is neither auto nor an interval such as 1600-5400, the lower end first"
        )
    if low < _LEAST[name]:
        raise PlanelocError(f"setting {name}: {text!r} begins below {_LEAST[name]:g}; give {_UNITS[name]} that show")
    if high > _MOST[name]:
        raise PlanelocError(
            f"setting {name}: {text!r} ends above {_MOST[name]:g} {_UNITS[name]}, the most that is drawn;"
            f" give a smaller {name}"
        )
    return low, high
