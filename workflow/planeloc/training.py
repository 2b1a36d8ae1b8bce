"""The `train` stage: the network for a microscope, adopted where given weights fit it, else trained for it."""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from planeloc.agreement import disagreements, side_by_side
from planeloc.devices import choose_device, describe_device
from planeloc.errors import PlanelocError
from planeloc.figures.training import draw_training
from planeloc.files import atomic_path, read_json, write_json
from planeloc.geometry import Registration
from planeloc.learning import DivergedError, fit_network
from planeloc.light import measure_light
from planeloc.microscope import Microscope, read_microscope
from planeloc.movie import Movie
from planeloc.networks import NetworkRecord, load_network, save_network
from planeloc.optics import PSF, paper_psf, read_psf
from planeloc.simulation import PAPER_BACKGROUND, PAPER_CAMERA, PAPER_PHOTONS, Scene
from planeloc.train_settings import TrainSettings


def train(
    psf: Path | None,
    microscope: Path | None,
    movies: list[Path],
    start_from: Path | None,
    output: Path,
    record: Path,
    figure: Path,
    settings: TrainSettings,
    registration: Path | None = None,
) -> dict[str, Any]:
    """Provide the network for a microscope: adopt given weights if they fit it, else train.

    Parameters
    ----------
    psf : from `planeloc calibrate`; None for the paper's microscope.
    microscope : its cameras' noise; None for that of the first movie, or of Table 2 where there is none.
    movies : manifests of movies to measure the light from, where settings say ``auto``.
    start_from : weights to adopt, or to begin with.
    registration : maps of the cameras: training shows the network how well they are known.

    Returns what was decided and reached; the same is written to `record`.
    """
    settings = settings.resolved()
    measured = read_psf(psf) if psf else paper_psf()
    maps = Registration.read(registration) if registration else Registration.identity(measured.planes)
    measured = measured.seen_through(maps.matrices)  # planes are sampled in the reference's frame before they are seen
    start, made_for, reasons = None, None, []
    if start_from:
        start, made_for = load_network(start_from)
    opened = [Movie.open(path) for path in movies]
    of_movie = opened[0].microscope if opened else None
    scene = _scene(
        measured,
        read_microscope(microscope) if microscope else of_movie,
        opened,
        _registration_sd_nm(maps) if registration else 0.0,
        made_for.scene if made_for else None,
        settings,
    )
    if start_from:
        reasons = disagreements(made_for, measured, scene, settings.maximum_depth_error_nm, settings.network)
        if not reasons:
            print(f"planeloc: {start_from} fits this microscope; no training needed", file=sys.stderr)
            with atomic_path(output) as partial:
                shutil.copyfile(start_from, partial)
            return _report(
                record, figure, "adopted", [], made_for, measured, scene, _history_beside(start_from), settings
            )
        message = f"{start_from} does not fit this microscope: {'; '.join(reasons)}"
        if settings.on_mismatch == "stop":
            raise PlanelocError(
                f"{message}; give weights made for it, or let on_mismatch be train\n"
                f"{side_by_side(made_for, measured, scene)}"
            )
        if made_for.kind != settings.network:
            start = None
        beginning = "beginning with these weights" if start else "from the beginning"
        print(f"planeloc: {message}; training, {beginning}", file=sys.stderr)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    try:
        network, made_for, history = fit_network(measured, scene, start, checkpoint, settings)
    except DivergedError as error:
        kept = output.with_suffix(".last_good.safetensors")
        save_network(kept, error.network, error.record)
        raise PlanelocError(f"{error}; the last good weights are kept in {kept}") from None
    save_network(output, network, made_for)
    result = _report(record, figure, "trained", reasons, made_for, measured, scene, history, settings)
    checkpoint.unlink(missing_ok=True)
    return result


