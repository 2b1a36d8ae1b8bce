"""What the paper's network learns: which fine voxels hold an emitter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.networks.upsampling import Architecture, voxel_cross_entropy
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.draw import Batch, draw_batch
from planeloc.scenes.scene import Scene
from planeloc.training.settings import TrainSettings
from planeloc.training.task import channels

_INPUT_SCALE_QUANTILE = 0.99
_FORWARD_AT_ONCE = 16  # images
_PEAK_REACH = 4  # voxels around a true one in which validation looks for the most probable one


class UpsamplingTask:
    """Cross-entropy of the voxels of Table 2's scenes."""

    gradient_limit = math.inf
    warmup = 0

    def __init__(self, psf: PSF, scene: Scene, settings: TrainSettings, generator: torch.Generator) -> None:
        """`generator`: of the images that set the scale of the input."""
        self._psf, self._scene = psf, scene
        self.record = NetworkRecord(
            _architecture(psf, scene, settings), psf, scene, _input_scale(psf, scene, generator)
        )

    def draw(self, size: int, generator: torch.Generator) -> Batch:
        return draw_batch(self._psf, self._scene, size, generator)

    def loss(self, forward: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        return voxel_cross_entropy(forward(batch.images).float(), batch.voxels)

    def validate(self, forward: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> dict[str, float]:
        """Return the loss and the paper's error: the distance of the most probable voxel near each true one."""
        seen, loss, lateral, axial = 0, 0.0, [], []
        voxel_nm = self._scene.voxel_nm(self._psf.pixel_size_nm)[0]
        step = _FORWARD_AT_ONCE
        for part in (batch.part(first, first + step) for batch in batches for first in range(0, len(batch), step)):
            logits = forward(part.images).float()
            loss += float(voxel_cross_entropy(logits, part.voxels)) * len(part)
            seen += len(part)
            offset = _nearest_peak(logits, part.voxels)
            lateral.append(offset[..., 1:].float().mul(voxel_nm).norm(dim=-1).flatten())
            axial.append(offset[..., 0].abs().float().mul(self._scene.voxel_depth_nm).flatten())
        return {
            "validation_loss": loss / seen,
            "lateral_nm": float(torch.cat(lateral).mean()),
            "axial_nm": float(torch.cat(axial).mean()),
        }


def _nearest_peak(logits: Tensor, voxels: Tensor) -> Tensor:
    """(batch, emitters, 3) offset from every true voxel to the most probable one within `_PEAK_REACH` voxels."""
    side = 2 * _PEAK_REACH + 1
    padded = torch.nn.functional.pad(logits, (_PEAK_REACH,) * 6, value=-math.inf)
    axis = torch.arange(side, device=logits.device)
    image = torch.arange(len(logits), device=logits.device)[:, None, None, None, None]
    d, r, c = (voxels[..., i, None, None, None] for i in range(3))
    cube = padded[image, d + axis[:, None, None], r + axis[None, :, None], c + axis]
    best = cube.flatten(2).argmax(dim=-1)
    return torch.stack(torch.unravel_index(best, cube.shape[2:]), dim=-1) - _PEAK_REACH


def _architecture(psf: PSF, scene: Scene, settings: TrainSettings) -> Architecture:
    for name, remainder in (("first_kernel", 1), ("upsampling_kernel", 0), ("last_kernel", 1)):
        if getattr(settings, name) % 2 != remainder:
            raise PlanelocError(
                f"setting {name}: {getattr(settings, name)} must be {'odd' if remainder else 'even'}, or images and"
                " volumes would not be aligned"
            )
    doublings = math.log2(scene.upsampling)
    if doublings % 1:
        raise PlanelocError(f"setting upsampling: {scene.upsampling} is no power of 2; give 2, 4, 8, …")
    return Architecture(
        planes=psf.planes,
        depth_slices=scene.depth_slices,
        channels=channels(settings, int(doublings) + 1, f"upsampling {scene.upsampling}"),
        first_kernel=settings.first_kernel,
        first_layers=settings.first_layers,
        upsampling_kernel=settings.upsampling_kernel,
        last_kernel=settings.last_kernel,
    )


def _input_scale(psf: PSF, scene: Scene, generator: torch.Generator) -> float:
    """Photons that become 1: a high quantile of the pixels of some training images, two significant digits."""
    images = draw_batch(psf, scene, 64, generator).images
    return float(f"{float(images.flatten().quantile(_INPUT_SCALE_QUANTILE)):.1e}")
