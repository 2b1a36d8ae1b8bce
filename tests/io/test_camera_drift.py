"""The file of the cameras' drift: what is written is read again, other files are refused in a line."""

from pathlib import Path

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_drift import MOST_FRAMES, CameraDrift, listed_frames, read_camera_drift, write_camera_drift


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(2, 4, 3, 2)).round(3)
    written = CameraDrift(np.array([0, 2, 4, 6]), values[0], abs(values[1]))
    write_camera_drift(tmp_path / "drift.csv", written)
    found = read_camera_drift(tmp_path / "drift.csv")
    assert all((one == other).all() for one, other in zip(written, found, strict=True))
    lines = (tmp_path / "drift.csv").read_text().splitlines()
    assert lines[0] == "frame,plane,x_nm,y_nm,x_sd_nm,y_sd_nm"
    assert [line.split(",")[:2] for line in lines[3:6]] == [["0", "3"], ["2", "1"], ["2", "2"]]


def test_long_movies_are_thinned() -> None:
    assert list(listed_frames(3)) == [0, 1, 2]
    assert len(listed_frames(MOST_FRAMES)) == MOST_FRAMES
    assert list(listed_frames(2 * MOST_FRAMES + 1)[:3]) == [0, 3, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; create it with `planeloc localize`"),
        ("frame,x_nm,y_nm,z_nm\n0,1,1,1\n", "not a table of camera drift .its columns should be"),
        ("frame,plane,x_nm,y_nm,x_sd_nm,y_sd_nm\n0,a,1,1,1,1\n", "not a table of camera drift"),
        ("frame,plane,x_nm,y_nm,x_sd_nm,y_sd_nm\n0,2,1,1,1,1\n", "every frame should have a row"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / "drift.csv").write_text(content)
    with pytest.raises(PlanelocError, match=message):
        read_camera_drift(tmp_path / "drift.csv")
