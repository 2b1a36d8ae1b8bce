"""Outputs are whole, and what cannot be written is named in one line."""

import os
import subprocess
import sys

import pytest

from planeloc.core import files, marks
from planeloc.core.errors import PlanelocError

KIND = marks.Kind("a table of this test", (b"ours",))


def test_outputs_are_whole_and_leftovers_are_removed(tmp_path):
    output = tmp_path / "table.csv"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine = files.host()
    stale = [f".partial-{machine}-{ended.pid}-abc-0-table.csv", f".partial-{machine}-{os.getpid()}-abc-0-table.csv"]
    kept = [
        f".partial-{machine}-{os.getppid()}-abc-0-table.csv",  # alive
        f".partial-00000000-{ended.pid}-abc-0-table.csv",  # of another computer
        f".partial-{machine}-{ended.pid}-abc-0-other.csv",  # of another output
    ]
    for name in stale[:1] + kept:
        (tmp_path / name).write_text("half")
    (tmp_path / stale[1]).mkdir()
    with files.atomic_path(output, KIND) as first, files.atomic_path(output, KIND) as second:
        assert first != second
        first.write_text("ours 1")
        second.write_text("ours 2")
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", *kept}
    with pytest.raises(ValueError, match="stop"), files.atomic_path(output, KIND) as partial:
        partial.write_text("half")
        raise ValueError("stop")
    assert output.read_text() == "ours 1"


def test_a_results_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(PlanelocError, match=r"results: not a folder that can be written to \(File exists\)"):
        files.write_json(tmp_path / "results" / "x.json", {}, marks.QUALITY)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PlanelocError, match="no permission to write into it"):
        files.write_json(tmp_path / "x.json", {}, marks.QUALITY)
