"""The store holds the source bit for bit; damage is an error and never zeros."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from planeloc.core.errors import PlanelocError
from planeloc.core.files import sha256
from planeloc.movie.store import Movie
from support.conversions import WRITTEN, Folder, counts, microscope

DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set: no real files to read")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, counts())


@pytest.mark.parametrize("chunk_frames", [0, 1, 5, 23, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_movie_is_the_source_bit_for_bit(folder: Folder, chunk_frames: int, threads: int) -> None:
    movie = folder.convert(chunk_frames=chunk_frames, threads=threads)
    source = np.stack([tifffile.imread(file) for file in folder.files], axis=1)
    assert movie.shape == source.shape == (movie.frames, movie.planes, movie.height, movie.width)
    np.testing.assert_array_equal(movie.read(0, 23), source)
    for start, stop in [(0, 1), (4, 6), (3, 17), (22, 23), (9, 9)]:
        np.testing.assert_array_equal(movie.read(start, stop), source[start:stop])
    movie.verify()
    assert folder.results() == WRITTEN


def test_any_zarr_reader_gets_the_counts(folder: Folder) -> None:
    folder.convert(chunk_frames=5)
    array = zarr.open_array(folder.store / "counts", mode="r")
    np.testing.assert_array_equal(array[:], counts())
    assert array.metadata.zarr_format == 3 and array.chunks == (5, 2, 14, 18)
    assert array.metadata.dimension_names == ("t", "c", "y", "x")  # as OME-Zarr wants them
    assert array.metadata.codecs[-1].to_dict()["name"] == "crc32c"


def test_the_digest_is_of_the_counts_whatever_the_chunks(folder: Folder) -> None:
    digests = {folder.convert(chunk_frames=n).digest for n in (0, 4, 7)}
    assert len(digests) == 1
    changed = counts()
    changed[-1, -1, -1, -1] += 1
    assert Folder(folder.path, changed).convert().digest not in digests


def test_the_manifest_names_sources_and_microscope(folder: Folder) -> None:
    scope = microscope(offset_counts=90, em_gain=30)
    movie = folder.convert(scope, chunk_frames=6)
    content = json.loads(folder.manifest.read_text())
    assert [source["sha256"] for source in content["sources"]] == [sha256(file) for file in folder.files]
    assert [source["bytes"] for source in content["sources"]] == [file.stat().st_size for file in folder.files]
    assert content["store"] == "movie.zarr"
    assert movie.microscope == scope


def test_a_movie_may_be_moved_with_its_manifest(folder: Folder) -> None:
    folder.convert()
    (folder.path / "results").rename(folder.path / "elsewhere")
    np.testing.assert_array_equal(Movie.open(folder.path / "elsewhere" / "movie.manifest.json").read(0, 23), counts())


def test_a_movie_can_be_sent_to_a_worker_without_its_counts(folder: Folder) -> None:
    movie = folder.convert()
    movie.read(0, 1)
    sent = pickle.dumps(movie)
    assert len(sent) < counts().nbytes
    np.testing.assert_array_equal(pickle.loads(sent).read(0, 23), counts())


def test_a_missing_chunk_is_an_error_and_not_zeros(folder: Folder) -> None:
    movie = folder.convert(chunk_frames=5)
    folder.chunk(2).unlink()
    np.testing.assert_array_equal(movie.read(0, 10), counts()[:10])
    with pytest.raises(PlanelocError, match=r"movie\.zarr: chunk 2 is missing"):
        movie.read(9, 11)
    with pytest.raises(PlanelocError, match="chunk 2 is missing"):
        movie.verify()


def test_chunks_of_zeros_exist_and_their_loss_is_noticed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, np.zeros((10, 2, 8, 8), np.uint16))
    movie = folder.convert(chunk_frames=5)
    np.testing.assert_array_equal(movie.read(0, 10), 0)
    folder.chunk(1).unlink()
    with pytest.raises(PlanelocError, match="chunk 1 is missing"):
        Movie.open(folder.manifest).read(0, 10)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other chunk"])
def test_a_damaged_chunk_is_named(folder: Folder, damage: str) -> None:
    movie = folder.convert(chunk_frames=5)
    content = bytearray(folder.chunk(3).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
    damaged = {"flip": content, "cut": content[:-9], "empty": b"", "other chunk": folder.chunk(1).read_bytes()}
    folder.chunk(3).write_bytes(damaged[damage])
    with pytest.raises(PlanelocError, match="chunk 3") as caught:
        movie.read(15, 20)
    assert "\n" not in str(caught.value)


def test_store_and_manifest_must_belong_together(folder: Folder) -> None:
    folder.convert(chunk_frames=5)
    old = folder.manifest.read_text()
    Folder(folder.path, counts(30)).convert(chunk_frames=5)
    folder.manifest.write_text(old)
    with pytest.raises(PlanelocError, match="does not belong"):
        Movie.open(folder.manifest)
    folder.store.rename(folder.path / "gone.zarr")
    with pytest.raises(PlanelocError, match="missing or damaged"):
        Movie.open(folder.manifest)
    for text in ("{}", "[]", '{"format": "planeloc movie 1"}', '{"format": "planeloc movie 2"}', "no JSON"):
        folder.manifest.write_text(text)
        with pytest.raises(PlanelocError, match="manifest"):
            Movie.open(folder.manifest)
    folder.manifest.unlink()
    with pytest.raises(PlanelocError, match="no such file"):
        Movie.open(folder.manifest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_type": "int16"}, "does not belong"),
        ({"codecs": [{"name": "bytes"}, {"name": "crc32c"}]}, "does not belong"),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}, "does not belong"),
        ({"chunk_key_encoding": {"name": "v2"}}, "does not belong"),
        ({"node_type": "group"}, "missing or damaged"),
        ({"zarr_format": 2}, "missing or damaged"),
        ({"codecs": None}, "missing or damaged"),
        (None, "missing or damaged"),
    ],
)
def test_a_store_that_planeloc_did_not_write_is_refused(folder: Folder, change: dict | None, said: str) -> None:
    folder.convert(chunk_frames=5)
    metadata = folder.store / "counts" / "zarr.json"
    text = json.dumps({**json.loads(metadata.read_text()), **change}) if change else "no JSON"
    metadata.write_text(text)
    with pytest.raises(PlanelocError, match=said):
        Movie.open(folder.manifest)


@needs_data
def test_real_biplane_movie(tmp_path: Path) -> None:
    """A real simultaneous two-plane movie; its photons are stored as floats, so counts are made of them first."""
    import scipy.io

    photons = scipy.io.loadmat(Path(DATA) / "sequences" / "Fazel_biplane_experimental.mat")["Data"]
    frames = np.clip(np.rint(photons.transpose(2, 3, 0, 1) * 2 + 100), 0, 65535).astype(np.uint16)
    movie = Folder(tmp_path, frames).convert()
    assert movie.shape == (150, 2, 62, 62)
    np.testing.assert_array_equal(movie.read(0, 150), frames)


def test_a_camera_file_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\x00\xff\xfe")
    with pytest.raises(PlanelocError, match=r"x\.tif: not a movie manifest .*; `planeloc convert` makes one"):
        Movie.open(tmp_path / "x.tif")
