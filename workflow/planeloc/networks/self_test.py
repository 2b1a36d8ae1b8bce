"""The self-test of a weight file: a few stored images, and what the network made of them when the file was written.

It finds what a checksum cannot: weights that were nothing from the beginning, a damaged installation, a processor or a
library that computes something else. The images are no simulation: spots of several sizes and brightnesses on noise
reach all layers, and are the same for every microscope.

``python -m planeloc.networks.self_test FILE …`` adds checksum and self-test to weights of earlier versions, in place.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from planeloc.core.errors import PlanelocError

if TYPE_CHECKING:
    from planeloc.networks.weight_files import NetworkRecord

_IMAGES, _SIDE_PX, _SPOTS = 3, 16, 4
_MOST_OUTPUTS = 4096  # stored; of larger outputs, every n-th
TOLERANCE = 1e-3  # of the spread of the outputs; processors and numbers of threads differ by 1e-5


def recorded(network: nn.Module, record: NetworkRecord, where: str) -> dict[str, Tensor]:
    """Return images and outputs to store with a network.

    Raises
    ------
    PlanelocError : the outputs are not finite, or all the same: such weights find nothing. `where` names their file.
    """
    images = _images(record.architecture.planes)
    if getattr(record.architecture, "coverage", False):
        images = torch.cat((images, _seen(images)), dim=1)
    expected = _outputs(network, images)
    if not torch.isfinite(expected).all() or expected.numel() < 2 or not expected.std() > 0:
        raise PlanelocError(f"{where}: the network tells no image from another; train it again with other settings")
    return {"images": images, "expected": expected}


def run(network: nn.Module, stored: Mapping[str, Tensor], where: str) -> None:
    """Run the self-test of a file; nothing if it has none.

    Raises
    ------
    PlanelocError : the network gives anything else than when it was written.
    """
    if not stored:
        return
    images, expected = stored.get("images"), stored.get("expected")
    found = _outputs(network, images) if images is not None else None
    if found is None or expected is None or found.shape != expected.shape:
        raise PlanelocError(f"{where}: its self-test is damaged; make it again with `planeloc train`")
    difference = float((found - expected).abs().max() / expected.std())
    if not difference <= TOLERANCE:
        raise PlanelocError(
            f"{where}: fails its self-test (differs by {difference:.2g} of the spread, at most {TOLERANCE:g}): weights,"
            " PyTorch or processor are damaged; copy the file again, then try another computer"
        )


def _images(planes: int) -> Tensor:
    """Photons above background, (images, planes, rows, columns)."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX]
    images = random.normal(0, 2, (_IMAGES, planes, _SIDE_PX, _SIDE_PX))
    for image in images:
        for y, x in random.uniform(2, _SIDE_PX - 3, (_SPOTS, 2)):
            brightness = random.uniform(5, 100)
            for plane in image:
                width = random.uniform(1, 3)
                plane += brightness * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    return torch.from_numpy(images.astype(np.float32))


def _seen(images: Tensor) -> Tensor:
    """Pixels that each camera sees, as the images: the last columns of every second plane are beyond its edge."""
    seen = torch.ones_like(images)
    seen[:, 1::2, :, -(_SIDE_PX // 4) :] = 0
    return seen


def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Some outputs of a network on the CPU, in single precision."""
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        outputs = network(images.to(device)).float().cpu().flatten()
    network.train(training)
    return outputs[:: -(-len(outputs) // _MOST_OUTPUTS)].clone()


def main(files: list[str]) -> None:
    """Write weight files again, with checksum and self-test."""
    from planeloc.networks.weight_files import load_network, save_network

    for file in files:
        save_network(file, *load_network(file))


if __name__ == "__main__":
    main(sys.argv[1:])
