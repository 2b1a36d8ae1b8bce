"""Chunks are those of zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from planeloc.movie.store import Movie
from support.conversions import Folder, counts


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, counts())


def test_chunks_are_what_zarr_would_have_written(tmp_path: Path) -> None:
    """To the byte: the codecs that the store's metadata names were applied, in their order."""
    folder = Folder(tmp_path, np.random.default_rng(1).poisson(90, (70, 2, 80, 96)).astype(np.uint16))
    folder.convert(chunk_frames=60)
    ours = [folder.chunk(index).read_bytes() for index in range(2)]
    array = zarr.open_array(folder.store / "counts", mode="r+")
    array[:] = array[:]
    assert [folder.chunk(index).read_bytes() for index in range(2)] == ours
    Movie.open(folder.manifest).verify()
