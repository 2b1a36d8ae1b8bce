"""Conversion: the store holds the source bit for bit, damage is an error and never zeros, memory does not grow."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import planeloc
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.core.files import sha256
from planeloc.movie import chunks
from planeloc.movie import store as movie_module
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import Movie, auto_chunk_frames

NAMES = ("left", "right", "third")
AS_NOISY = {"read_noise_electrons": 10.0}  # with 20 photons above the offset: the variance of `counts`
WRITTEN = {"movie.zarr", "movie.manifest.json", "movie.quality.json"}
DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set: no real files to read")


def microscope(planes: int = 2, **camera: float) -> Microscope:
    return Microscope("test", 100.0, "files", tuple(Camera(name=NAMES[i], **camera) for i in range(planes)))


def counts(frames: int = 23, planes: int = 2, height: int = 14, width: int = 18) -> np.ndarray:
    random = np.random.default_rng(frames)
    return random.poisson(120, (frames, planes, height, width)).astype(np.uint16)


class Folder:
    """A folder with camera files and the paths of what is made of them."""

    def __init__(self, path: Path, counts: np.ndarray) -> None:
        self.path = path
        results = path / "results"
        self.store, self.manifest = results / "movie.zarr", results / "movie.manifest.json"
        self.quality = results / "movie.quality.json"
        self.files = [path / f"{NAMES[plane]}.tif" for plane in range(counts.shape[1])]
        for plane, file in enumerate(self.files):
            tifffile.imwrite(file, counts[:, plane], photometric="minisblack", metadata=None)

    def convert(self, scope: Microscope | None = None, **settings: int) -> Movie:
        scope = scope or microscope(len(self.files))
        convert(self.files, scope, self.store, self.manifest, self.quality, ConvertSettings(**settings))
        return Movie.open(self.manifest)

    def chunk(self, index: int) -> Path:
        return self.store / "counts" / "c" / str(index) / "0" / "0" / "0"

    def results(self) -> set[str]:
        results = self.path / "results"
        return {path.name for path in results.iterdir()} if results.is_dir() else set()


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
    assert array.metadata.dimension_names == ("frame", "plane", "y", "x")
    assert array.metadata.codecs[-1].to_dict()["name"] == "crc32c"


def test_chunks_are_what_zarr_would_have_written(tmp_path: Path) -> None:
    """To the byte: the codecs that the store's metadata names were applied, in their order."""
    folder = Folder(tmp_path, np.random.default_rng(1).poisson(90, (70, 2, 80, 96)).astype(np.uint16))
    folder.convert(chunk_frames=60)
    ours = [folder.chunk(index).read_bytes() for index in range(2)]
    array = zarr.open_array(folder.store / "counts", mode="r+")
    array[:] = array[:]
    assert [folder.chunk(index).read_bytes() for index in range(2)] == ours
    Movie.open(folder.manifest).verify()


def test_the_same_bytes_for_any_number_of_threads(folder: Folder) -> None:
    files = []
    for threads in (1, 2, 5):
        folder.convert(chunk_frames=3, threads=threads)
        made = sorted(path for path in folder.manifest.parent.rglob("*") if path.is_file())
        files.append({path: path.read_bytes() for path in made})
    assert files[0] == files[1] == files[2]


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


