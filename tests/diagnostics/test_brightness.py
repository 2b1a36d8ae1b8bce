"""Photons of a movie's molecules, and its background."""

import numpy as np
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.brightness import fit_spots, measure_brightness_and_background, photons_in_focus
from planeloc.movie.store import Movie, write_movie
from planeloc.psf import paper_psf
from support.movies import MICROSCOPE, Source, draw_emitters, expose
from support.splines import random_spline


def test_brightness_and_background_are_measured_from_a_movie(tmp_path):
    counts = expose(draw_emitters(60, 4, seed=8), 60, background=6.0)
    write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=30)
    light = measure_brightness_and_background([Movie.open(tmp_path / "m.json")], paper_psf())
    assert light.background == pytest.approx((6.0, 6.0), abs=1.0)
    assert 2000 < light.photons[0] < 3200 and 4600 < light.photons[1] < 6500  # drawn from 2,500 to 5,400
    write_movie(Source(counts[:1] * 0 + 100), tmp_path / "d.zarr", tmp_path / "d.json", MICROSCOPE, chunk_frames=30)
    with pytest.raises(PlanelocError, match=r"d\.json: only 0 molecules"):
        measure_brightness_and_background([Movie.open(tmp_path / "d.json")], paper_psf())


def test_photons_under_the_rings_are_counted():
    """Spots with rings hold more than the Gaussian that is fitted to them: of real beads, a tenth."""
    psf = random_spline()
    z, one = torch.tensor(psf.plane_depths_nm, dtype=torch.float64), torch.full((4,), 3000.0, dtype=torch.float64)
    centre = torch.full_like(z, 3.5 * psf.pixel_size_nm)
    spots = psf.expected_photons(centre, centre, z, one / torch.tensor(psf.brightness).double(), (7, 7))
    own = spots[torch.arange(4), torch.arange(4)].float().numpy()
    found = photons_in_focus(fit_spots(own, np.zeros((7, 7), dtype=np.float32), Camera()), psf)
    assert np.median(found) == pytest.approx(3000, rel=0.02)