def _scene(
    psf: PSF,
    microscope: Microscope | None,
    movies: list[Movie],
    registration_sd_nm: float,
    usual: Scene | None,
    settings: TrainSettings,
) -> Scene:
    """What training images contain: the settings, the cameras' noise, and the light, measured where it is not given.

    `usual` is the light to assume where a movie has too few molecules to measure it from.
    """
    photons, background = PAPER_PHOTONS, PAPER_BACKGROUND
    if movies and "auto" in (settings.photons, settings.background):
        photons, background = _measured_light(movies, psf, usual)
    cameras = microscope.cameras if microscope else (PAPER_CAMERA,)
    extent = settings.depth_range_nm or _natural_depth_range(psf)
    half = round(extent / settings.voxel_depth_nm) * settings.voxel_depth_nm / 2
    own = {}
    if settings.network == "regression":
        fewest, most = (number / 16**2 for number in _interval(settings.density, "density"))
        own = {
            "window_px": settings.window_px,
            "density": (fewest, most),
            "background_error": settings.background_error,
        }
    return Scene(
        **own,
        emitters=settings.emitters,
        photons=photons if settings.photons == "auto" else _interval(settings.photons, "photons"),
        background=background if settings.background == "auto" else _interval(settings.background, "background"),
        read_noise_photons=max(camera.read_noise_photons() for camera in cameras),
        quantum_efficiency=min(camera.quantum_efficiency for camera in cameras),
        em_multiplication=any(camera.em_gain > 1 for camera in cameras),
        upsampling=settings.upsampling,
        voxel_depth_nm=settings.voxel_depth_nm,
        depth_range_nm=(-half, half),
        drift_voxels=settings.drift_voxels,
        registration_resampling=settings.registration_resampling,
        registration_sd_nm=registration_sd_nm,
    )


def _registration_sd_nm(registration: Registration) -> float:
    """How well the least known map is known, rms over the field; 0 where the file does not say."""
    known = [registration.field_sd_nm(plane)[0] for plane in range(registration.planes)]
    return max((sd for sd in known if math.isfinite(sd)), default=0.0)


def _measured_light(
    movies: list[Movie], psf: PSF, usual: Scene | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    try:
        light = measure_light(movies, psf)
    except PlanelocError as error:
        if usual is None:
            raise
        print(f"planeloc: warning: {error}; taking the light of the given weights", file=sys.stderr)
        return usual.photons, usual.background
    print(
        f"planeloc: measured light: {light.photons[0]:.0f} to {light.photons[1]:.0f} photons per molecule,"
        f" background {light.background[0]:.1f} to {light.background[1]:.1f} photons per pixel"
        f" ({light.emitters} molecules)",
        file=sys.stderr,
    )
    return light.photons, light.background


def _natural_depth_range(psf: PSF) -> float:
    """The planes' span and half a spacing beyond each end: the paper's slabs."""
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    return span * psf.planes / (psf.planes - 1)


def _interval(text: str, name: str) -> tuple[float, float]:
    """``"1600-5400"`` → (1600.0, 5400.0)."""
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high:
        raise PlanelocError(f"setting {name}: {text!r} is neither auto nor an interval such as 1600-5400")
    return low, high


def _history_beside(weights: Path) -> list[dict[str, float]]:
    """The learning curve in the record that was shipped with adopted weights."""
    path = weights.with_suffix(".training.json")
    return read_json(path)["history"] if path.is_file() else []


def _report(
    record: Path,
    figure: Path,
    decision: str,
    reasons: list[str],
    network: NetworkRecord,
    psf: PSF,
    scene: Scene,
    history: list[dict[str, float]],
    settings: TrainSettings,
) -> dict[str, Any]:
    """Write the training record and its figure."""
    device = choose_device(settings.device)
    content = {
        "decision": decision,
        "reasons": reasons,
        "network": network.as_dict(),
        "microscope_psf": psf.as_dict(),
        "microscope_scene": scene.as_dict(),
        "settings": asdict(settings),
        "device": describe_device(device) if decision == "trained" else "none: weights were adopted",
        "torch": torch.__version__,
        "history": history,
    }
    write_json(record, content)
    draw_training(figure, history, network, psf, decision)
    return {"decision": decision, "reasons": reasons, "device": content["device"], "seed": settings.seed}
