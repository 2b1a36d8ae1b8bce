"""What a network learns: the `Task` of its kind, and the random numbers of a training.

Every batch is drawn from the seed and its step number. Other images have numbers that no step of a training reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.networks.kinds import network_kind
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.training.detection_errors import DetectionErrors
from planeloc.training.settings import TrainSettings

VALIDATION_STEP = 1 << 40
INPUT_SCALE_STEP = VALIDATION_STEP + 1
ACCURACY_STEP = VALIDATION_STEP + 2
CALIBRATION_STEP = ACCURACY_STEP + 4

Forward = Callable[[Tensor], Any]


class Task(Protocol):
    """What one kind of network learns, from which images, and how well."""

    record: NetworkRecord
    gradient_limit: float  # norm to which longer gradients are clipped
    warmup: int  # steps over which the learning rate rises

    def draw(self, size: int, generator: torch.Generator) -> Any:
        """Draw images with their ground truth, a `planeloc.core.memory.Sliceable`."""

    def loss(self, forward: Forward, batch: Any) -> Tensor:
        """Return the loss, averaged over the images."""

    def validate(self, forward: Forward, batches: Iterable[Any]) -> dict[str, float]:
        """Return values of all batches for the learning curve: `validation_loss`, `lateral_nm`, `axial_nm`, others."""

    def examine(self, network: Forward, batch: Any, record: NetworkRecord) -> DetectionErrors:
        """Match what a trained network finds with the ground truth; only of kinds that are `calibrated`."""


def new_task(psf: PSF, scene: Scene, settings: TrainSettings, step: int) -> Task:
    """Return the task of the kind of network that the settings name; `step` is that of the images it may draw."""
    return network_kind(settings.network).task(psf, scene, settings, generator(settings.seed, step))


def generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the random numbers of a step."""
    # Distinct seeds and steps give distinct 64-bit numbers; the generator scrambles them.
    return torch.Generator(device).manual_seed((seed << 42) + step)


def channels(settings: TrainSettings, number: int, of_what: str) -> tuple[int, ...]:
    """Return the channels that the settings give, or raise `PlanelocError` where they are not `number`."""
    try:
        given = tuple(int(c) for c in settings.channels.split(","))
    except ValueError:
        given = ()
    if len(given) != number or min(given) < 1:
        raise PlanelocError(f"setting channels: {settings.channels!r} must be {number} whole numbers for {of_what}")
    return given
