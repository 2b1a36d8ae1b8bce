"""The paper's network: the probability of a molecule in every fine voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planeloc.core.errors import PlanelocError
from planeloc.networks.kinds import NetworkKind
from planeloc.networks.upsampling import Architecture, UpsamplingNetwork
from planeloc.scenes.random_density import MOST_PER_PIXEL
from planeloc.scenes.scene import Scene

if TYPE_CHECKING:
    import torch

    from planeloc.localization.context import LocalizationContext
    from planeloc.localization.detections import Finder
    from planeloc.networks.weight_files import NetworkRecord
    from planeloc.psf import PSF
    from planeloc.training.settings import TrainSettings
    from planeloc.training.upsampling_task import UpsamplingTask


class Upsampling(NetworkKind):
    """Voxel probabilities; their local sums, centroids and spreads are the molecules."""

    name = Architecture.kind
    architecture = Architecture
    training_defaults = {"samples": 40_000, "batch": 8, "learning_rate": 1e-3, "channels": "128,64,32,16"}  # noqa: RUF012
    detection_threshold = 0.005
    shipped_weights = "resources/quadplane.safetensors"
    scene_settings = ("emitters",)
    fixed_scene_fields = ("upsampling", "voxel_depth_nm", "emitters", *NetworkKind.fixed_scene_fields)
    loss_label, error_label = "cross-entropy per image", "mean voxel error in validation (nm)"
    loss_has_zero = True

    def build(self, record: NetworkRecord) -> UpsamplingNetwork:
        scene = record.scene
        voxels = (scene.window_px * scene.upsampling) ** 2 * scene.depth_slices
        return UpsamplingNetwork(record.architecture, record.input_scale, scene.emitters / voxels)

    def task(self, psf: PSF, scene: Scene, settings: TrainSettings, generator: torch.Generator) -> UpsamplingTask:
        from planeloc.training.upsampling_task import UpsamplingTask

        return UpsamplingTask(psf, scene, settings, generator)

    def finder(self, context: LocalizationContext) -> Finder:
        from planeloc.localization.find_upsampling import UpsamplingFinder

        return UpsamplingFinder(context)

    def check_settings(self, settings: TrainSettings) -> None:
        most = int(MOST_PER_PIXEL * Scene.window_px**2)
        if settings.emitters > MOST_PER_PIXEL * Scene.window_px**2:
            raise PlanelocError(
                f"setting emitters: {settings.emitters}; more than {most} emitters per {Scene.window_px}×"
                f"{Scene.window_px} pixels cannot be resolved; give fewer"
            )
        if settings.edges > 0:
            raise PlanelocError(
                f"setting edges: {settings.edges:g}; a network of kind {self.name} cannot be told where sensors end; "
                "give 0, or network: regression"
            )


KIND = Upsampling()
