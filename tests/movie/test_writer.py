"""Writing is complete or leaves nothing; memory does not grow with the length."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import planeloc
from planeloc.core.errors import PlanelocError
from planeloc.movie import chunks
from planeloc.movie.store import Movie
from planeloc.movie.writer import auto_chunk_frames, write_movie
from support.conversions import WRITTEN, Folder, counts, microscope


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, counts())


def test_the_same_bytes_for_any_number_of_threads(folder: Folder) -> None:
    files = []
    for threads in (1, 2, 5):
        folder.convert(chunk_frames=3, threads=threads)
        made = sorted(path for path in folder.manifest.parent.rglob("*") if path.is_file())
        files.append({path: path.read_bytes() for path in made})
    assert files[0] == files[1] == files[2]


def test_what_is_written_is_compared_with_what_is_on_disk(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or memory that changes one bit must not go unnoticed."""
    true_read = chunks.read

    def flawed(file: Path, counts: np.ndarray) -> bytes:
        checksum = true_read(file, counts)
        counts[-1, -1, -1, -1] ^= file.parts[-4] == "3"
        return checksum

    monkeypatch.setattr(chunks, "read", flawed)
    with pytest.raises(PlanelocError, match="chunk 3 differs from what was written"):
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
        files, all_files = (folder.files[0],), ((folder.files[0],),)

        def read(self, start: int, stop: int) -> np.ndarray:
            with folder.files[0].open("ab") as file:
                file.write(b"more")
            return counts()[start:stop]

    with pytest.raises(PlanelocError, match="changed during the conversion"):
        write_movie(Growing(), folder.store, folder.manifest, microscope())
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
    assert left and all(name.startswith(".partial-") or name.endswith(".lock") for name in left)
    folder.convert(chunk_frames=5).verify()
    assert folder.results() == WRITTEN


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
