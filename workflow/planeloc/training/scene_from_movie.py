"""The training scene for a movie: settings, cameras' noise, and photons and background measured where not given."""

from __future__ import annotations

import logging
import math

from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import measure_brightness_and_background
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.psf import PSF
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_CAMERA, PAPER_PHOTONS, Scene, natural_depth_range
from planeloc.training.settings import BOUNDS, SCENE_SETTINGS, TrainSettings
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)


def check_scene_settings(settings: TrainSettings) -> None:
    """Raise `PlanelocError` for settings whose scenes cannot be drawn or learned, before anything is read."""
    for name in ("photons", "background"):
        if getattr(settings, name) != "auto":
            settings.interval(name)
    network_kind(settings.network).check_settings(settings)


def training_scene(
    psf: PSF,
    microscope: Microscope | None,
    movies: list[Movie],
    registration: Registration,
    usual: Scene | None,
    settings: TrainSettings,
) -> Scene:
    """Return the scene to train on.

    Parameters
    ----------
    psf, microscope : of the movies; no microscope: the paper's cameras.
    movies : to measure photons and background in.
    registration : transforms of the cameras.
    usual : photons and background to assume where the movies have too few molecules; None: an error.
    settings : resolved.
    """
    photons, background = PAPER_PHOTONS, PAPER_BACKGROUND
    if movies and "auto" in (settings.photons, settings.background):
        photons, background = _measured(movies, psf, usual, settings)
    cameras = microscope.cameras if microscope else (PAPER_CAMERA,)
    extent = settings.depth_range_nm or natural_depth_range(psf)
    half = round(extent / settings.voxel_depth_nm) * settings.voxel_depth_nm / 2
    return Scene(
        **{name: getattr(settings, name) for name in SCENE_SETTINGS},
        **network_kind(settings.network).scene_fields(settings),
        photons=photons if settings.photons == "auto" else settings.interval("photons"),
        background=background if settings.background == "auto" else settings.interval("background"),
        read_noise_photons=max(camera.read_noise_photons() for camera in cameras),
        quantum_efficiency=min(camera.quantum_efficiency for camera in cameras),
        em_multiplication=any(camera.em_gain > 1 for camera in cameras),
        depth_range_nm=(-half, half),
        registration_sd_nm=_registration_sd_nm(registration),
    )


def _registration_sd_nm(registration: Registration) -> float | tuple[float, ...]:
    """Standard deviation of the transforms of planes 1…, rms over the field; 0 where unknown.

    `register` finds x and y of a transform from the same beads, equally and independently: one value describes both.
    """
    fields = (registration.transform_sd_nm(plane)[0] for plane in range(1, registration.planes))
    known = tuple(sd if math.isfinite(sd) else 0.0 for sd in fields)
    return known if any(known) else 0.0


def _measured(
    movies: list[Movie], psf: PSF, usual: Scene | None, settings: TrainSettings
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Photons and background to train on; dim molecules cost a kind that does not need them some of its accuracy."""
    try:
        measured = measure_brightness_and_background(movies, psf)
    except PlanelocError as error:
        if usual is None:
            raise
        _LOG.warning(f"{error}; using photons and background of the given weights")
        return usual.photons, usual.background
    photons = measured.photons
    if network_kind(settings.network).learns_faintest:
        photons = (max(BOUNDS["photons"].least, min(photons[0], measured.faintest)), photons[1])
    _LOG.info(
        f"measured {measured.photons[0]:.0f} to {measured.photons[1]:.0f} photons per molecule,"
        f" background {measured.background[0]:.1f} to {measured.background[1]:.1f} photons per pixel"
        f" ({measured.emitters} molecules); a network for this movie is trained from {photons[0]:.0f} photons on"
    )
    for name, high in (("photons", photons[1]), ("background", measured.background[1])):
        if high > BOUNDS[name].most:
            raise PlanelocError(
                f"{movies[0].manifest}: {high:.3g} {BOUNDS[name].unit} were measured; check offset and gain in the"
                f" microscope file, or give {name}"
            )
    return photons, measured.background
