"""Pages of a volume: the right ones, and voxels found in them as in the whole volume."""

import math

import numpy as np
import pytest
import torch

from planeloc.networks.tiles import TiledVolume, TileGrid
from planeloc.networks.voxel_peaks import NOWHERE, find_peaks

LIMIT = math.log(0.005 / 0.995)


def clouds(seed=0, images=2, shape=(12, 40, 56), molecules=9):
    """Logits (images, depth, rows, columns) with blurred molecules, many of them close together, and noise below."""
    random = np.random.default_rng(seed)
    depth, rows, columns = (np.arange(n) + 0.5 for n in shape)
    probability = np.exp(random.uniform(-14, -9, (images, *shape)))
    for image in range(images):
        for d, r, c in random.uniform(0, 1, (molecules, 3)) * shape:
            cloud = np.exp(-((depth[:, None, None] - d) ** 2) / 2 - ((rows[:, None] - r) ** 2 + (columns - c) ** 2) / 3)
            probability[image] += random.uniform(0.2, 0.95) * cloud / cloud.sum()
    return torch.logit(torch.from_numpy(probability).clamp(max=1 - 1e-6)).float()


def paged(volume, side, marks):
    """A volume of which only the marked pages (images, rows, columns) are there."""
    images, depth, rows, columns = volume.shape
    pages = marks.nonzero()
    beyond = torch.full((images, depth, marks.shape[1] * side, marks.shape[2] * side), 99.0)
    beyond[:, :, :rows, :columns] = volume
    values = torch.full((len(pages) + 1, side, side, depth), NOWHERE)
    for number, (image, row, column) in enumerate(pages.tolist()):
        part = beyond[image, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
        values[number] = part.permute(1, 2, 0)
    return TiledVolume.from_tiles(values, pages, images, tuple(marks.shape[1:]), (rows, columns))


def sorted_rows(peaks):
    rows = torch.cat([peaks.image[:, None], peaks.position, peaks.deviation, peaks.probability[:, None]], dim=1)
    return rows[np.lexsort(rows.T.numpy()[:4])]


@pytest.mark.parametrize("side", [5, 8, 16])
def test_peaks_do_not_see_the_pages(side):
    volume = clouds()
    grid = TileGrid(side, (40, 56))
    whole, in_pages = find_peaks(volume, 0.005), find_peaks(paged(volume, side, grid.everywhere(2)), 0.005)
    assert len(whole.image) > 8
    assert torch.equal(sorted_rows(whole), sorted_rows(in_pages))


def test_voxels_above_are_all_those_of_the_pages():
    volume = clouds(3)
    marks = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    known = marks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None].expand_as(volume)
    expected = ((volume > LIMIT) & known).nonzero()
    found = paged(volume, 8, marks).above(LIMIT)
    assert len(expected) > 50
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))


def test_a_look_beyond_a_page_is_a_look_into_the_next():
    volume = clouds(1)
    marks = TileGrid(8, (40, 56)).everywhere(2)
    marks[:, 2, 3] = False
    pages = paged(volume, 8, marks)
    voxels = torch.tensor([[0, 3, 15, 24], [1, 0, 0, 0], [1, 11, 39, 55], [0, 5, 16, 23]])
    steps = torch.arange(-3, 4)
    values = pages.values.view(-1)[pages.places(voxels, steps, steps) + voxels[:, 1, None, None]]
    for number, (image, depth, row, column) in enumerate(voxels.tolist()):
        for i, y in enumerate(range(row - 3, row + 4)):
            for j, x in enumerate(range(column - 3, column + 4)):
                there = 0 <= y < 40 and 0 <= x < 56 and (y // 8, x // 8) != (2, 3)
                assert values[number, i, j] == (volume[image, depth, y, x] if there else NOWHERE)


@pytest.mark.parametrize("side", [1, 3, 4])
@pytest.mark.parametrize("reach", [0, 1, 4])
def test_pages_around_points(side, reach):
    points = torch.tensor([[0, 0, 0], [0, 9, 14], [2, 21, 29], [2, 5, 20], [2, 11, 11]])
    marks = TileGrid(side, (22, 30)).around(points, reach, 3)
    expected = torch.zeros_like(marks)
    for image, row, column in points.tolist():
        for y in range(max(row - reach, 0), min(row + reach, 21) + 1):
            for x in range(max(column - reach, 0), min(column + reach, 29) + 1):
                expected[image, y // side, x // side] = True
    assert torch.equal(marks, expected)


def test_peaks_are_those_of_a_plain_search():
    """Voxel by voxel in Python: sums over 3×5×5, one winner in 5×9×9 among those above the threshold."""
    volume = clouds(5, images=1, shape=(10, 24, 28), molecules=6)
    p = torch.sigmoid(volume[0]).numpy().astype(np.float64)
    wide = np.pad(p, ((1, 1), (2, 2), (2, 2)))
    score = {}
    for d, r, c in zip(*np.nonzero(p > 0.005), strict=True):
        score[d, r, c] = wide[d : d + 3, r : r + 5, c : c + 5].sum() + p[d, r, c]
    expected = []
    for (d, r, c), own in score.items():
        rivals = [s for (e, q, b), s in score.items() if abs(e - d) <= 2 and abs(q - r) <= 4 and abs(b - c) <= 4]
        if own >= max(rivals):
            expected.append((d, r, c))
    assert len(expected) >= 4
    peaks = find_peaks(volume, 0.005)
    assert len(peaks.image) == len(expected)
    for place in expected:
        distance = (peaks.position - 0.5 - torch.tensor(place)).abs().amax(dim=1)
        assert distance.min() < 1.5  # the centroid lies near the voxel that won
