"""What networks are compared with: compressed sensing, a greedy search, and fits, which all know the model exactly."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.fitting.single_emitter import EmitterFits
from planeloc.scenes.draw import voxel_of
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction import compressed_sensing, drift_alternation, matching_pursuit
from planeloc_reproduction.drift_fit import fit_with_drift, fit_without_drift
from planeloc_reproduction.estimators import Estimator, Found
from planeloc_reproduction.forward_operator import Molecules
from planeloc_reproduction.images import TestImages
from planeloc_reproduction.names import NETWORKS
from planeloc_reproduction.network_estimator import NetworkEstimator


class SparseEstimator(Estimator):
    """Few voxels that explain an image; how many molecules there are is known."""

    def locate(self, test: TestImages) -> Found:
        start = time.perf_counter()
        counts = np.array(test.counts)
        lit = np.flatnonzero(counts)  # what is known to be empty is not looked at
        found = self.search(test.images[lit], counts[lit].tolist()) if len(lit) else Molecules.joined([])
        seconds = time.perf_counter() - start
        image, position, voxel = (torch.from_numpy(rows) for rows in (lit[found.image], found.position_nm, found.voxel))
        return Found(image, position, voxel, seconds)

    @abstractmethod
    def search(self, images: Tensor, counts: list[int]) -> Molecules:
        """Molecules of images (n, planes, rows, columns), `counts` of them."""


class CompressedSensing(SparseEstimator):
    """Eq. 3, which takes the planes for still."""

    name = "compressed_sensing"

    def search(self, images: Tensor, counts: list[int]) -> Molecules:
        return compressed_sensing.locate(images, *paper_scene(), counts)


class Alternating(SparseEstimator):
    """Eq. 9: every image has a drift of its own, which is looked for in turn with the molecules."""

    name = "alternating"

    def search(self, images: Tensor, counts: list[int]) -> Molecules:
        return drift_alternation.locate(images, *paper_scene(), counts).molecules


class MatchingPursuit(SparseEstimator):
    """Greedy: one voxel after the other, each the one that explains most of what is left."""

    name = "matching_pursuit"

    def search(self, images: Tensor, counts: list[int]) -> Molecules:
        return matching_pursuit.locate(images, *paper_scene(), counts)


class FitEstimator(Estimator):
    """A fit of one emitter with the model of the PSF, not bound to voxels."""

    def locate(self, test: TestImages) -> Found:
        if any(count != 1 for count in test.counts):
            raise PlanelocError(f"{self.name}: a fit of one emitter needs images with one molecule each")
        start = time.perf_counter()
        position = self.fit(test.images + test.background, test.background).positions_nm
        seconds = time.perf_counter() - start
        psf, scene = paper_scene()
        return Found(torch.arange(len(position)), position, voxel_of(position, psf.pixel_size_nm, scene), seconds)

    @abstractmethod
    def fit(self, images: Tensor, background: float) -> EmitterFits:
        """Fits of images with their background."""


class FitWithoutDrift(FitEstimator):
    """Maximum likelihood that takes the planes for still."""

    name = "fit_without_drift"

    def fit(self, images: Tensor, background: float) -> EmitterFits:
        psf, scene = paper_scene()
        return fit_without_drift(images, psf, scene.pixel_noise(psf.planes), background=background)


class FitWithDrift(FitEstimator):
    """Maximum a posteriori: position and drift together, the drift with a normal prior of the paper's variance."""

    name = "fit_with_drift"

    def fit(self, images: Tensor, background: float) -> EmitterFits:
        psf, scene = paper_scene()
        sd_nm = scene.drift_sd_nm(psf.pixel_size_nm)
        return fit_with_drift(images, psf, scene.pixel_noise(psf.planes), sd_nm, background=background)


_BASELINES = {cls.name: cls for cls in (CompressedSensing, Alternating, MatchingPursuit, FitWithoutDrift, FitWithDrift)}


def build(name: str, weights: Path | None, device: str) -> Estimator:
    """The estimator of a name. Raises `PlanelocError` where weights are missing, or given to what has none."""
    if name in NETWORKS:
        if not weights:
            raise PlanelocError(f"{name} is a network: give its --weights, such as resources/{name}.safetensors")
        return NetworkEstimator(name, weights, device)
    if weights:
        raise PlanelocError(f"{name} is no network: leave --weights out")
    return _BASELINES[name]()
