"""A camera that starts late and ends early can be converted, and is put in step."""

import json

import numpy as np
import pytest
import tifffile

from planeloc.core.errors import PlanelocError
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import Movie
from planeloc.synchronization.settings import SynchronizeSettings
from planeloc.synchronization.synchronize import synchronize
from support.movies import MICROSCOPE
from support.shared_light import SIDE, blinking_counts, transforms

FRAMES, LATE, EARLY = 300, 43, 20


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return blinking_counts(FRAMES, 4, 3, 3000, 3, seed=0)


def converted(folder, counts, settings=ConvertSettings(unequal_lengths="fill", chunk_frames=64)):  # noqa: B008
    """The movie of cameras of which number 2 starts late and ends early."""
    files = []
    for plane in range(4):
        own = counts[LATE : FRAMES - EARLY, plane] if plane == 2 else counts[:, plane]
        files.append(folder / f"camera{plane}.tif")
        tifffile.imwrite(files[-1], own)
    names = ("movie.zarr", "movie.json", "movie.quality.json")
    convert(files, MICROSCOPE, *(folder / name for name in names), settings)
    return folder / "movie.json"


def test_they_are_refused_unless_asked_for(tmp_path, counts):
    with pytest.raises(PlanelocError, match=r"differ in length.*unequal_lengths: fill"):
        converted(tmp_path, counts, ConvertSettings())


def test_what_was_recorded_is_kept(tmp_path, counts, caplog):
    movie = Movie.open(converted(tmp_path, counts))
    assert "camera 2: 237 frames, 63 fewer than the longest" in caplog.text
    assert "without any contrast" not in caplog.text
    assert movie.frames == FRAMES and movie.recorded == (300, 300, 237, 300)
    every = movie.every_frame().read(0, FRAMES)
    np.testing.assert_array_equal(np.delete(every, 2, axis=1), np.delete(counts, 2, axis=1))
    np.testing.assert_array_equal(every[:237, 2], counts[LATE : FRAMES - EARLY, 2])
    assert movie.content["statistics"][2]["lowest_counts"] > 0
    assert movie.camera_frames.left_out == (range(237, FRAMES),)
    assert movie.read(200, FRAMES)[:, 2].min() > 0
    movie.verify()


def test_it_is_put_in_step(tmp_path, counts):
    manifest = converted(tmp_path, counts)
    transforms(4).write(tmp_path / "registration.json")
    names = ("registration.json", "out.json", "out.png", "quality.json")
    synchronize(manifest, *(tmp_path / name for name in names), SynchronizeSettings())
    movie = Movie.open(manifest, tmp_path / "out.json")
    assert [lags[0].frames for lags in movie.camera_frames.lags] == [0, 0, -LATE, 0]
    assert movie.camera_frames.left_out == (range(LATE), range(FRAMES - EARLY, FRAMES))
    np.testing.assert_array_equal(movie.read(LATE, FRAMES - EARLY), counts[LATE : FRAMES - EARLY])
    checks = {check["name"]: check for check in json.loads((tmp_path / "quality.json").read_text())["checks"]}
    assert "43 frames early" in checks["camera_2_out_of_step_frames"]["advice"]
    assert Movie.open(manifest).camera_frames.frames == FRAMES
    assert movie.height == SIDE
