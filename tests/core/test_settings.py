"""Settings are strict; outputs are whole, and what cannot be written is named in one line."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from planeloc.core import files, provenance
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import from_mapping, setting, threshold


@dataclass(frozen=True)
class Example:
    size: int = setting(3, "Size.", minimum=1, maximum=9)
    share: float = setting(0.5, "Share.")
    on: bool = setting(True, "On.")
    mode: str = setting("a", "Mode.", choices=("a", "b"))


def test_whole_numbers_may_be_written_with_an_exponent():
    assert from_mapping(Example, {"size": 2.0}, "x").size == 2
    assert isinstance(from_mapping(Example, {"size": 2.0}, "x").size, int)


def test_a_threshold_says_what_happens_beyond_it():
    about = threshold(0.5, "stop below", "share of the field", unit="%").metadata
    assert about["help"] == "Stop below this share of the field." and about["group"] == "thresholds"


def test_values_are_kept():
    assert from_mapping(Example, {"size": 4, "share": 1, "on": False, "mode": "b"}, "x") == Example(4, 1, False, "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"siez": 4}, "unknown key 'siez'; known are mode, on, share, size"),
        ({"size": 0}, "below its minimum of 1"),
        ({"size": 10}, "above its maximum of 9"),
        ({"size": 2.5}, "not a whole number"),
        ({"share": "1e-3"}, "not a number"),
        ({"share": float("nan")}, "not a number"),
        ({"share": float("inf")}, "not a number"),
        ({"on": "yes"}, "not true or false"),
        ({"mode": "c"}, "not one of a, b"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(PlanelocError, match=message) as error:
        from_mapping(Example, values, "file.yaml: section")
    assert str(error.value).startswith("file.yaml: section: ") and "\n" not in str(error.value)


def test_outputs_are_whole_and_leftovers_are_removed(tmp_path):
    output = tmp_path / "table.csv"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine = files._machine()
    stale = [f".partial-{machine}-{ended.pid}-abc-0-table.csv", f".partial-{machine}-{os.getpid()}-abc-0-table.csv"]
    kept = [
        f".partial-{machine}-{os.getppid()}-abc-0-table.csv",  # alive
        f".partial-00000000-{ended.pid}-abc-0-table.csv",  # of another computer
        f".partial-{machine}-{ended.pid}-abc-0-other.csv",  # of another output
    ]
    for name in stale[:1] + kept:
        (tmp_path / name).write_text("half")
    (tmp_path / stale[1]).mkdir()
    with files.atomic_path(output) as first, files.atomic_path(output) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", *kept}
    with pytest.raises(ValueError, match="stop"), files.atomic_path(output) as partial:
        partial.write_text("half")
        raise ValueError("stop")
    assert output.read_text() == "1"


def test_a_results_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(PlanelocError, match=r"results: not a folder that can be written to \(File exists\)"):
        files.write_json(tmp_path / "results" / "x.json", {})
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PlanelocError, match="no permission to write into it"):
        files.write_json(tmp_path / "x.json", {})


def test_inputs_with_known_checksums_are_not_read_again(tmp_path, monkeypatch):
    (movie := tmp_path / "movie.tif").write_text("large")
    (scope := tmp_path / "scope.yaml").write_text("small")
    hashed = []
    monkeypatch.setattr(provenance, "sha256", lambda path: hashed.append(path) or "worked out")
    provenance.write_provenance(tmp_path / "p.json", "convert", {}, [movie, scope], [], known={str(movie): "known"})
    assert files.read_json(tmp_path / "p.json")["inputs"] == {str(movie): "known", str(scope): "worked out"}
    assert hashed == [scope]
