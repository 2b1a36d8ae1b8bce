"""Expected deviance of a pixel: what `PixelNoise.deviance` is on average where the expected photons are right.

The deviance of bright pixels is 1 on average. That of dim ones is not, and depends on more than the variance: on
electrons that come one by one, on EM gain, which gives some pixels many times what others get, and on read noise, which
can make counts negative. It is therefore integrated over the distribution of the counts of each camera, as
`Camera.expose` draws them, at mean photons on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel

Array = NDArray[np.float64]

LEAST_PHOTONS, MOST_PHOTONS, KNOTS = 0.01, 300.0, 128
KNOTS_PER_LOG = (KNOTS - 1) / math.log(MOST_PHOTONS / LEAST_PHOTONS)
_NORMAL_NODES, _MOST_SD = 81, 5.0
_GAIN_NODES, _REACH_SD = 120, 7.0


def expected_deviances(cameras: Sequence[Camera]) -> Tensor:
    """(planes, KNOTS) expected deviance of a pixel of each camera, at mean photons evenly spaced in their logarithm."""
    return torch.from_numpy(np.stack([_of_camera(camera) for camera in cameras]))


def interpolated(table: Tensor, expected: Tensor) -> Tensor:
    """Expected deviance of pixels (n, planes, pixels) by their mean photons, from a table (planes, KNOTS)."""
    place = torch.log(torch.where(expected > LEAST_PHOTONS, expected, LEAST_PHOTONS) / LEAST_PHOTONS) * KNOTS_PER_LOG
    knot = place.clamp(max=KNOTS - 1.5).long()
    within = (place - knot).clamp(max=1)
    values = table.to(expected)[None].expand(len(expected), -1, -1)
    low, high = (values.gather(2, at) for at in (knot, knot + 1))
    return low + within * (high - low)


@lru_cache(maxsize=64)
def _of_camera(camera: Camera) -> Array:
    photons = np.geomspace(LEAST_PHOTONS, MOST_PHOTONS, KNOTS)
    model = NoiseModel.of(camera)
    node = np.linspace(-_MOST_SD, _MOST_SD, _NORMAL_NODES)  # evenly: the deviance has a kink where counts are negative
    of_node = np.exp(-(node**2) / 2)
    of_node /= of_node.sum()
    read = node * camera.read_noise_electrons / camera.em_gain
    distribution = _multiplied if camera.em_gain > 1 else _counted
    values = []
    for mean in photons:
        electrons, share = distribution(mean * camera.quantum_efficiency)
        seen = (electrons[:, None] + read) / camera.quantum_efficiency
        values.append(share @ model.deviance(seen, np.float64(mean)) @ of_node)
    # The gain's distribution is that of a high gain; a small one has less excess noise, on which the deviance depends.
    return np.array(values) * (camera.excess_noise / 2 if camera.em_gain > 1 else 1)


def _counted(mean: float) -> tuple[Array, Array]:
    """Numbers of electrons, and their probabilities."""
    most = math.ceil(mean + _REACH_SD * math.sqrt(mean) + 2 * _REACH_SD)
    number = np.arange(most + 1)
    logarithm = number * math.log(mean) - mean - np.concatenate([[0], np.cumsum(np.log(number[1:]))])
    share = np.exp(logarithm)
    return number.astype(float), share / share.sum()


def _multiplied(mean: float) -> tuple[Array, Array]:
    """Electrons after a high EM gain, divided by it (Basden et al. 2003), and their probabilities.

    The density of their square root is smooth; no electrons stay none.
    """
    from scipy.special import i1e

    middle = math.sqrt(mean)
    root = np.linspace(max(0.0, middle - _REACH_SD), middle + _REACH_SD, _GAIN_NODES + 1)
    share = 2 * middle * i1e(2 * root * middle) * np.exp(-((root - middle) ** 2)) * (root[1] - root[0])
    none = math.exp(-mean)
    share *= (1 - none) / share.sum()
    return np.concatenate([[0.0], root**2]), np.concatenate([[none], share])
