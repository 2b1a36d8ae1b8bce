"""The regression network on tiles, against the network on whole frames; and which tiles are bright."""

import copy

import numpy as np
import pytest
import torch

from planeloc.localization.candidates import bright_tiles
from planeloc.networks import tiled_regression
from planeloc.networks.lit_tiles import grown
from planeloc.networks.regression import Architecture, RegressionNetwork
from planeloc.networks.regression_molecules import Units, find_molecules
from planeloc.networks.tiled_regression import TILE_PX, costs, maps_on_tiles
from planeloc.networks.tiles import TileGrid


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    network = RegressionNetwork(Architecture(3, (6, 8, 10)), 9.0, 0.01).double()
    for parameter in network.parameters():  # biases too, which make features beyond the edge differ from zero
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def layers_on_tiles(monkeypatch, path):
    """Take a path through `maps_on_tiles`: 0, all layers everywhere; 1, the last on tiles; 2, all on tiles."""
    monkeypatch.setattr(tiled_regression, "costs", lambda *_: [float(number != path) for number in range(3)])
    monkeypatch.setattr(tiled_regression, "_MOST", 1.0)


def all_pixels(maps):
    """The output (images, channels, rows, columns) of every pixel, computed or not."""
    places = torch.meshgrid(*(torch.arange(size) for size in maps.logit.shape), indexing="ij")
    return maps.at(*(place.flatten() for place in places)).unflatten(0, maps.logit.shape).movedim(-1, 1)


def random_marks(rows, columns, share=0.5, images=2):
    generator = torch.Generator().manual_seed(rows)
    photons = 40 * torch.rand(images, 3, rows, columns, generator=generator, dtype=torch.float64)
    marks = torch.rand(images, *TileGrid(TILE_PX, (rows, columns)).shape, generator=generator) < share
    marks[0, -1, -1], marks[1] = True, False
    pixels = marks.repeat_interleave(TILE_PX, 1).repeat_interleave(TILE_PX, 2)[:, :rows, :columns]
    return photons, marks, pixels


@pytest.mark.parametrize("path", [0, 1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(24, 40), (17, 30), (8, 8), (5, 50), (72, 68), (81, 95)])
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_tiles_agree_with_the_whole_frame(network, rows, columns, share, path, monkeypatch):
    """Also at the field's edges, with sides that are no multiple of a tile or of the coarsest pixels."""
    layers_on_tiles(monkeypatch, path)
    photons, marks, inside = random_marks(rows, columns, share)
    with torch.inference_mode():
        whole, tiled = network(photons), maps_on_tiles(network, photons, marks)
    assert tiled.logit.shape == inside.shape
    computed = all_pixels(tiled).movedim(1, -1)[inside]
    torch.testing.assert_close(computed, whole.movedim(1, -1)[inside], rtol=1e-12, atol=1e-12)
    assert torch.equal(tiled.logit[inside], computed[:, 0])
    assert (tiled.logit[~inside] < -10).all()


