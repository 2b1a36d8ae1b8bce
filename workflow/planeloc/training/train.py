"""The `train` stage: the network for a microscope, adopted where given weights fit it, else trained for it."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from planeloc.cameras.microscope import read_microscope
from planeloc.core.devices import choose_device, describe_device
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, read_json, write_json
from planeloc.diagnostics.depth_ambiguity import check_depths
from planeloc.movie.store import Movie
from planeloc.networks.compatibility import disagreements, side_by_side
from planeloc.networks.kinds import network_kind
from planeloc.networks.record import NetworkRecord, load_network, save_network
from planeloc.psf import PSF, paper_psf, read_psf
from planeloc.scenes.scene import Scene
from planeloc.training.accuracy_table import Row
from planeloc.training.figure import draw_training
from planeloc.training.loop import DivergedError, examine_network, fit_network, with_true_deviations
from planeloc.training.scene_from_movie import check_scene_settings, training_scene
from planeloc.training.settings import TrainSettings
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)


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
    check_scene_settings(settings)
    measured = read_psf(psf) if psf else paper_psf()
    maps = Registration.read(registration) if registration else Registration.identity(measured.planes)
    if maps.planes != measured.planes:
        raise PlanelocError(
            f"{registration} has {maps.planes} planes and {psf or 'the paper'} {measured.planes}; calibrate and"
            " register beads of the same cameras"
        )
    measured = measured.seen_through(maps.matrices)  # planes are sampled in the reference's frame before they are seen
    start, made_for, reasons = None, None, []
    if start_from:
        start, made_for = load_network(start_from)
    opened = [Movie.open(path) for path in movies]
    of_movie = opened[0].microscope if opened else None
    scene = training_scene(
        measured,
        read_microscope(microscope) if microscope else of_movie,
        opened,
        maps,
        made_for.scene if made_for else None,
        settings,
    )
    if start_from:
        reasons = disagreements(made_for, measured, scene, settings.maximum_depth_error_nm, settings.network)
        if not reasons:
            _LOG.info(f"{start_from} fits this microscope; no training needed")
            with atomic_path(output) as partial:
                shutil.copyfile(start_from, partial)
            history, examined = _shipped_with(start_from)
            return _report(record, figure, "adopted", [], made_for, measured, scene, history, examined, settings)
        message = f"{start_from} does not fit this microscope: {'; '.join(reasons)}"
        if settings.on_mismatch == "stop":
            raise PlanelocError(
                f"{message}; give weights made for it, or let on_mismatch be train\n"
                f"{side_by_side(made_for, measured, scene)}"
            )
        if not _worth_beginning_with(made_for, measured, settings):
            start = None
        beginning = "beginning with these weights" if start else "from the beginning"
        _LOG.info(f"{message}; training, {beginning}")
    check_depths(measured, scene, str(psf or "the paper's microscope"))
    cameras = microscope or (movies[0] if movies else None)
    _LOG.info(_trained_for(measured, scene, cameras))
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    try:
        network, made_for, history = fit_network(measured, scene, start, checkpoint, settings)
    except DivergedError as error:
        kept = output.with_suffix(".last_good.safetensors")
        save_network(kept, error.network, error.record)
        raise PlanelocError(f"{error}; the last good weights are kept in {kept}") from None
    made_for = with_true_deviations(network, made_for, settings)
    save_network(output, network, made_for)
    examined = examine_network(network, made_for, settings)
    result = _report(record, figure, "trained", reasons, made_for, measured, scene, history, examined, settings)
    checkpoint.unlink(missing_ok=True)
    return result


def _worth_beginning_with(made_for: NetworkRecord, psf: PSF, settings: TrainSettings) -> bool:
    """Whether a training begins better with such weights than with none."""
    if made_for.kind != settings.network:
        return False
    return made_for.psf.planes == psf.planes or network_kind(settings.network).transfers_between_planes


def _trained_for(psf: PSF, scene: Scene, cameras: Path | None) -> str:
    """In one line, what the images of a training are like."""
    (dimmest, brightest), (least, most) = scene.photons, scene.background
    noise = f"cameras of {cameras}" if cameras else "the paper's cameras (give --microscope for yours)"
    return (
        f"training for {psf.planes} planes, {dimmest:g} to {brightest:g} photons on a background of {least:g} to"
        f" {most:g}, {noise}"
    )


def _shipped_with(weights: Path) -> tuple[list[dict[str, float]], list[Row]]:
    """The learning curve and the examination in the record that was shipped with adopted weights."""
    path = weights.with_suffix(".training.json")
    record = read_json(path) if path.is_file() else {}
    return record.get("history", []), record.get("examination", [])


def _report(
    record: Path,
    figure: Path,
    decision: str,
    reasons: list[str],
    network: NetworkRecord,
    psf: PSF,
    scene: Scene,
    history: list[dict[str, float]],
    examined: list[Row],
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
        "examination": examined,
    }
    write_json(record, content)
    draw_training(figure, history, examined, network, psf, decision)
    return {"decision": decision, "reasons": reasons, "device": content["device"], "seed": settings.seed}
