"""Training windows in which sensors of cameras end."""

from dataclasses import replace

import torch

from planeloc.psf import paper_psf
from planeloc.scenes.edges import draw_sensors
from planeloc.scenes.random_density import draw_dense_scenes
from planeloc.scenes.scene import Scene

SCENE = Scene(window_px=32, density=(0.001, 0.01), background_error=0.2, edges=0.7)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_sensors_end_at_sides_and_corners_in_a_share_of_the_images():
    sensors = draw_sensors(2000, 4, 30, 0.5, generator())
    assert sensors[:, 0].all()  # the reference
    cut = ~sensors.flatten(2).all(dim=2)
    assert abs(cut[:, 1:].float().mean() - 0.25) < 0.03 and abs(cut.any(dim=1).float().mean() - 0.44) < 0.04
    kept = sensors[cut].float().mean(dim=(1, 2))
    assert kept.min() >= 0.6**2 - 0.03 and kept.max() <= 29 / 30
    both = ((~sensors.any(dim=2)).any(dim=2) & (~sensors.any(dim=3)).any(dim=2))[cut]
    assert abs(both.float().mean() - 0.3) < 0.05
    assert not (~draw_sensors(50, 4, 30, 0.0, generator())).any()


def test_images_are_dark_where_a_camera_does_not_see():
    batch = draw_dense_scenes(paper_psf(), SCENE, 60, generator())
    assert batch.seen.shape == batch.images.shape and 0.8 < batch.seen.float().mean() < 0.98
    seen = batch.seen.float()
    far = torch.nn.functional.max_pool2d(seen, 5, stride=1, padding=2) == 0  # beyond the reach of the interpolation
    assert far.any() and (batch.images[far] == 0).all()
    assert (batch.images[batch.seen] != 0).all()
    assert batch.part(3, 9).seen.equal(batch.seen[3:9])


def test_without_edges_images_are_as_they_were():
    batch = draw_dense_scenes(paper_psf(), replace(SCENE, edges=0.0), 4, generator())
    assert batch.seen is None and (batch.images != 0).all()
