"""Photons of a movie's molecules, and its background."""

import numpy as np
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import (
    WINDOW_PX,
    fit_spots,
    gaussian_share,
    measure_brightness_and_background,
    photons_in_focus,
)
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from planeloc.psf import Emitters, paper_psf
from support.movies import MICROSCOPE, Source, draw_emitters, expose
from support.splines import random_spline


def test_brightness_and_background_are_measured_from_a_movie(tmp_path):
    counts = expose(draw_emitters(60, 4, seed=8), 60, background=6.0)
    write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=30)
    light = measure_brightness_and_background([Movie.open(tmp_path / "m.json")], paper_psf())
    assert light.background == pytest.approx((6.0, 6.0), abs=1.0)
    assert 2000 < light.photons[0] < 3200 and 4600 < light.photons[1] < 6500  # drawn from 2,500 to 5,400
    write_movie(Source(counts[:1] * 0 + 100), tmp_path / "d.zarr", tmp_path / "d.json", MICROSCOPE, chunk_frames=30)
    with pytest.raises(PlanelocError, match=r"d\.json: only 0 in-focus molecules"):
        measure_brightness_and_background([Movie.open(tmp_path / "d.json")], paper_psf())


def test_photons_under_the_rings_are_counted():
    """Spots with rings hold more than the Gaussian that is fitted to them: of real beads, a tenth."""
    psf = random_spline()
    z, one = torch.tensor(psf.plane_depths_nm, dtype=torch.float64), torch.full((4,), 3000.0, dtype=torch.float64)
    centre = torch.full_like(z, 3.5 * psf.pixel_size_nm)
    spots = psf.expected_photons(Emitters(centre, centre, z, one / torch.tensor(psf.brightness).double()), (7, 7))
    own = spots[torch.arange(4), torch.arange(4)].float().numpy()
    found = photons_in_focus(fit_spots([own], np.zeros((1, 7, 7)), [Camera()])[0], gaussian_share(psf), psf)
    assert np.median(found) == pytest.approx(3000, rel=0.02)


@pytest.mark.parametrize(
    "camera",
    [
        Camera(quantum_efficiency=0.4, read_noise_electrons=1.0, electrons_per_count=0.1),
        Camera(quantum_efficiency=0.5, em_gain=300.0, read_noise_electrons=30.0, electrons_per_count=5.0),
    ],
)
def test_stated_standard_deviations_are_those_of_the_camera(camera):
    """Spots as the camera would record them, with few photoelectrons per photon: they scatter as much as is stated."""
    random, background, width = np.random.default_rng(0), 20.0, 1.2
    y, x = np.mgrid[:WINDOW_PX, :WINDOW_PX] - WINDOW_PX // 2
    expected = background + 600.0 * np.exp(-(x**2 + y**2) / (2 * width))
    counts = camera.expose(np.broadcast_to(expected, (2000, WINDOW_PX, WINDOW_PX)), random)
    fits, _ = fit_spots([camera.photons(counts) - np.float32(background)] * 2, [[background]] * 2, [camera, Camera()])
    widths, peaks = fits.squared_width_px2[:, 0], fits.peak
    assert np.median(widths) == pytest.approx(width, rel=0.02)
    for values, stated in ((widths, fits.deviations[:, 2]), (peaks, fits.deviations[:, 3])):
        scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
        assert scatter == pytest.approx(np.median(stated), rel=0.1)
