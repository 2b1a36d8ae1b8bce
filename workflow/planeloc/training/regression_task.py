"""What the regression network learns: the number of molecules, their positions and the standard deviations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from planeloc.networks.regression import Architecture, with_coverage
from planeloc.networks.regression_molecules import Units, find_molecules, window_drift
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.random_density import DenseScenes, draw_dense_scenes
from planeloc.scenes.scene import Scene
from planeloc.training.detection_errors import DetectionErrors, detection_errors, score
from planeloc.training.mixture_loss import GroundTruth, regression_loss
from planeloc.training.settings import TrainSettings
from planeloc.training.task import channels

_THRESHOLD = 0.3
_FORWARD_AT_ONCE = 64  # images


class RegressionTask:
    """Likelihood of the molecules of empty to dense scenes."""

    gradient_limit = 100.0
    warmup = 200

    def __init__(self, psf: PSF, scene: Scene, settings: TrainSettings) -> None:
        self._psf, self._scene = psf, scene
        dark = scene.noise.slope * scene.background[1] + scene.noise.read_variance
        shape = channels(settings, 3, "the regression network")
        architecture = Architecture(psf.planes, shape, coverage=scene.edges > 0)
        self.record = NetworkRecord(architecture, psf, scene, float(f"{dark:.1e}"))
        self._units = self.record.units

    def draw(self, size: int, generator: torch.Generator) -> DenseScenes:
        return draw_dense_scenes(self._psf, self._scene, size, generator)

    def loss(self, forward: Callable[[Tensor], Tensor], batch: DenseScenes) -> Tensor:
        return self._loss(forward(self._input(batch)).float(), batch)

    def _input(self, batch: DenseScenes) -> Tensor:
        return with_coverage(self.record.architecture, batch.images, batch.seen)

    def _loss(self, maps: Tensor, batch: DenseScenes) -> Tensor:
        return regression_loss(maps, ground_truth(batch, self._units), self._units.drift_sd_px)

    def validate(self, forward: Callable[[Tensor], Tensor], batches: Iterable[DenseScenes]) -> dict[str, float]:
        """Return loss, Jaccard index, rms errors, and rms normalised errors, which are 1 if calibrated."""
        images, loss, errors, drift_error = 0, 0.0, [], []
        for batch in batches:
            maps = _maps(forward, self._input(batch))
            own = self._loss(maps, batch)
            drift = window_drift(maps, self._units.drift_sd_px)
            errors.append(detection_errors(find_molecules(maps, self._units, _THRESHOLD, drift), batch))
            drift_error.append(drift.mean * self._units.pixel_size_nm - batch.drift_nm[:, 1:])
            loss, images = loss + float(own) * len(batch), images + len(batch)
        return {
            "validation_loss": loss / images,
            **score(DetectionErrors.joined(errors)),
            "inter_camera_drift_nm": float(torch.cat(drift_error).square().mean().sqrt()),  # per plane and axis
        }

    def examine(
        self, network: Callable[[Tensor], Tensor], batch: DenseScenes, record: NetworkRecord
    ) -> DetectionErrors:
        """Return the errors of a trained network, whose standard deviations its record calibrates."""
        return detection_errors(find_molecules(_maps(network, self._input(batch)), record.units, _THRESHOLD), batch)


def _maps(forward: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The network's output for all images of a batch."""
    return torch.cat([forward(some) for some in images.split(_FORWARD_AT_ONCE)])


def ground_truth(batch: DenseScenes, units: Units) -> GroundTruth:
    """Return the molecules of a batch in the network's units."""
    lateral = batch.positions_nm[:, :2] / units.pixel_size_nm
    depth = (batch.positions_nm[:, 2:] - units.middle_nm) / units.half_depth_nm
    target = torch.cat((lateral, depth, batch.photons[:, None] / units.photons), dim=1)
    return GroundTruth(batch.image, target, batch.background, batch.drift_nm[:, 1:] / units.pixel_size_nm)
