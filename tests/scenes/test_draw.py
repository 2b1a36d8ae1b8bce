"""Drawn images against Table 2 and the statistics of the noise."""

from dataclasses import replace

import pytest
import torch

from planeloc.psf import paper_psf
from planeloc.scenes.draw import draw_batch, voxel_of
from planeloc.scenes.scene import PAPER_PHOTONS, Scene, paper_scene


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_table_2():
    psf, scene = paper_scene()
    batch = draw_batch(psf, scene, 200, generator())
    assert batch.images.shape == (200, 4, 16, 16)
    assert batch.positions_nm.shape == (200, 3, 3)
    assert scene.depth_slices == 32
    assert PAPER_PHOTONS[1] / 4 == pytest.approx(1356.3, abs=0.1)
    low, high = batch.positions_nm.amin(dim=(0, 1)), batch.positions_nm.amax(dim=(0, 1))
    assert (low >= torch.tensor([0.0, 0.0, -800.0])).all() and (high <= torch.tensor([3072.0, 3072.0, 800.0])).all()
    assert (batch.photons / PAPER_PHOTONS[1]).min() >= 0.3 - 1e-6


def test_same_generator_same_batch():
    psf, scene = paper_psf(), Scene()
    first, second = (draw_batch(psf, scene, 4, generator(7)).images for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, draw_batch(psf, scene, 4, generator(8)).images)


@pytest.mark.parametrize(("em", "factor"), [(False, 1.0), (True, 2.0)])
def test_noise_of_an_empty_image(em, factor):
    """Variance = excess · background + read noise²; EM multiplication doubles the shot noise."""
    scene = Scene(photons=(0.0, 0.0), background=(10.0, 10.0), em_multiplication=em, registration_resampling=False)
    images = draw_batch(paper_psf(), scene, 300, generator()).images
    assert images.mean().item() == pytest.approx(0.0, abs=0.05)
    assert images.var().item() == pytest.approx(10 * factor + 9, rel=0.03)


def test_drift_moves_whole_voxels_and_spares_the_reference():
    """A noise-free emitter in focus: its centroid on every plane tells the drift."""
    psf = replace(paper_psf(), plane_depths_nm=(0.0, 1.0, 2.0, 3.0))
    scene = Scene(emitters=1, photons=(1e7, 1e7), background=(0.0, 0.0), read_noise_photons=0.0, window_px=32,
                  registration_resampling=False, depth_range_nm=(-50.0, 50.0))  # fmt: skip
    batch = draw_batch(psf, scene, 300, generator())
    inside = ((batch.positions_nm[:, 0, :2] > 1500) & (batch.positions_nm[:, 0, :2] < 32 * 192 - 1500)).all(dim=1)
    images = batch.images[inside]
    centre = (torch.arange(32) + 0.5) * 192
    x = (images.sum(dim=2) * centre).sum(dim=-1) / images.sum(dim=(2, 3))
    shift = (x - batch.positions_nm[inside, 0, 0][:, None]) / 24
    assert shift[:, 0].abs().max() < 0.1
    assert (shift - shift.round()).abs().max() < 0.1
    assert set(shift[:, 1:].round().int().unique().tolist()) == {-2, -1, 0, 1, 2}


def test_registration_resampling_leaves_emitters_where_they_are():
    psf = paper_psf()
    scene = Scene(
        emitters=1,
        photons=(1e6, 1e6),
        read_noise_photons=0.0,
        inter_camera_drift_voxels=0,
        depth_range_nm=(-700.0, -500.0),
    )
    batch = draw_batch(psf, scene, 400, generator())
    inside = ((batch.positions_nm[:, 0, :2] > 1000) & (batch.positions_nm[:, 0, :2] < 2072)).all(dim=1)
    images = batch.images[inside][:, :2]  # planes near focus
    centre = (torch.arange(16) + 0.5) * 192
    y = (images.sum(dim=3) * centre).sum(dim=-1) / images.sum(dim=(2, 3))
    error = y - batch.positions_nm[inside, 0, 1][:, None]
    assert error.abs().mean() < 6.0  # cubic interpolation of an undersampled spot is not perfect; a bug would be ~50 nm


def test_voxels_are_where_the_positions_are():
    scene = Scene()
    positions = torch.tensor([[0.0, 0.0, -800.0], [3071.9, 25.0, 799.9], [24.0, 23.9, -750.0]])
    assert voxel_of(positions, 192.0, scene).tolist() == [[0, 0, 0], [31, 1, 127], [1, 0, 1]]


def test_two_planes_and_other_factors():
    psf = replace(paper_psf(), plane_depths_nm=(-185.0, 185.0), brightness=(0.6, 0.4), pixel_size_nm=120.0)
    scene = Scene(upsampling=4, voxel_depth_nm=40.0, depth_range_nm=(-360.0, 360.0), window_px=20)
    batch = draw_batch(psf, scene, 8, generator())
    assert batch.images.shape == (8, 2, 20, 20)
    assert batch.voxels[..., 0].max() < 18 and batch.voxels[..., 1:].max() < 80
