"""All that finds molecules on test images has one interface.

An estimator is told how many molecules each image holds and gives as many places (`locate`, the paper's comparison), or
decides itself (`detect`), which only networks can.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.core.devices import describe_device
from planeloc.core.errors import PlanelocError
from planeloc_reproduction.images import TestImages


@dataclass(frozen=True)
class Found:
    """One row per place."""

    image: Tensor  # (m,), ascending
    position_nm: Tensor  # (m, 3) x, y, z: finer than voxels
    voxel: Tensor  # (m, 3) depth slice, row, column
    seconds: float  # for all images together


class Estimator(ABC):
    """Finds molecules on images of the paper's microscope."""

    name: str
    decides = False  # how many molecules there are
    device_in_words: str = f"{describe_device(torch.device('cpu'))}, one thread"

    @abstractmethod
    def locate(self, test: TestImages) -> Found:
        """As many places on every image as there are molecules, fewer where it finds no more."""

    def detect(self, test: TestImages) -> Found:
        """What it takes for molecules. Raises `PlanelocError` where that must be given."""
        raise PlanelocError(f"{self.name} must be told how many molecules there are; only networks decide it")
