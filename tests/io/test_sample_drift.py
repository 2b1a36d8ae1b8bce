"""The file of the sample drift, in the frames of a table; other files are refused in a line."""

from pathlib import Path

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io.sample_drift import DRIFT, DRIFT_SD, sample_drift_at
from planeloc.postprocessing.correct_drift import write_trajectory
from planeloc.postprocessing.drift_refinement import Trajectory


def test_the_drift_of_every_row_is_that_of_its_frame(tmp_path: Path) -> None:
    drift, sd = np.arange(12.0).reshape(4, 3), np.arange(12.0).reshape(4, 3) / 10
    write_trajectory(tmp_path / "drift.csv", Trajectory(drift, sd))
    frame = np.array([3, 0, 3])
    assert np.allclose(sample_drift_at(tmp_path / "drift.csv", DRIFT, frame), drift[frame])
    assert np.allclose(sample_drift_at(tmp_path / "drift.csv", DRIFT_SD, frame), sd[frame])
    assert sample_drift_at(tmp_path / "drift.csv", DRIFT, np.empty(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; create it with `planeloc correct-drift`"),
        ("frame\n0\n", "not a table of sample drift"),
        ("frame,x_nm,y_nm,z_nm\n0,a,1,1\n", "not a table of sample drift"),
        ("frame,x_nm,y_nm,z_nm\n0,1,1,1\n", "1 frames do not fit localizations up to frame 2"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / "drift.csv").write_text(content)
    with pytest.raises(PlanelocError, match=message):
        sample_drift_at(tmp_path / "drift.csv", DRIFT, np.array([2]))
