"""The last layers of the regression network, computed only on tiles of the field that may hold molecules.

The layers at full resolution after the coarse ones are a third of the computation and have a receptive field of two
pixels on either side, so they run on square tiles with a rim of two pixels. Beyond the field's edge features are set to
zero, as padding does, so that tiles and whole frames give the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planeloc.networks.regression import RegressionNetwork
from planeloc.networks.tiles import inside_field

TILE_PX = 8
_RIM_PX = 2  # receptive field of two 3×3 convolutions
_NOWHERE = -20.0  # logit where there is no tile
_WORTH_IT = 0.6  # a larger share of tiles costs more than the whole frame, since rims overlap


def maps_on_tiles(network: RegressionNetwork, photons: Tensor, marks: Tensor) -> Tensor:
    """Return the network's output (batch, channels, y, x), computed on marked tiles; elsewhere nothing is probable.

    Parameters
    ----------
    photons : (batch, planes, y, x), registered, above background.
    marks : (batch, rows, columns) of tiles of `TILE_PX`; where most are marked, all are computed.
    """
    if marks.float().mean() > _WORTH_IT:
        return network(photons)
    rows, columns = photons.shape[-2:]
    fine, middle = network.encode(photons)
    tile_rows, tile_columns = marks.shape[1:]
    maps = fine.new_zeros(len(fine), tile_rows, TILE_PX, tile_columns, TILE_PX, network.architecture.maps)
    maps[..., 0] = _NOWHERE
    image, row, column = tiles = marks.nonzero().unbind(-1)
    if len(image):
        maps[image, row, :, column] = _decode(network, fine, middle, tiles).permute(0, 2, 3, 1).to(maps.dtype)
    maps = maps.flatten(3, 4).flatten(1, 2)[:, :rows, :columns]
    return maps.permute(0, 3, 1, 2)


def _decode(network: RegressionNetwork, fine: Tensor, middle: Tensor, tiles: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(tiles, channels, TILE_PX, TILE_PX) from the features on the camera's pixels and on those of twice the size."""
    first, second = (block[0] for block in network.fine)
    patches, inside = _patches(fine, tiles, TILE_PX, _RIM_PX)
    coarse, _ = _patches(middle, tiles, TILE_PX // 2, _RIM_PX // 2)
    features = torch.relu_(network.up_fine(coarse).add_(patches)) * inside
    features = torch.relu_(nn.functional.conv2d(features, first.weight, first.bias)) * inside[..., 1:-1, 1:-1]
    return network.output(torch.relu_(nn.functional.conv2d(features, second.weight, second.bias)))


def _patches(features: Tensor, tiles: tuple[Tensor, Tensor, Tensor], side: int, rim: int) -> tuple[Tensor, Tensor]:
    """Tiles (n, channels, side + 2 rim, …) of features, and whether (n, 1, …) their pixels lie within the field."""
    image, *corners = tiles
    steps = torch.arange(-rim, side + rim, device=features.device)
    rows, columns = (corner[:, None] * side + steps for corner in corners)
    height, width = features.shape[-2:]
    inside = inside_field(rows, columns, (height, width))[:, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    patches = features.permute(0, 2, 3, 1)[image[:, None, None], rows, columns].permute(0, 3, 1, 2)
    return patches, inside.to(features.dtype)
