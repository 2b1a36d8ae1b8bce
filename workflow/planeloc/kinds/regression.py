"""The regression network: molecules with standard deviations, on the camera's pixels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from planeloc.core.errors import PlanelocError
from planeloc.networks.kinds import NetworkKind
from planeloc.networks.regression import SEEN_PX, Architecture, RegressionNetwork

if TYPE_CHECKING:
    import torch

    from planeloc.localization.context import LocalizationContext
    from planeloc.localization.detections import Finder
    from planeloc.networks.weight_files import NetworkRecord
    from planeloc.psf import PSF
    from planeloc.scenes.scene import Scene
    from planeloc.training.regression_task import RegressionTask
    from planeloc.training.settings import TrainSettings

_LOG = logging.getLogger(__name__)


class Regression(NetworkKind):
    """For every pixel the probability of a molecule, its position and photons, and their standard deviations."""

    name = Architecture.kind
    architecture = Architecture
    training_defaults = {"samples": 200_000, "batch": 8, "learning_rate": 3e-3, "channels": "24,48,64"}  # noqa: RUF012
    detection_threshold = 0.3
    shipped_weights = "resources/regression.safetensors"
    scene_settings = ("density", "window_px", "background_error", "edges")
    calibrated = True
    learns_faintest = True  # it says how certain it is of every molecule, and must have seen the dimmest
    transfers_between_planes = False  # first and last layers are lost; it learns more slowly (docs/benchmarks.md)
    loss_label, error_label = "minus log-likelihood per image", "rms error in validation (nm)"

    def build(self, record: NetworkRecord) -> RegressionNetwork:
        return RegressionNetwork(record.architecture, record.input_scale, sum(record.scene.density) / 2)

    def task(self, psf: PSF, scene: Scene, settings: TrainSettings, generator: torch.Generator) -> RegressionTask:
        from planeloc.training.regression_task import RegressionTask

        return RegressionTask(psf, scene, settings)

    def finder(self, context: LocalizationContext) -> Finder:
        from planeloc.localization.find_regression import RegressionFinder

        return RegressionFinder(context)

    def check_settings(self, settings: TrainSettings) -> None:
        if settings.interval("density")[1] == 0:
            raise PlanelocError("setting density: 0-0 leaves nothing to learn from; give a density above 0")
        if settings.window_px <= 2 * SEEN_PX:
            _LOG.warning(
                f"setting window_px: {settings.window_px}; the network uses {SEEN_PX} pixels around every pixel and"
                f" would always see the image's border, unlike in a movie; give {2 * SEEN_PX + 2} or more"
            )

    def scene_fields(self, settings: TrainSettings) -> dict[str, Any]:
        return {**super().scene_fields(settings), "density": settings.density_per_pixel}


KIND = Regression()
