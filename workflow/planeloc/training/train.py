"""The `train` stage: the network for a microscope, adopted where given weights fit it, else trained for it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from planeloc.cameras.microscope import read_microscope
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.locks import lock_of, locked
from planeloc.core.marks import CHECKPOINT, WEIGHTS, refuse_foreign, remove_own
from planeloc.diagnostics.depth_ambiguity import check_depths
from planeloc.movie.store import Movie
from planeloc.networks.kinds import network_kind
from planeloc.networks.training_match import disagreements, side_by_side
from planeloc.networks.weight_files import NetworkRecord, load_network, save_network
from planeloc.psf import PSF, paper_psf, read_psf
from planeloc.scenes.scene import Scene
from planeloc.training.accuracy_table import Row, accuracy_table, calibrate_deviations
from planeloc.training.checkpoint import History
from planeloc.training.loop import DivergedError, fit_network
from planeloc.training.results import TrainingResult, shipped_results
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
    synchronization: Sequence[Path] = (),
) -> dict[str, Any]:
    """Provide the network for a microscope: adopt given weights if they fit it, else train.

    Parameters
    ----------
    psf : from `planeloc calibrate`; None: the paper's microscope.
    microscope : its cameras' noise; None: that of the first movie, or of Table 2 where there is none.
    movies : manifests; photons and background are measured in them where settings say ``auto``.
    start_from : weights to adopt, or to begin with.
    output, record, figure : weights, training record (JSON) and its figure, to write.
    settings : how to train.
    registration : transforms of the cameras, whose standard deviations the network learns.
    synchronization : files of the `synchronize` stage, one for every movie, in the same order; none: all in step.

    Returns
    -------
    What was decided, for the provenance.

    Raises
    ------
    PlanelocError : files do not fit each other, settings cannot be learned, weights do not fit, training diverges, or
        another run trains into the same file.
    """
    settings = settings.resolved()
    check_scene_settings(settings)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    with locked(output, lock_of(checkpoint)):  # weights of other suffixes have the same checkpoint
        refuse_foreign(checkpoint, CHECKPOINT)
        refuse_foreign(_last_good(output), WEIGHTS)
        files = psf, microscope, movies, start_from, output, record, figure
        return _provide(*files, settings, registration, synchronization, checkpoint)


def _provide(
    psf: Path | None,
    microscope: Path | None,
    movies: list[Path],
    start_from: Path | None,
    output: Path,
    record: Path,
    figure: Path,
    settings: TrainSettings,
    registration: Path | None,
    synchronization: Sequence[Path],
    checkpoint: Path,
) -> dict[str, Any]:
    """`train` while its lock is held."""
    measured, transforms = _optics(psf, registration)
    start, made_for = load_network(start_from) if start_from else (None, None)
    if synchronization and len(synchronization) != len(movies):
        raise PlanelocError(
            f"{len(synchronization)} files of synchronize for {len(movies)} movies; give one for every movie, or none"
        )
    opened = [Movie.open(*paths) for paths in zip(movies, synchronization or [None] * len(movies), strict=True)]
    of_movie = opened[0].microscope if opened else None
    cameras = read_microscope(microscope) if microscope else of_movie
    usual = made_for.scene if made_for else None
    scene = training_scene(measured, cameras, opened, transforms, usual, settings)
    reasons = []
    if start_from:
        reasons = disagreements(made_for, measured, scene, settings.maximum_depth_error_nm, settings.network)
        if not reasons:
            _LOG.info(f"{start_from} fits this microscope; no training needed")
            with atomic_path(output, WEIGHTS) as partial:
                shutil.copyfile(start_from, partial)
            adopted = TrainingResult("adopted", [], measured, scene, settings, made_for, *shipped_results(start_from))
            return adopted.write(record, figure)
        start = _start(start_from, start, made_for, reasons, measured, scene, settings)
    source = str(psf or "the paper's microscope")
    check_depths(measured, scene, source, settings.ambiguity_warn, settings.ambiguity_fail)
    _LOG.info(_describe(measured, scene, microscope or (movies[0] if movies else None)))
    trained = _train(measured, scene, start, output, checkpoint, settings)
    used = TrainingResult("trained", reasons, measured, scene, settings, *trained).write(record, figure)
    remove_own(checkpoint, CHECKPOINT)
    return used


def _describe(psf: PSF, scene: Scene, cameras: Path | None) -> str:
    """The images of a training, in one line."""
    (dimmest, brightest), (least, most) = scene.photons, scene.background
    noise = f"cameras of {cameras}" if cameras else "the paper's cameras (give --microscope for yours)"
    return (
        f"training for {psf.planes} planes, {dimmest:g} to {brightest:g} photons on a background of {least:g} to"
        f" {most:g}, {noise}"
    )


def _optics(psf: Path | None, registration: Path | None) -> tuple[PSF, Registration]:
    """The PSF in the reference camera's frame, in which planes are resampled, and the transforms."""
    measured = read_psf(psf) if psf else paper_psf()
    transforms = Registration.read(registration) if registration else Registration.identity(measured.planes)
    if transforms.planes != measured.planes:
        raise PlanelocError(
            f"{registration} has {transforms.planes} planes and {psf or 'the paper'} {measured.planes}; calibrate and"
            " register beads of the same cameras"
        )
    return measured.in_reference_frame(transforms.matrices), transforms


def _start(
    start_from: Path,
    network: nn.Module,
    made_for: NetworkRecord,
    reasons: list[str],
    psf: PSF,
    scene: Scene,
    settings: TrainSettings,
) -> nn.Module | None:
    """The network to begin with, of weights that do not fit; None where random weights learn faster."""
    message = f"{start_from} does not fit this microscope: {'; '.join(reasons)}"
    if settings.on_mismatch == "stop":
        raise PlanelocError(
            f"{message}; give weights made for it, or set on_mismatch: train\n{side_by_side(made_for, psf, scene)}"
        )
    helps = made_for.psf.planes == psf.planes or network_kind(settings.network).transfers_between_planes
    start = network if made_for.kind == settings.network and helps else None
    _LOG.info(f"{message}; training, {'beginning with these weights' if start else 'from the beginning'}")
    return start


def _last_good(output: Path) -> Path:
    return output.with_suffix(".last_good.safetensors")


def _train(
    psf: PSF, scene: Scene, start: nn.Module | None, output: Path, checkpoint: Path, settings: TrainSettings
) -> tuple[NetworkRecord, History, list[Row]]:
    """Train, calibrate, save the weights; return their record, the learning curve and the accuracy table."""
    try:
        network, record, history = fit_network(psf, scene, start, checkpoint, settings)
    except DivergedError as error:
        kept = _last_good(output)
        save_network(kept, error.network, error.record)
        raise PlanelocError(f"{error}; the last good weights are kept in {kept}") from None
    record = calibrate_deviations(network, record, settings)
    save_network(output, network, record)
    return record, history, accuracy_table(network, record, settings)
