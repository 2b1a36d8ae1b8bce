"""The regression network, computed only around tiles of the field that may hold molecules.

A marked tile of 8×8 pixels needs the features on the camera's pixels and on those of twice the size within 14 and 12
pixels of it, so within two tiles; those on pixels of four times the size within one tile; and the last layers with a
rim of a few pixels. Every layer is computed on just these tiles. Beyond the field's edge features are zero, as padding
has them, so that tiles and whole frames give the same, to the last bit or nearly.

Where many tiles are marked, the features are computed everywhere and only the last layers, at full resolution, on
tiles; where most are, everything is. Which costs least is decided by the number of multiplications.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planeloc.networks.lit_tiles import LitTiles, grown
from planeloc.networks.pixel_maps import PixelMaps
from planeloc.networks.regression import RegressionNetwork

TILE_PX = 8
_COARSEST_PX = 4  # camera pixels per pixel of the coarsest features, of which only whole ones are computed
# A multiplication on tiles takes longer than in whole frames, since tiles are cut out: by 1.4 to 1.7, measured for 0.3
# to 0.65 of the multiplications.
_COST_ON_TILES = 1.5
_MOST = 0.6  # share of tiles beyond which the dark ones of an image are computed, too: they save little
_PIXELS_AT_ONCE = 1 << 15  # of whole frames: what a CPU's cache holds


def maps_on_tiles(network: RegressionNetwork, photons: Tensor, marks: Tensor) -> PixelMaps:
    """Return the network's output on marked tiles; elsewhere nothing is probable.

    Parameters
    ----------
    photons : (batch, planes, y, x), registered, above background.
    marks : (batch, rows, columns) of tiles of `TILE_PX`; where most of an image's are marked, all are computed.
    """
    marks = marks | (marks.float().mean(dim=(1, 2), keepdim=True) > _MOST)
    if not marks.any():
        return PixelMaps.nowhere(photons, network.architecture.maps)
    rings = [marks, grown(marks, 1), grown(marks, 2)]
    whole, last_on_tiles, all_on_tiles = costs(network, *(ring.float().mean().item() for ring in rings))
    if all_on_tiles < min(whole, last_on_tiles):
        return _all_layers(network, photons, *map(LitTiles, rings))
    images = max(1, _PIXELS_AT_ONCE // photons[0, 0].numel())
    parts = [part.contiguous(memory_format=torch.channels_last) for part in photons.split(images)]
    if whole <= last_on_tiles:
        return PixelMaps.whole(torch.cat([network(part) for part in parts])).only(marks, TILE_PX)
    fine, middle = (torch.cat(features) for features in zip(*map(network.encode, parts), strict=True))
    tiles, size = LitTiles(marks), TILE_PX
    patches = tiles.cut(middle, size // 2, 1), tiles.cut(fine, size, 2)
    return _last_layers(network, *patches, tiles, photons.shape[-2:])


def costs(
    network: RegressionNetwork, marked: float, near: float, around: float, cost_on_tiles: float = _COST_ON_TILES
) -> tuple[float, float, float]:
    """Return the multiplications per tile: all layers everywhere; only the last on tiles; all layers on tiles.

    Parameters
    ----------
    marked, near, around : share of the tiles that are marked, within one tile of a marked one, and within two.
    cost_on_tiles : factor of multiplications on tiles.
    """

    def of(*modules: nn.Module) -> int:
        return sum(weight.numel() for module in modules for weight in module.parameters() if weight.dim() > 1)

    halving, *coarse = network.down_coarse
    # 64, 16 and 4 pixels are those of a tile on the three grids; others include the rims that later layers need
    encoder = 64 * of(network.entry) + 16 * of(network.down_middle) + 4 * of(halving)
    encoded = encoder + 4 * of(*coarse, network.up_middle) + 16 * of(network.middle)
    last = 16 * of(network.up_fine) + 64 * of(network.fine, network.output)
    last_on_tile = 36 * of(network.up_fine) + 100 * of(network.fine[0]) + 64 * of(network.fine[1], network.output)
    on_marked = last_on_tile + 16 * of(coarse[1], network.up_middle) + 36 * of(network.middle)
    on_around = encoder + 36 * of(network.entry[0])
    all_on_tiles = on_marked * marked + 4 * of(coarse[0]) * near + on_around * around
    return encoded + last, encoded + cost_on_tiles * last_on_tile * marked, cost_on_tiles * all_on_tiles


def _all_layers(
    network: RegressionNetwork, photons: Tensor, marked: LitTiles, near: LitTiles, around: LitTiles
) -> PixelMaps:
    """Compute all layers on the tiles that need them: see the module."""
    fine_field, middle_field, coarse_field = _fields(photons.shape[-2:])
    (halving, first), (halving_again, *coarse) = network.down_middle, network.down_coarse
    entered = _layer(network.entry[0], around.cut(network.stabilized(photons), TILE_PX, 2))
    fine = _layer(network.entry[1], around.zero_outside(entered, 1, fine_field))
    halved = around.stored(_layer(halving, around.stored(fine, fine_field)), middle_field)
    middle = around.stored(_layer(first, around.patches(halved, 1, around)), middle_field)
    halved = around.stored(_layer(halving_again, middle), coarse_field)
    deep = near.stored(_layer(coarse[0], around.patches(halved, 1, near)), coarse_field)
    deep = _layer(coarse[1], near.patches(deep, 2, marked))
    joined = network.up_middle(deep).add_(around.patches(middle, 2, marked))
    joined = _layer(network.middle, marked.zero_outside(torch.relu_(joined), 2, middle_field))
    return _last_layers(network, joined, around.patches(fine, 2, marked), marked, photons.shape[-2:])


def _last_layers(
    network: RegressionNetwork, middle: Tensor, fine: Tensor, tiles: LitTiles, field_px: tuple[int, int]
) -> PixelMaps:
    """Compute the last layers on tiles, from patches of features: of twice the camera's pixels with a rim of 1, and of
    the camera's with one of 2.
    """
    field, (first, second) = _fields(field_px)[0], network.fine
    features = tiles.zero_outside(torch.relu_(network.up_fine(middle).add_(fine)), 2, field)
    features = tiles.zero_outside(_layer(first, features), 1, field)
    return PixelMaps.on_tiles(network.output(_layer(second, features)), tiles, field_px)


def _layer(layer: nn.Sequential, patches: Tensor) -> Tensor:
    """Convolution and ReLU without padding: a rim is used up."""
    convolution = layer[0]
    return torch.relu_(nn.functional.conv2d(patches, convolution.weight, convolution.bias, convolution.stride))


def _fields(field_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of the features on the camera's pixels and on those of twice and four times the size."""
    rows, columns = (-(-size // _COARSEST_PX) for size in field_px)
    return [(size * rows, size * columns) for size in (4, 2, 1)]
