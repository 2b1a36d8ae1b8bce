"""How accurate a trained network is on images it has not seen: calibration of its deviations, and the accuracy table.

The table has errors by depth and brightness of the molecules, beside their Cramér-Rao bound.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from planeloc.core.devices import choose_device
from planeloc.core.memory import AdaptiveBatch
from planeloc.networks.kinds import network_kind
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.psf.fisher_information import position_bound
from planeloc.scenes.scene import Scene
from planeloc.training.detection_errors import DetectionErrors, score
from planeloc.training.loop import draw_validation
from planeloc.training.settings import TrainSettings
from planeloc.training.task import ACCURACY_STEP, CALIBRATION_STEP, new_task

_LOG = logging.getLogger(__name__)

LAYERS = 8  # of depth
_VALIDATIONS = 4  # worth of images: more than a validation has, since each row has few of their molecules
_FEWEST_DETECTIONS = 100  # to calibrate deviations
_MOST_BOUNDS = 2000  # molecules whose bound is computed

Row = dict[str, Any]


def calibrate_deviations(network: nn.Module, record: NetworkRecord, settings: TrainSettings) -> NetworkRecord:
    """Return the record of a trained network with the factors that calibrate its standard deviations.

    The likelihood makes deviations right for the intended molecules. Matched to detections, some molecules are farther
    away: neighbours that were not resolved. So the rms normalised errors are measured, on images of their own, and
    deviations multiplied by them (like temperature scaling; Guo et al. 2017). Other kinds keep their record.
    """
    if not network_kind(record.kind).calibrated:
        return record
    _LOG.info("measuring the accuracy of the network on other images")
    errors = _examined(network, replace(record, deviation_factors=None), settings, CALIBRATION_STEP)
    if errors.found.sum() < _FEWEST_DETECTIONS:
        _LOG.info(f"fewer than {_FEWEST_DETECTIONS} molecules found; deviations are not calibrated")
        return record
    reached = score(errors)
    lateral = math.hypot(reached["normalised_error_x"], reached["normalised_error_y"]) / math.sqrt(2)
    return replace(record, deviation_factors=(lateral, reached["normalised_error_z"]))


def accuracy_table(network: nn.Module, record: NetworkRecord, settings: TrainSettings) -> list[Row]:
    """Return the accuracy of a trained network by depth and brightness (`tabulate`); empty of kinds that have none."""
    if not network_kind(record.kind).calibrated:
        return []
    return tabulate(_examined(network, record, settings, ACCURACY_STEP), record.psf, record.scene)


def _examined(network: nn.Module, record: NetworkRecord, settings: TrainSettings, step: int) -> DetectionErrors:
    """Errors in some validations' worth of images that are drawn for this alone."""
    device = choose_device(settings.device)
    task = new_task(record.psf, record.scene, settings, 0)
    network = network.to(device, memory_format=torch.channels_last).eval()
    adaptive = AdaptiveBatch(settings.validation, device, "accuracy table")
    errors = []
    for number in range(_VALIDATIONS):
        batch = draw_validation(task, settings, step + number, device)
        with torch.inference_mode():
            errors += adaptive.retry(
                lambda batch=batch: [task.examine(network, part, record) for part in adaptive.split(batch)]
            )
    return DetectionErrors.joined(errors)


def tabulate(errors: DetectionErrors, psf: PSF, scene: Scene) -> list[Row]:
    """Return one row for every layer of depth and either half of the range of photons.

    Each has the interval of `depth_nm` and of `photons`, the number of `molecules`, `recall`, and of those that were
    found the rms errors (`lateral_nm`, `axial_nm`), rms normalised errors (`normalised_error_x`, …) and the Cramér-Rao
    bound of isolated molecules without inter-camera drift (`bound_lateral_nm`, …). None where none was found.
    """
    bound = _bounds(errors, psf, scene)
    rows = []
    for depth_nm, photons, own in _groups(errors, scene):
        recall = float(errors.found[own].mean()) if own.any() else None
        row = {"depth_nm": depth_nm, "photons": photons, "molecules": int(own.sum()), "recall": recall}
        rows.append(row | _errors(errors, bound, own & errors.found))
    return rows


def _groups(errors: DetectionErrors, scene: Scene) -> Iterator[tuple[list[float], list[float], NDArray[np.bool_]]]:
    """Depth and photons of every row, and which molecules are in it: every molecule is in one row."""
    depths = np.linspace(*scene.depth_range_nm, LAYERS + 1)
    low, high = scene.photons
    middle = (low + high) / 2
    bright = errors.photons >= middle
    layer = np.searchsorted(depths[1:-1], errors.position_nm[:, 2], side="right")  # rounding may exceed the ends
    for half, dimmest, brightest in ((~bright, low, middle), (bright, middle, high)):
        for number, (lower, upper) in enumerate(pairwise(depths)):
            yield [float(lower), float(upper)], [dimmest, brightest], half & (layer == number)


def _errors(errors: DetectionErrors, bound: NDArray[np.float64], own: NDArray[np.bool_]) -> Row:
    """The columns of a row that describe the molecules that were found."""
    found, known = errors.error_nm[own], own & ~np.isnan(bound[:, 0])
    columns = (found, found / errors.sd_nm[own], bound[known])
    error, normalised, least = (np.sqrt((c**2).mean(axis=0)) if len(c) else np.full(3, np.nan) for c in columns)
    values = {
        "lateral_nm": math.hypot(*error[:2]),
        "axial_nm": error[2],
        **{f"normalised_error_{axis}": value for axis, value in zip("xyz", normalised, strict=True)},
        "bound_lateral_nm": math.hypot(*least[:2]),
        "bound_axial_nm": least[2],
    }
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def _bounds(errors: DetectionErrors, psf: PSF, scene: Scene) -> NDArray[np.float64]:
    """(n, 3) the bound of some of the molecules that were found; NaN of all others."""
    found = np.nonzero(errors.found)[0]
    some = found[:: max(1, math.ceil(len(found) / _MOST_BOUNDS))]
    bound = np.full((len(errors.found), 3), np.nan)
    level = np.full(len(some), float(np.mean(scene.background)))
    noise = scene.pixel_noise(psf.planes)
    with torch.inference_mode():
        bound[some] = position_bound(psf, noise, errors.position_nm[some], errors.photons[some], level)
    return bound
