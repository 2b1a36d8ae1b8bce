"""The paper's network as an estimator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from planeloc.core.devices import choose_device, describe_device
from planeloc.core.errors import PlanelocError
from planeloc.networks.training_match import disagreements, side_by_side
from planeloc.networks.voxel_peaks import Peaks, find_peaks
from planeloc.networks.weight_files import load_network
from planeloc.scenes.draw import voxel_of
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.estimators import Estimator, Found
from planeloc_reproduction.images import TestImages, centre_of

_BATCH = 25  # images at once
_NETWORK_THRESHOLD = 0.005  # of the voxels whose surroundings are looked at: `localize`'s default
_MINIMUM_PROBABILITY = 0.5  # that there is a molecule at all, of what `detect` keeps
_LOWEST_THRESHOLD = 1e-4  # where a place must be named, however improbable
_SAME_PEAK = 3.0  # voxels between a peak's centroid and its most probable voxel
_MAXIMUM_DEPTH_ERROR_NM = 25.0  # `train`'s default


class NetworkEstimator(Estimator):
    """The paper's network: voxels and their probabilities."""

    decides = True

    def __init__(self, name: str, weights: Path, device: str) -> None:
        """Raises `PlanelocError` where the weights are not for the paper's microscope and this network's drift."""
        self.name = name
        self.device = choose_device(device)
        self.psf, scene = paper_scene()
        self.scene = scene if name == "robust" else replace(scene, inter_camera_drift_voxels=0)
        network, record = load_network(weights)
        reasons = disagreements(record, self.psf, self.scene, _MAXIMUM_DEPTH_ERROR_NM)
        # What `localize` may tolerate, such as a wider range of depths, would be another experiment here.
        if not reasons and record.scene != self.scene:
            reasons = ["it has seen other scenes than those of Table 2"]
        if reasons:
            raise PlanelocError(
                f"{weights} is no {name} network of the paper: {'; '.join(reasons)}\n"
                f"{side_by_side(record, self.psf, self.scene)}"
            )
        self.network = network.to(self.device, memory_format=torch.channels_last)
        if self.device.type != "cpu":
            self.device_in_words = describe_device(self.device)

    def locate(self, test: TestImages) -> Found:
        """The most probable voxel of every image (the paper's rule), and the centroid of its peak."""
        if any(count != 1 for count in test.counts):
            raise PlanelocError(
                f"{self.name}: the most probable voxel is asked for where not every image has a molecule"
            )
        start = time.perf_counter()
        voxels, positions = [], []
        for logits in self._logits(test.images):
            voxel = most_probable_voxel(logits)
            voxels.append(voxel)
            positions.append(self._sub_voxel(find_peaks(logits, _LOWEST_THRESHOLD), voxel))
        image = torch.arange(len(test.images))
        return Found(image, torch.cat(positions), torch.cat(voxels), time.perf_counter() - start)

    def detect(self, test: TestImages) -> Found:
        """Peaks as `planeloc localize` finds them, but for those that are improbable."""
        start = time.perf_counter()
        images, positions = [], []
        for first, logits in enumerate(self._logits(test.images)):
            peaks = find_peaks(logits, _NETWORK_THRESHOLD)
            keep = peaks.probability >= _MINIMUM_PROBABILITY
            order = peaks.image[keep].argsort(stable=True)
            images.append(peaks.image[keep][order].cpu() + first * _BATCH)
            positions.append(self._position_nm(peaks.position[keep][order]).cpu())
        position = torch.cat(positions)
        voxel = voxel_of(position, self.psf.pixel_size_nm, self.scene)
        return Found(torch.cat(images), position, voxel, time.perf_counter() - start)

    def voxels_above(self, test: TestImages, threshold: float) -> Found:
        """Every voxel whose probability exceeds `threshold`: the paper's rule where it does not know how many."""
        start = time.perf_counter()
        rows = [(torch.sigmoid(logits) > threshold).nonzero().cpu() for logits in self._logits(test.images)]
        image = torch.cat([part[:, 0] + number * _BATCH for number, part in enumerate(rows)])
        voxel = torch.cat([part[:, 1:] for part in rows])
        position = centre_of(voxel, self.psf.pixel_size_nm, self.scene).double()
        return Found(image, position, voxel, time.perf_counter() - start)

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> Iterator[Tensor]:
        for part in images.split(_BATCH):
            yield self.network(part.to(self.device).contiguous(memory_format=torch.channels_last)).float()

    def _sub_voxel(self, peaks: Peaks, voxel: Tensor) -> Tensor:
        """(n, 3) nm: of every image the peak nearest to the given voxel; the voxel's middle where none is near."""
        position = voxel.double() + 0.5
        for number in peaks.image.unique().tolist():
            own = peaks.position[peaks.image == number].double().cpu()
            distance = (own - position[number]).abs().amax(dim=1)
            if distance.min() <= _SAME_PEAK:
                position[number] = own[distance.argmin()]
        return self._position_nm(position)

    def _position_nm(self, position: Tensor) -> Tensor:
        """(n, 3) depth, row, column in voxels from the volume's outer corner → x, y, z."""
        return centre_of(position.double() - 0.5, self.psf.pixel_size_nm, self.scene)


def most_probable_voxel(logits: Tensor) -> Tensor:
    """(n, 3) voxel of the highest logit in (n, depth, rows, columns)."""
    _, _, rows, columns = logits.shape
    best = logits.contiguous().flatten(1).argmax(dim=1).cpu()
    return torch.stack((best // (rows * columns), best // columns % rows, best % columns), dim=1)