def test_what_is_written_is_compared_with_what_is_on_disk(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or memory that changes one bit must not go unnoticed."""
    true_read = chunks.read

    def flawed(file: Path, counts: np.ndarray) -> bytes:
        checksum = true_read(file, counts)
        counts[-1, -1, -1, -1] ^= file.parts[-4] == "3"
        return checksum

    monkeypatch.setattr(chunks, "read", flawed)
    with pytest.raises(PlanelocError, match="chunk 3 reads back"):
        folder.convert(chunk_frames=5)
    assert folder.results() == set()


def test_no_space_left_leaves_nothing_new(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.convert(chunk_frames=5).digest
    true_write = chunks.write

    def full(file: Path, *args: object) -> bytes:
        if file.parts[-4] == "2":
            raise OSError(errno.ENOSPC, "No space left on device")
        return true_write(file, *args)

    monkeypatch.setattr(chunks, "write", full)
    with pytest.raises(PlanelocError, match="no space left"):
        folder.convert(chunk_frames=5)
    assert folder.results() == WRITTEN
    assert Movie.open(folder.manifest).digest == before


def test_bad_input_leaves_nothing(folder: Folder) -> None:
    tifffile.imwrite(folder.files[1], counts(9)[:, 1], photometric="minisblack", metadata=None)
    with pytest.raises(PlanelocError, match="left 23, right 9"):
        folder.convert()
    assert folder.results() == set()


def test_a_source_that_changes_meanwhile_is_refused(folder: Folder) -> None:
    class Growing:
        shape = (4, 2, 14, 18)
        files = (folder.files[0],)

        def read(self, start: int, stop: int) -> np.ndarray:
            with folder.files[0].open("ab") as file:
                file.write(b"more")
            return counts()[start:stop]

    with pytest.raises(PlanelocError, match="changed while it was converted"):
        movie_module.write_movie(Growing(), folder.store, folder.manifest, microscope())
    assert folder.results() == set()


KILLED = """
import os, signal, sys
from pathlib import Path
from planeloc.movie import chunks
from planeloc.cameras.camera import Camera
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.cameras.microscope import Microscope
read, store, manifest, quality, *files = chunks.read, *map(Path, sys.argv[1:])
def killed(file, counts):
    if file.parts[-4] == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    return read(file, counts)
chunks.read = killed
scope = Microscope("test", cameras=(Camera(), Camera()))
convert(files, scope, store, manifest, quality, ConvertSettings(chunk_frames=5))
"""


def test_a_killed_conversion_leaves_nothing_that_looks_finished(folder: Folder) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(planeloc.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, *map(str, (folder.store, folder.manifest, folder.quality, *folder.files))]
    died = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL
    left = folder.results()
    assert left and all(name.startswith(".partial-") for name in left)
    folder.convert(chunk_frames=5).verify()
    assert folder.results() == WRITTEN


def test_a_healthy_movie_gets_statistics_and_no_warning(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    movie = folder.convert(microscope(**AS_NOISY), chunk_frames=5)
    assert movie.content["warnings"] == []
    assert "warning" not in capsys.readouterr().err
    for plane, values in enumerate(movie.content["statistics"]):
        camera = counts()[:, plane]
        assert values["camera"] == NAMES[plane]
        assert (values["lowest_counts"], values["highest_counts"]) == (camera.min(), camera.max())
        assert values["mean_counts"] == pytest.approx(camera.mean(), abs=1e-3)
        assert values["saturated_fraction"] == 0


def test_cameras_that_saturate_drop_out_or_are_described_wrongly_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = counts(20, 3)
    frames[3, 0, :2, :5] = 4095
    frames[[7, 8, 15], 1] = 100
    frames[:, 2] -= 60
    folder = Folder(tmp_path, frames)
    movie = folder.convert(microscope(3, saturation_counts=4095, **AS_NOISY), chunk_frames=6)
    saturated, dropped, dark, *of_its_noise = movie.content["warnings"]
    assert "left" in saturated and "0.198 %" in saturated
    assert movie.content["statistics"][0]["saturated_fraction"] == pytest.approx(10 / (20 * 14 * 18))
    assert "right: 3 frame(s)" in dropped and "first is frame 7" in dropped
    assert "third" in dark and "correct offset_counts" in dark
    verdicts = {check["name"]: check["verdict"] for check in json.loads(folder.quality.read_text())["checks"]}
    assert verdicts["camera_0_saturated_share"] == verdicts["camera_2_below_offset_counts"] == "warn"
    printed = capsys.readouterr().err
    assert all("third" in warning for warning in of_its_noise)
    assert printed.count("planeloc: warning:") == len(movie.content["warnings"])


def test_chunks_are_bounded_in_bytes() -> None:
    assert auto_chunk_frames((4, 64, 64)) == 100
    assert auto_chunk_frames((4, 256, 256)) == 32
    assert auto_chunk_frames((4, 2048, 2048)) == 1
    assert auto_chunk_frames((8, 4096, 4096)) == 1


def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    """Peak traced memory for four times the frames: a few bytes per frame may be kept, a frame may not.

    How many chunks are under way at a time depends on the threads' luck, hence the allowance of some chunks.
    """
    peaks = [_peak(tmp_path / str(frames), frames) for frames in (240, 960)]
    frame_bytes = 2 * 2 * 64 * 64
    assert (peaks[1] - peaks[0]) / 720 < 0.2 * frame_bytes


def _peak(path: Path, frames: int) -> int:
    import tracemalloc

    path.mkdir()
    folder = Folder(path, counts(frames, 2, 64, 64))
    tracemalloc.start()
    try:
        folder.convert(chunk_frames=20)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@needs_data
def test_real_biplane_movie(tmp_path: Path) -> None:
    """A real simultaneous two-plane movie; its photons are stored as floats, so counts are made of them first."""
    import scipy.io

    photons = scipy.io.loadmat(Path(DATA) / "sequences" / "Fazel_biplane_experimental.mat")["Data"]
    frames = np.clip(np.rint(photons.transpose(2, 3, 0, 1) * 2 + 100), 0, 65535).astype(np.uint16)
    movie = Folder(tmp_path, frames).convert()
    assert movie.shape == (150, 2, 62, 62)
    np.testing.assert_array_equal(movie.read(0, 150), frames)
