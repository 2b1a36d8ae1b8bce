"""The regression network's last layers on pages, against the network on whole frames; and where there is light."""

import numpy as np
import pytest
import torch

from planeloc.localization.candidates import bright_tiles
from planeloc.networks import tiled_regression
from planeloc.networks.regression import Architecture, RegressionNetwork
from planeloc.networks.tiled_regression import TILE_PX, maps_on_tiles
from planeloc.networks.tiles import TileGrid


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    network = RegressionNetwork(Architecture(3, (6, 8, 10)), 9.0, 0.01).double()
    for parameter in network.parameters():  # biases too, which make features beyond the edge differ from zero
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize(("rows", "columns"), [(24, 40), (17, 30), (8, 8), (5, 50)])
def test_pages_agree_with_the_whole_frame(network, rows, columns, monkeypatch):
    monkeypatch.setattr(tiled_regression, "_WORTH_IT", 1.0)
    generator = torch.Generator().manual_seed(rows)
    photons = 40 * torch.rand(2, 3, rows, columns, generator=generator, dtype=torch.float64)
    marks = torch.rand(2, *TileGrid(TILE_PX, (rows, columns)).shape, generator=generator) < 0.5
    marks[0, -1, -1], marks[1] = True, marks[1] & False
    with torch.inference_mode():
        whole, paged = network(photons), maps_on_tiles(network, photons, marks)
    inside = marks.repeat_interleave(TILE_PX, 1).repeat_interleave(TILE_PX, 2)[:, :rows, :columns]
    assert paged.shape == whole.shape
    torch.testing.assert_close(paged.movedim(1, -1)[inside], whole.movedim(1, -1)[inside], rtol=1e-12, atol=1e-12)
    assert (paged[:, 0][~inside] < -10).all()


def test_where_most_is_marked_the_whole_frame_is_computed(network):
    photons = 40 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    marks = torch.tensor([[[True, True], [True, False]]])
    with torch.inference_mode():
        assert torch.equal(maps_on_tiles(network, photons, marks), network(photons))


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_light_marks_pages_as_counted_pixel_by_pixel(reach):
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
