"""The last layers of the regression network, computed only on pages of the field where there is light.

What a pixel's numbers need of its surroundings, the network has gathered when it comes back to the camera's pixels. The
layers there are a third of its work and look two pixels far, so they are run on square pages with a rim of two pixels.
Beyond the field's edge their features are set to zero, as padding does, so that pages and whole frames agree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planeloc.networks.regression import RegressionNetwork
from planeloc.networks.tiles import PageGrid

PAGE_PX = 8
_RIM_PX = 2  # what two 3×3 convolutions look beyond
_NOWHERE = -20.0  # logit where no page is
_WORTH_IT = 0.6  # a larger share of pages costs more than the whole frame, since rims overlap


def maps_on_pages(network: RegressionNetwork, photons: Tensor, marks: Tensor) -> Tensor:
    """The network's maps (batch, numbers, y, x), computed on marked pages; no molecule is probable elsewhere.

    Parameters
    ----------
    photons : (batch, planes, y, x), as the network sees them.
    marks : (batch, rows, columns) of pages of `PAGE_PX`; where most are marked, all are computed.
    """
    if marks.float().mean() > _WORTH_IT:
        return network(photons)
    rows, columns = photons.shape[-2:]
    fine, middle = network.encode(photons)
    page_rows, page_columns = marks.shape[1:]
    maps = fine.new_zeros(len(fine), page_rows, PAGE_PX, page_columns, PAGE_PX, network.architecture.maps)
    maps[..., 0] = _NOWHERE
    image, row, column = pages = marks.nonzero().unbind(-1)
    if len(image):
        maps[image, row, :, column] = _decode(network, fine, middle, pages).permute(0, 2, 3, 1).to(maps.dtype)
    maps = maps.flatten(3, 4).flatten(1, 2)[:, :rows, :columns]
    return maps.permute(0, 3, 1, 2)


def page_grid(field_px: tuple[int, int]) -> PageGrid:
    return PageGrid(PAGE_PX, field_px)


def _decode(network: RegressionNetwork, fine: Tensor, middle: Tensor, pages: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(pages, numbers, PAGE_PX, PAGE_PX) from the features on the camera's pixels and on those of twice the size."""
    first, second = (block[0] for block in network.fine)
    patches, inside = _patches(fine, pages, PAGE_PX, _RIM_PX)
    coarse, _ = _patches(middle, pages, PAGE_PX // 2, _RIM_PX // 2)
    features = torch.relu_(network.up_fine(coarse).add_(patches)) * inside
    features = torch.relu_(nn.functional.conv2d(features, first.weight, first.bias)) * inside[..., 1:-1, 1:-1]
    return network.output(torch.relu_(nn.functional.conv2d(features, second.weight, second.bias)))


def _patches(features: Tensor, pages: tuple[Tensor, Tensor, Tensor], side: int, rim: int) -> tuple[Tensor, Tensor]:
    """Pages (n, channels, side + 2 rim, …) of features, and whether (n, 1, …) their pixels lie within the field."""
    image, *corners = pages
    steps = torch.arange(-rim, side + rim, device=features.device)
    places, inside = [], []
    for corner, size in zip(corners, features.shape[-2:], strict=True):
        place = corner[:, None] * side + steps
        inside.append((place >= 0) & (place < size))
        places.append(place.clamp(0, size - 1))
    rows, columns = places[0][:, :, None], places[1][:, None, :]
    patches = features.permute(0, 2, 3, 1)[image[:, None, None], rows, columns].permute(0, 3, 1, 2)
    within = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return patches, within.to(features.dtype)
