"""Where molecules may be: a matched filter with the noise that it claims, that misses nobody."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.localization.candidates import CandidateSearch, bright_tiles, candidate_pixels, spot_side_px
from planeloc.networks.tiles import TileGrid
from planeloc.psf import Emitters, paper_psf
from planeloc.scenes.draw import draw_batch, expected_images
from planeloc.scenes.scene import PAPER_BACKGROUND, Scene

CPU = torch.device("cpu")
PIXEL_NM = 192.0
DEPTHS = (-800.0, 800.0)
DRIFT_SD_NM = 34.0
FIELD = (48, 40)
TOL_UNIT_NOISE = 0.02


def search():
    return CandidateSearch(paper_psf(), DEPTHS, DRIFT_SD_NM, CPU)


def variance():
    """Of a background that rises to the right, and read noise; planes differ."""
    rising = torch.linspace(4, 20, FIELD[1]).expand(4, *FIELD)
    return rising * torch.tensor([1.0, 0.5, 1.5, 1.0])[:, None, None] + 9


def image_of(x_px, y_px, z, photons, shifts=None):
    values = (torch.tensor([v], dtype=torch.float64) for v in (x_px * PIXEL_NM, y_px * PIXEL_NM, z, photons))
    return paper_psf().expected_photons(Emitters(*values, shifts), FIELD).float()


def test_noise_alone_has_unit_variance():
    """Also where the background is another, and at the border."""
    random = torch.Generator().manual_seed(2)
    known = variance()
    filters = search()
    values = []
    for _ in range(150):
        noise = torch.randn(1, 4, *FIELD, generator=random) * known.sqrt()
        values.append(filters.test_values(noise, known, filters.noise(known))[0])
    sd = torch.stack(values).std(dim=0)
    assert sd.mean().item() == pytest.approx(1.0, abs=TOL_UNIT_NOISE)
    for part in (sd[:, :, :6], sd[:, :, -6:], sd[:, :4], sd[0], sd[-1]):
        assert part.mean().item() == pytest.approx(1.0, abs=2 * TOL_UNIT_NOISE)


def test_value_of_a_molecule_in_double_precision():
    """Σ s·x/σ² / √(Σ s²/σ²), written out for one place, with s averaged over a fine grid of shifts."""
    known = variance()
    filters = search()
    photons = 1500.0
    image = image_of(20.5, 17.5, -600.0, photons)
    values = filters.test_values(image, known, filters.noise(known))[0, :, 17, 20]
    random = np.random.default_rng(0)
    sd = np.hypot(np.array([0, DRIFT_SD_NM, DRIFT_SD_NM, DRIFT_SD_NM]), PIXEL_NM / math.sqrt(12))
    shifts = torch.from_numpy(random.normal(0, 1, (20000, 4, 2)) * sd[:, None])
    many = (torch.full((20000,), v, dtype=torch.float64) for v in (20.5 * PIXEL_NM, 17.5 * PIXEL_NM, -600.0, 1.0))
    s = paper_psf().expected_photons(Emitters(*many, shifts), FIELD).mean(dim=0)
    inverse = 1 / known.double()
    expected = (s * image[0].double() * inverse).sum() / (s**2 * inverse).sum().sqrt()
    assert values[1].item() == pytest.approx(expected.item(), rel=0.02)  # depth −600 nm is the second of nine
    assert values.argmax() == 1
    template = s[:, 13:22, 16:25].float()
    assert (filters.templates[1] - template).abs().max() < 0.02 * template.max()


def test_the_best_linear_filter_for_a_molecule_that_drifts():
    """No other template of the same bank tells a molecule at its depth better, in the mean over drifts."""
    known = torch.full((4, *FIELD), 13.0)
    filters = search()
    scene = Scene(depth_range_nm=DEPTHS)
    random = torch.Generator().manual_seed(1)
    position = torch.tensor([[[20.5 * PIXEL_NM, 20.5 * PIXEL_NM, -400.0]]]).expand(400, 1, 3)
    shifts = DRIFT_SD_NM * torch.randn(400, 4, 2, generator=random)
    shifts[:, 0] = 0
    square = Scene(window_px=40)
    images = expected_images(paper_psf(), square, position, torch.full((400, 1), 1000.0), shifts)
    padded = torch.nn.functional.pad(images, (0, 0, 0, 8))
    values = filters.test_values(padded, known, filters.noise(known))[:, :, 20, 20].mean(dim=0)
    assert scene.depth_range_nm == DEPTHS and values.argmax() == 2  # −400 nm is the third


def test_nothing_is_seen_where_no_sensor_is():
    """Planes that do not cover a part of the field count for nothing there, without NaN."""
    known = variance()
    known[2, :, :15] = 0
    known[:, :10] = 0
    filters = search()
    values = filters.test_values(image_of(20.5, 20.5, 0.0, 3000.0), known, filters.noise(known))
    assert torch.isfinite(values).all()
    assert candidate_pixels(values, 4.0)[:, 1].min() >= 6


@pytest.mark.parametrize(("dim", "apart_px"), [(0.25, 3.0), (0.5, 2.5), (1.0, 2.0)])
def test_a_dim_neighbour_is_a_candidate_of_its_own(dim, apart_px):
    known = torch.full((4, *FIELD), 13.0)
    filters = search()
    pair = image_of(18.5, 20.5, 200.0, 4000.0) + image_of(18.5 + apart_px, 20.5, -200.0, 4000.0 * dim)
    pixels = candidate_pixels(filters.test_values(pair, known, filters.noise(known)), 4.0)
    for x in (18.5, 18.5 + apart_px):
        assert min(math.hypot(c + 0.5 - x, r + 0.5 - 20.5) for _, r, c in pixels.tolist()) <= 1.0


def test_molecules_of_the_networks_light_are_candidates():
    """2 × 32 images of three molecules in drifted planes: hardly one without a candidate within a pixel and a half."""
    scene = Scene(window_px=32, emitters=3, photons=(400.0, 5400.0), registration_resampling=False)
    batch = draw_batch(paper_psf(), scene, 64, torch.Generator().manual_seed(4))
    known = torch.full((4, 32, 32), PAPER_BACKGROUND[0] + 9.0)
    filters = CandidateSearch(paper_psf(), DEPTHS, scene.drift_sd_nm(PIXEL_NM), CPU)
    pixels = candidate_pixels(filters.test_values(batch.images, known, filters.noise(known)), 4.0)
    lost = 0
    for image, positions in enumerate(batch.positions_nm):
        own = pixels[pixels[:, 0] == image][:, 1:].flip(1) + 0.5
        for position in positions:
            lost += bool((own - position[:2] / PIXEL_NM).abs().amax(dim=1).min() > 1.5)
    assert lost <= 4  # of 192
    empty = draw_batch(paper_psf(), Scene(window_px=32, emitters=1, photons=(0.0, 0.01)), 32, torch.Generator())
    noise = candidate_pixels(filters.test_values(empty.images, known, filters.noise(known)), 4.0)
    assert len(noise) < 3 * 32


@pytest.mark.parametrize(("pixel_nm", "side"), [(192.0, 3), (100.0, 5), (65.0, 7)])
def test_molecules_that_the_best_filter_sees_well_light_their_pages(pixel_nm, side):
    """At eight deviations of the best filter, wherever they lie, whatever the size of a pixel."""
    psf = replace(paper_psf(), pixel_size_nm=pixel_nm)
    assert spot_side_px(psf) == side
    number, field, grid = 60, (32, 40), TileGrid(8, (32, 40))
    random = np.random.default_rng(5)
    x, y = (torch.from_numpy(random.uniform(8, size - 8, number)) for size in (40, 32))
    z = torch.from_numpy(random.uniform(-800, 800, number))
    images = psf.expected_photons(Emitters(x * pixel_nm, y * pixel_nm, z, torch.ones_like(z)), field)
    variance = torch.full((4, *field), 13.0)
    alone = images.square().sum(dim=(1, 2, 3), keepdim=True).div(13.0).sqrt()  # deviations of one photon
    marks = bright_tiles((8.0 * images / alone).float(), variance, 4.0, grid, 1, side)
    assert marks[torch.arange(number), (y // 8).long(), (x // 8).long()].all()
