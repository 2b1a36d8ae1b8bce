"""Ground-truth tables of both kinds are read; wrong ones are named."""

import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.ground_truth import read_ground_truth
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.io import localization_table
from support.evaluated_tables import METADATA, found


def test_truth_tables_of_two_kinds(tmp_path):
    (tmp_path / "a.csv").write_text("frame,x_nm,y_nm,z_nm,photons\n0,1.5,2,3,400\n")
    (tmp_path / "b.csv").write_text("Ground-truth,frame,xnano,ynano,znano,intensity \n1,1,1.5,2,3,400\n")
    pd.testing.assert_frame_equal(
        read_ground_truth(tmp_path / "a.csv"), read_ground_truth(tmp_path / "b.csv"), check_dtype=False
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame,x_nm,y_nm,photons\n0,1,2,3\n", "lacks the column z_nm"),
        ("frame,x_nm,y_nm,z_nm,photons\n0,1,2,,4\n", "row 1 of the ground-truth table is not all numbers"),
        ("", "not a CSV table"),
        ("frame,x_nm,y_nm,z_nm,photons\n50,1,2,3,4\n", "do not fit a movie of 50 frames"),
    ],
)
def test_wrong_truth_tables_are_named(tmp_path, content, message):
    (tmp_path / "truth.csv").write_text(content)
    localization_table.write(tmp_path / "t.h5", found((1000, 1000, 0)), METADATA)
    with pytest.raises(PlanelocError, match=rf"truth\.csv.*{message}"):
        evaluate(tmp_path / "t.h5", tmp_path / "truth.csv", tmp_path / "m.json", tmp_path / "m.png", EvaluateSettings())
    assert not (tmp_path / "m.json").exists()
    assert not (tmp_path / "m.png").exists()
