"""Damaged or missing results of the experiments are refused, and the message names the file."""

import json
import math
import shutil

import pytest
from matplotlib.figure import Figure
from paper_results import write_json

from planeloc.core.errors import PlanelocError
from planeloc_reproduction import results
from planeloc_reproduction.report import Context, read_evaluation, write_report

FILES = (
    "training/robust.json",
    "architecture.json",
    "one_molecule/paper/robust.json",
    "one_molecule/camera/robust.seconds.json",
    "bound.json",
    "sweeps/density/fit_with_drift.json",
    "helix/robust.json",
    "speed.json",
)


def refusal(folder, tmp_path, file, content) -> str:
    broken = tmp_path / "results"
    shutil.copytree(folder, broken)
    (broken / file).write_text(content, encoding="utf-8")
    with pytest.raises(PlanelocError) as caught:
        write_report(broken, None, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"history": 1, "a": 2, "points": 3, "frames": [4]}'])
def test_damaged_files_are_named(folder, tmp_path, file, content):
    assert file in refusal(folder, tmp_path, file, content)


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2, 3]]}, "one estimate for every molecule"),
        ("one_molecule/paper/robust.json", {"truth_nm": []}, "holds no molecules"),
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2], [3]]}, "not a table of numbers"),
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2, math.nan]]}, "not finite"),
        ("one_molecule/paper/robust.json", {"voxel_nm": [24, 24, 0]}, "voxel_nm"),
        ("one_molecule/paper/robust.seconds.json", {"seconds": 0}, "above 0"),
        ("bound.json", {"depth_nm": [0.0]}, "one value for every depth"),
        ("helix/robust.json", {"examples": [300]}, "beyond the 300"),
        ("speed.json", {"points": []}, "no points"),
        ("sweeps/drift/robust.json", {"points": [{"value": None}]}, "'value'"),
        ("training/robust.json", {"history": [{"samples": 5}]}, "training_loss"),
    ],
)
def test_values_that_cannot_be_are_named(folder, tmp_path, file, change, what):
    content = json.loads((folder / file).read_text()) | change
    message = refusal(folder, tmp_path, file, json.dumps(content))
    assert file in message
    assert what in message


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PlanelocError, match="holds no result of the paper's experiments"):
        write_report(tmp_path, None, tmp_path / "report.html")


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_picture_that_is_none_is_refused(tmp_path, content):
    image = tmp_path / "voxels.png"
    if content is not None:
        image.write_bytes(content)
    with pytest.raises(PlanelocError, match=r"voxels\.png"):
        Context(results.Results(), tmp_path / "figures").draw(image)


def test_a_damaged_evaluation_is_named(tmp_path):
    Figure(figsize=(1, 1)).savefig(tmp_path / "voxels.png")
    write_json(tmp_path / "evaluation.json", {"values": [1]})
    with pytest.raises(PlanelocError, match=r"evaluation\.json"):
        read_evaluation(tmp_path / "voxels.png")
