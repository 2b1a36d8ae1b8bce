"""Settings of training scenes that cannot be drawn or learned are named before anything is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import measure_brightness_and_background
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from planeloc.networks.regression import SEEN_PX, Architecture, RegressionNetwork
from planeloc.psf import paper_psf
from planeloc.training.scene_from_movie import check_scene_settings, training_scene
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train
from planeloc.transforms.camera_transform import Registration
from support.movies import MICROSCOPE, Source, draw_emitters, expose
from support.trainings import outputs

REGRESSION, UPSAMPLING = TrainSettings(network="regression"), TrainSettings(network="upsampling")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            replace(REGRESSION, density="0.1-26"),
            "setting density: .* 25.6 molecules per 16×16 pixels, .* smaller density",
        ),
        (replace(REGRESSION, density="0-0"), "setting density: 0-0 leaves nothing"),
        (replace(REGRESSION, density="0-inf"), "setting density: .* neither"),
        (replace(UPSAMPLING, emitters=26), "setting emitters: 26; more than 25 emitters per 16×16 pixels"),
        (replace(UPSAMPLING, edges=0.5), "setting edges: 0.5; a network of kind upsampling"),
        (replace(REGRESSION, photons="0-5000"), "setting photons: '0-5000' begins below 1"),
        (TrainSettings(photons="100-2e7"), "setting photons: .* above 1e.07 photons per molecule"),
        (TrainSettings(background="4-2e6"), "setting background: .* above 1e.06 photons per pixel"),
        (TrainSettings(background="5-4"), "setting background: .* neither auto nor an interval"),
    ],
)
def test_what_cannot_be_drawn_is_named_before_anything_is_read(settings, message, tmp_path):
    with pytest.raises(PlanelocError, match=message) as error:
        train(tmp_path / "no such psf.h5", None, [], None, *outputs(tmp_path), settings)
    assert "\n" not in str(error.value)


def test_what_the_kind_of_network_does_not_use_is_not_asked_for(capsys):
    check_scene_settings(replace(UPSAMPLING, density="1-100").resolved())
    check_scene_settings(replace(REGRESSION, emitters=100).resolved())
    assert capsys.readouterr().err == ""
    check_scene_settings(replace(REGRESSION, window_px=16).resolved())
    assert "warning: setting window_px: 16" in capsys.readouterr().err


def test_how_far_the_network_looks():
    """The gradient of one pixel's numbers by the image: the longest way over all places in the 4×4 pattern."""
    torch.manual_seed(0)
    network = RegressionNetwork(Architecture(2, (4, 4, 4)), 20.0, 0.01).double()
    farthest = 0
    for place in range(4):
        images = 30 * torch.rand(1, 2, 80, 80, dtype=torch.float64)
        images.requires_grad_()
        network(images)[0, :, 40 + place, 40 + place].square().sum().backward()
        reached = images.grad.abs().sum(dim=(0, 1)).nonzero()
        farthest = max(farthest, int((reached - 40 - place).abs().max()))
    assert farthest == SEEN_PX


def movie_of(folder, photons, background):
    frames = len(photons) // 4
    emitters = draw_emitters(frames, 4, seed=2)
    emitters[:, 4] = photons
    counts = expose(emitters, frames, background=background)
    write_movie(Source(counts), folder / "m.zarr", folder / "m.json", MICROSCOPE, chunk_frames=50)
    return Movie.open(folder / "m.json")


@pytest.mark.parametrize("background", [4.0, 50.0])
def test_training_reaches_down_to_the_dimmest_that_show(tmp_path, background):
    """Molecules are found by single planes, from some limit on; it does not depend on how bright most of them are."""
    uniform = np.random.default_rng(1).uniform(1500, 5000, 120)
    movie = movie_of(tmp_path, uniform, background)
    light = measure_brightness_and_background([movie], paper_psf())
    assert light.photons[0] > 1400
    # A spot in focus with the pixels' noise: six deviations of what a Gaussian of 1 px leaves of it.
    camera = MICROSCOPE.cameras[0]
    noise = np.sqrt(camera.excess_noise * background + camera.read_noise_photons() ** 2) / np.sqrt(4 * np.pi)
    limit = 4 * 6 * noise * 2 * np.pi * ((133 / 192) ** 2 + 1)
    assert limit < light.faintest < 1.35 * limit  # molecules out of focus add to the noise
    low, high = (
        training_scene(paper_psf(), None, [movie], Registration.identity(4), None, settings.resolved()).photons
        for settings in (REGRESSION, UPSAMPLING)
    )
    assert low == (light.faintest, light.photons[1]) and high == light.photons
