"""Training scenes of the regression network: how many molecules, and that images hold just these."""

from dataclasses import replace

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.psf import paper_psf
from planeloc.scenes.random_density import draw_dense_scenes
from planeloc.scenes.scene import Scene

SCENE = Scene(window_px=24, density=(0.0005, 0.01), background_error=0.1)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_density_spans_its_range():
    """The root of the density is uniform: mean (low + high + √(low·high)) / 3."""
    low, high = SCENE.density
    scenes = draw_dense_scenes(paper_psf(), SCENE, 1000, generator())
    number = torch.bincount(scenes.image, minlength=1000).double()
    expected = (low + high + (low * high) ** 0.5) / 3 * 24**2
    assert number.mean().item() == pytest.approx(expected, rel=0.1)
    assert number.min() == 0 and number.max() > 1.2 * high * 24**2


def test_molecules_listed_are_inside_and_in_order():
    scenes = draw_dense_scenes(paper_psf(), SCENE, 50, generator())
    assert (scenes.positions_nm[:, :2] >= 0).all() and (scenes.positions_nm[:, :2] < 24 * 192).all()
    assert (scenes.image.diff() >= 0).all()
    assert scenes.positions_nm[:, 2].abs().max() <= 800


def test_same_generator_same_batch():
    first, second = (draw_dense_scenes(paper_psf(), SCENE, 4, generator(7)) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.positions_nm, second.positions_nm)


def test_images_hold_the_photons_of_their_molecules():
    """Without background and read noise, pixels sum to the photons of molecules far from the border."""
    scene = replace(SCENE, window_px=48, density=(0.0004, 0.0004), background=(0.0, 0.0), read_noise_photons=0.0,
                    photons=(1e5, 1e5), depth_range_nm=(-600.0, 600.0))  # fmt: skip
    scenes = draw_dense_scenes(paper_psf(), scene, 200, generator())
    border = 12 * 192
    within = ((scenes.positions_nm[:, :2] > border) & (scenes.positions_nm[:, :2] < 36 * 192)).all(dim=1)
    alone = within & (torch.bincount(scenes.image, minlength=200)[scenes.image] == 1)
    total = scenes.images[scenes.image[alone]].sum(dim=(1, 2, 3))
    assert alone.sum() > 5
    assert total.median().item() == pytest.approx(1e5, rel=0.01)  # unlisted ones beyond the border add to some


def test_residual_background_is_returned():
    scene = replace(SCENE, density=(0.0, 0.0), background=(100.0, 100.0), background_error=0.2)
    scenes = draw_dense_scenes(paper_psf(), scene, 200, generator())
    level = scenes.images.mean(dim=(1, 2, 3))
    assert scenes.background.std().item() == pytest.approx(10.0, rel=0.2)  # 20 photons on each of four planes
    assert (level - scenes.background).abs().max() < 1.5


def test_more_than_can_be_resolved_is_refused():
    with pytest.raises(PlanelocError, match=r"setting density: .* up to 25\.6 molecules per 16×16 pixels"):
        draw_dense_scenes(paper_psf(), replace(SCENE, density=(0.001, 0.5)), 1, generator())
