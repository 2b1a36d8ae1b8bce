"""Background of a movie."""

import numpy as np
import pytest

from planeloc.movie.background import background_photons
from planeloc.movie.store import Movie, write_movie
from support.movies import MICROSCOPE, Source


def test_background_ignores_blinking_and_chunks(tmp_path):
    counts = np.random.default_rng(0).poisson(210.0, (130, 4, 20, 20)).astype(np.uint16)
    counts[::8, :, 10, 10] += 300
    for chunk in (7, 100):
        write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=chunk)
        movie = Movie.open(tmp_path / "m.json")
        level = background_photons(movie, 110)
        assert level == pytest.approx(55.0, abs=2.0)  # (210 − 100) · 0.5
        if chunk == 7:
            first = level
    assert np.array_equal(first, level)