def test_features_beyond_the_rims_are_not_computed(network, monkeypatch):
    """A tile in the middle of a field takes as many convolutions' pixels as one alone."""
    layers_on_tiles(monkeypatch, 2)
    pixels, real = [], torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *rest: pixels.append(x.numel()) or real(x, *rest))
    for tiles in (9, 18):
        marks = torch.zeros(1, tiles, tiles, dtype=torch.bool)
        marks[0, 4, 4] = True
        with torch.inference_mode():
            maps_on_tiles(network, torch.ones(1, 3, 8 * tiles, 8 * tiles, dtype=torch.float64), marks)
    assert pixels[: len(pixels) // 2] == pixels[len(pixels) // 2 :]


def test_images_of_a_batch_do_not_see_each_other(network, monkeypatch):
    layers_on_tiles(monkeypatch, 2)
    photons, marks, _ = random_marks(40, 48, 0.2, images=3)
    with torch.inference_mode():
        together = maps_on_tiles(network, photons, marks).logit
        alone = [maps_on_tiles(network, photons[i : i + 1], marks[i : i + 1]).logit for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_dark_images_have_no_molecule(network):
    photons, marks = torch.zeros(2, 3, 16, 20), torch.zeros(2, 2, 3, dtype=torch.bool)
    maps = maps_on_tiles(network, photons, marks)
    assert maps.logit.shape == (2, 16, 20) and (maps.logit < -10).all()
    units = Units(pixel_size_nm=100.0, depth_range_nm=(-200.0, 600.0), photons=5000.0, drift_sd_px=0.2)
    assert len(find_molecules(maps, units, 0.3)) == 0


def test_where_most_is_marked_the_whole_image_is_computed(network):
    photons = 40 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    marks = torch.tensor([[[True, True], [True, False]], [[True, False], [True, False]]])
    with torch.inference_mode():
        logit, whole = maps_on_tiles(network, photons, marks).logit, network(photons)[:, 0]
    torch.testing.assert_close(logit[0], whole[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logit[1, :, :8], whole[1, :, :8], rtol=1e-12, atol=1e-12)
    assert (logit[1, :, 8:] < -10).all()


@pytest.mark.parametrize(("share", "path"), [(0.002, 2), (0.3, 1), (0.6, 0)])
def test_least_work_is_chosen(network, share, path):
    marks = torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0)) < share
    rings = (marks, grown(marks, 1), grown(marks, 2))
    work = costs(network, *(ring.float().mean().item() for ring in rings))
    assert work.index(min(work)) == path


def test_multiplications_are_those_of_the_layers(network):
    """Counted from the layers' outputs."""
    counted = []

    def count(layer, arguments, output):
        pixels = (output if isinstance(layer, torch.nn.Conv2d) else arguments[0])[0, 0].numel()
        counted.append(pixels * layer.weight.numel())

    layers = [each for each in network.modules() if isinstance(each, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(torch.ones(1, 3, 4 * TILE_PX, 2 * TILE_PX, dtype=torch.float64))
    for hook in hooks:
        hook.remove()
    assert costs(network, 0.0, 0.0, 0.0)[0] == sum(counted) / 8


def test_bfloat16_on_tiles_is_near_float32(network, monkeypatch):
    layers_on_tiles(monkeypatch, 2)
    photons, marks, inside = random_marks(40, 48, 0.3)
    single = copy.deepcopy(network).float().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = maps_on_tiles(single, photons.float(), marks)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = maps_on_tiles(single, photons.float(), marks)
    assert rounded.values.dtype == torch.bfloat16
    error = (rounded.logit.float() - exact.logit)[inside]
    assert 0 < error.abs().max() < 0.05 * exact.logit[inside].abs().max()


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_bright_tiles_are_those_counted_pixel_by_pixel(reach):
    rows, columns, threshold = 21, 30, 3.0
    generator = torch.Generator().manual_seed(2)
    variance = 5 + 10 * torch.rand(4, rows, columns, generator=generator)
    photons = torch.randn(2, 4, rows, columns, generator=generator) * variance.sqrt()
    photons[0, 2, 9, 16] += 60
    grid = TileGrid(TILE_PX, (rows, columns))
    marks = bright_tiles(photons, variance, threshold, grid, reach, 3).numpy()
    expected = np.zeros_like(marks)
    for image in range(2):
        for row in range(rows):
            for column in range(columns):
                square = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                light = photons[image].numpy()[:, *square].sum()
                if light > threshold * np.sqrt(variance.numpy()[:, *square].sum()):
                    near = [
                        np.arange(max(place - reach, 0), min(place + reach, size - 1) + 1) // TILE_PX
                        for place, size in ((row, rows), (column, columns))
                    ]
                    expected[image][np.ix_(*near)] = True
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(marks, expected)
