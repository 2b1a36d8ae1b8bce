"""What networks are compared with: compressed sensing, a greedy search, and fits, which all know the model exactly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

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


@dataclass
class SparseEstimator(Estimator):
    """Few voxels that explain an image; the number of molecules is given."""

    name: str
    search: Callable[..., Molecules]  # in images (n, planes, rows, columns), by PSF, scene and numbers of molecules

    def locate(self, test: TestImages) -> Found:
        start = time.perf_counter()
        counts = np.array(test.counts)
        lit = np.flatnonzero(counts)  # images without molecules are not searched
        found = Molecules.joined([])
        if len(lit):
            found = self.search(test.images[lit], *paper_scene(), counts[lit].tolist())
        seconds = time.perf_counter() - start
        image, position, voxel = (torch.from_numpy(rows) for rows in (lit[found.image], found.position_nm, found.voxel))
        return Found(image, position, voxel, seconds)


@dataclass
class FitEstimator(Estimator):
    """A fit of one emitter with the model of the PSF, not bound to voxels."""

    name: str
    fit: Callable[..., EmitterFits]
    prior: bool  # whether the fit uses the standard deviation of the inter-camera drift

    def locate(self, test: TestImages) -> Found:
        if any(count != 1 for count in test.counts):
            raise PlanelocError(f"{self.name}: a fit of one emitter needs images with one molecule each")
        psf, scene = paper_scene()
        start = time.perf_counter()
        prior = [scene.drift_sd_nm(psf.pixel_size_nm)] if self.prior else []
        images, noise = test.images + test.background, scene.pixel_noise(psf.planes)
        position = self.fit(images, psf, noise, *prior, background=test.background).positions_nm
        seconds = time.perf_counter() - start
        return Found(torch.arange(len(position)), position, voxel_of(position, psf.pixel_size_nm, scene), seconds)


_BASELINES = (
    SparseEstimator("compressed_sensing", compressed_sensing.locate),  # Eq. 3, without inter-camera drift
    # Eq. 9: every image has its own inter-camera drift, estimated in turn with the molecules.
    SparseEstimator("alternating", lambda *arguments: drift_alternation.locate(*arguments).molecules),
    # Greedy: in every step the voxel that explains most of the residual.
    SparseEstimator("matching_pursuit", matching_pursuit.locate),
    FitEstimator("fit_without_drift", fit_without_drift, prior=False),  # maximum likelihood without inter-camera drift
    # Maximum a posteriori: position and inter-camera drift, with a normal prior of the paper's variance.
    FitEstimator("fit_with_drift", fit_with_drift, prior=True),
)


def build(name: str, weights: Path | None, device: str) -> Estimator:
    """The estimator of a name. Raises `PlanelocError` where weights are missing, or given to what has none."""
    if name in NETWORKS:
        if not weights:
            raise PlanelocError(f"{name} is a network: give its --weights, such as resources/{name}.safetensors")
        return NetworkEstimator(name, weights, device)
    if weights:
        raise PlanelocError(f"{name} is no network: leave --weights out")
    return next(baseline for baseline in _BASELINES if baseline.name == name)
