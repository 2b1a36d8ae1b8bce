"""Two conversions of one movie at once: one good movie, and one line for the other."""

import errno
import fcntl
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.movie.store import Movie
from support.conversions import AS_NOISY, WRITTEN, Folder, counts, microscope

PAIRS = 24


@pytest.mark.parametrize("way", ["lock", "lease"])
def test_pairs_of_conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "lease":  # threads of one process have the same lease as two processes

        def none(*_):
            raise OSError(errno.ENOTSUP, "no locks")

        monkeypatch.setattr(fcntl, "flock", none)
    folder = Folder(tmp_path, counts())
    together = Barrier(2)
    good, lines = 0, []

    def convert() -> PlanelocError | None:
        together.wait()
        try:
            folder.convert(microscope(**AS_NOISY), chunk_frames=5)
        except PlanelocError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        for _ in range(PAIRS):
            ended = [pool.submit(convert) for _ in range(2)]
            errors = [each.result() for each in ended]
            Movie.open(folder.manifest).verify()
            good += 1
            lines += [str(error) for error in errors if error]
            assert folder.results() == WRITTEN
    assert good == PAIRS
    assert lines and all("another run (" in line and "writes this file; wait for it" in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_a_movie_is_converted_again_and_nothing_in_its_folder_is_lost(tmp_path: Path) -> None:
    folder = Folder(tmp_path, counts())
    for chunk_frames in (5, 10):
        folder.convert(chunk_frames=chunk_frames)
    assert json.loads((folder.store / "zarr.json").read_text())["attributes"]["made_by"] == "planeloc convert"
    (folder.store / "labels").mkdir()
    (folder.store / "labels" / "cells.tif").write_text("drawn by hand")
    with pytest.raises(PlanelocError, match=r"movie\.zarr: holds labels/cells\.tif, which planeloc did not put there"):
        folder.convert()
    assert (folder.store / "labels" / "cells.tif").read_text() == "drawn by hand"
    Movie.open(folder.manifest).verify()


def test_raw_data_in_place_of_the_movie_stay(tmp_path: Path) -> None:
    """The case that lost data: `--store` named the folder of the camera files."""
    folder = Folder(tmp_path, counts())
    shutil.copytree(tmp_path, raw := tmp_path / "raw")
    folder.store = raw
    with pytest.raises(PlanelocError, match=r"raw: is not a movie that planeloc made, and would be lost; move it away"):
        folder.convert()
    assert len(list(raw.iterdir())) == len(folder.files) and not folder.manifest.exists()
