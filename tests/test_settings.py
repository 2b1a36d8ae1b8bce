"""Settings are strict, and the command line says what is wrong in one line."""

from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from planeloc import cli
from planeloc.errors import PlanelocError
from planeloc.microscope import read_microscope
from planeloc.settings import from_mapping, setting


@dataclass(frozen=True)
class Example:
    size: int = setting(3, "Size.", minimum=1, maximum=9)
    share: float = setting(0.5, "Share.")
    on: bool = setting(True, "On.")
    mode: str = setting("a", "Mode.", choices=("a", "b"))


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
        ({"on": "yes"}, "not true or false"),
        ({"mode": "c"}, "not one of a, b"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(PlanelocError, match=message) as error:
        from_mapping(Example, values, "file.yaml: section")
    assert str(error.value).startswith("file.yaml: section: ") and "\n" not in str(error.value)


MICROSCOPE = """
pixel_size_nm: 100
cameras:
  - {name: left, offset_counts: 100}
  - {name: right, em_gain: 200}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pixel_size_nm: 100", "pixel_size_nm: -1"), "below its minimum"),
        (("em_gain: 200", "em_gian: 200"), r"cameras\[1\]: unknown key 'em_gian'"),
        (("em_gain: 200", "em_gain: '300'"), "not a number"),
        (("  - {name: right, em_gain: 200}\n", ""), "at least 2"),
        (("cameras:", "layout: regions\ncameras:"), "one region per camera"),
        (("cameras:", "cameras: {"), "not valid YAML"),
    ],
)
def test_microscope_mistakes_are_named(tmp_path, change, message):
    path = tmp_path / "scope.yaml"
    path.write_text(MICROSCOPE)
    assert read_microscope(path).cameras[1].em_gain == 200
    path.write_text(MICROSCOPE.replace(*change))
    with pytest.raises(PlanelocError, match=message) as error:
        read_microscope(path)
    assert "scope.yaml" in str(error.value) and "\n" not in str(error.value)


def test_every_verb_has_help():
    for verb in cli.planeloc.commands:
        result = CliRunner().invoke(cli.planeloc, [verb, "--help"])
        assert result.exit_code == 0 and "--" in result.output, verb


def test_an_expected_error_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    arguments = ["planeloc", "filter", "--localizations", str(tmp_path / "absent.h5")]
    arguments += ["--output", str(tmp_path / "o.h5"), "--picasso", "p.hdf5", "--thunderstorm", "t.csv"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 1
    assert len(lines) == 1 and "absent.h5" in lines[0] and lines[0].startswith("planeloc: ")
