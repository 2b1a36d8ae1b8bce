"""A kind of network as another package would bring it: one convolution that learns how many photons a pixel gets."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from planeloc.localization.detections import Detections
from planeloc.networks.kinds import NetworkKind
from planeloc.networks.weight_files import NetworkRecord
from planeloc.scenes.draw import draw_batch


@dataclass(frozen=True)
class Shape:
    kind: ClassVar[str] = "toy"

    planes: int
    channels: tuple[int, ...] = (1,)


class Task:
    gradient_limit, warmup = 10.0, 0

    def __init__(self, psf, scene, settings):
        self._psf, self._scene = psf, scene
        self.record = NetworkRecord(Shape(psf.planes, (int(settings.channels),)), psf, scene, 100.0)

    def draw(self, size, generator):
        return draw_batch(self._psf, self._scene, size, generator)

    def loss(self, forward, batch):
        brightest = batch.images.sum(dim=1).flatten(1).max(dim=1).values
        return (forward(batch.images / 100).flatten(1).max(dim=1).values - brightest / 100).abs().mean()

    def validate(self, forward, batches):
        loss = torch.stack([self.loss(forward, batch) for batch in batches]).mean()
        return {"validation_loss": float(loss), "lateral_nm": 1.0, "axial_nm": 1.0}


class Finder:
    """The brightest pixel of every frame."""

    def __init__(self, context):
        self._context, self._network, self._threshold = context, context.network, context.settings.threshold

    def __call__(self, images, registered, background):
        pixel_nm, columns = self._context.psf.pixel_size_nm, registered.shape[-1]
        brightness, pixel = self._network(registered / 100).flatten(1).max(dim=1)
        place = torch.stack((pixel % columns + 0.5, pixel // columns + 0.5, 0 * pixel), dim=1) * pixel_nm
        sd, ones = torch.full_like(place, 100.0), torch.ones(len(pixel))
        found = Detections(torch.arange(len(pixel)), place, sd, ones, 100 * brightness, ones)
        return [found.at(brightness > self._threshold)]


class Toy(NetworkKind):
    name = Shape.kind
    architecture = Shape
    training_defaults: ClassVar = {"samples": 32, "batch": 8, "learning_rate": 1e-2, "channels": "1"}
    detection_threshold = 0.0
    scene_settings = ("emitters",)

    def build(self, record):
        return nn.Conv2d(record.architecture.planes, record.architecture.channels[0], 3, padding=1)

    def task(self, psf, scene, settings, generator):
        return Task(psf, scene, settings)

    def finder(self, context):
        return Finder(context)


KIND = Toy()
