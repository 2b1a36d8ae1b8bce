"""Settings are strict, and the command line says what is wrong in one line."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from planeloc.cameras.microscope import read_microscope
from planeloc.cli import main
from planeloc.core import files, provenance
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import from_mapping, setting


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
        ({"share": float("inf")}, "not a number"),
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
  - &left
    name: left
    offset_counts: 100
    electrons_per_count: 0.5
    em_gain: 1
    quantum_efficiency: 0.9
    read_noise_electrons: 1.5
  - {<<: *left, name: right, em_gain: 200}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pixel_size_nm: 100", "pixel_size_nm: -1"), "below its minimum"),
        (("em_gain: 200", "em_gian: 200"), r"cameras\[1\]: unknown key 'em_gian'"),
        (("em_gain: 200", "em_gain: '300'"), "not a number"),
        (("  - {<<: *left, name: right, em_gain: 200}\n", ""), "at least 2"),
        (("em_gain: 200", "em_gain: .inf"), "not a number"),
        (("pixel_size_nm: 100\n", ""), "pixel_size_nm is missing; add it: .* e.g. pixel_size_nm: 100"),
        (
            ("    em_gain: 1\n", ""),
            r"cameras\[0\] \(left\): em_gain is missing; add it: .*em_gain: 1 for CCD and sCMOS",
        ),
        (("    read_noise_electrons: 1.5\n", ""), "read_noise_electrons is missing; add it: .*after the EM gain"),
        (("cameras:", "layout: regions\ncameras:"), "one region per camera"),
        (("cameras:", "regions: [{x: 0, y: 0}]\ncameras:"), r"regions\[0\]: width is missing"),
        (("cameras:", "regions: [{x: 0, y: 0, width: 9}]\ncameras:"), r"regions\[0\]: height is missing"),
        (
            ("cameras:", "layout: regions\nregions: [{width: 5, height: 6}, {width: 5, height: 5}]\ncameras:"),
            "regions differ in size",
        ),
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
    """And the list of all verbs says the same of each, without loading it."""
    context = click.Context(main.planeloc)
    overview = CliRunner().invoke(main.planeloc, ["--help"], terminal_width=1000).output
    verbs = main.planeloc.list_commands(context)
    assert "localize" in verbs and main.planeloc.get_command(context, "localise") is None
    for verb in verbs:
        result = CliRunner().invoke(main.planeloc, [verb, "--help"])
        assert result.exit_code == 0 and "--" in result.output, verb
        said = main.planeloc.get_command(context, verb).help.split("\n\n")[0]
        assert said and f"{verb} {' '.join(said.split())}" in " ".join(overview.split()), verb


def test_a_mistyped_verb_is_told_from_the_one_that_was_meant():
    mistyped = CliRunner().invoke(main.planeloc, ["localise"])
    assert mistyped.exit_code == 2 and "'localise'; did you mean localize?" in mistyped.output
    unknown = CliRunner().invoke(main.planeloc, ["xyzzy"])
    assert unknown.exit_code == 2 and "No such command 'xyzzy'" in unknown.output


def test_the_list_of_verbs_waits_for_no_library():
    code = "import sys\nfrom planeloc.cli.main import planeloc\nplaneloc(standalone_mode=False)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    *words, loaded = run.stdout.splitlines()
    assert run.returncode == 0 and any("localize" in line for line in words), run.stderr
    assert not {"torch", "numpy", "pandas"} & set(loaded.split())


@pytest.mark.parametrize("verb", ["simulate", "calibrate", "train", "localize", "evaluate"])
def test_commands_compute_in_one_thread(verb):
    """As several run at once in a workflow."""
    code = "import sys\nfrom planeloc.cli.main import planeloc\nplaneloc(standalone_mode=False)\n"
    code += "assert sys.modules['torch'].get_num_threads() == 1"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr


def test_an_expected_error_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    arguments = ["planeloc", "filter", "--localizations", str(tmp_path / "absent.h5")]
    arguments += ["--output", str(tmp_path / "o.h5"), "--picasso", "p.hdf5", "--thunderstorm", "t.csv"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 1
    assert len(lines) == 1 and "absent.h5" in lines[0] and lines[0].startswith("planeloc: ")


def one_line(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr("sys.argv", ["planeloc", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.main()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 1 and line.startswith("planeloc: ")
    return line


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path, monkeypatch, capsys):
    outputs = ("--store", tmp_path / "s.zarr", "--manifest", tmp_path / "m.json", "--quality", tmp_path / "q.json")
    line = one_line(monkeypatch, capsys, "convert", "--movie", "a.tif", "--microscope", tmp_path, *outputs)
    assert line == f"planeloc: {tmp_path}: is a folder; name the file in it"
    with pytest.raises(PlanelocError, match="is a folder"):
        files.read_json(tmp_path)
    with pytest.raises(PlanelocError, match="is a folder"):
        files.require_file(tmp_path, "camera file")


@pytest.mark.parametrize(
    ("error", "message"),
    [(PermissionError, "no permission"), (FileNotFoundError, "no such file"), (NotADirectoryError, "Not a directory")],
)
def test_what_the_system_refuses_is_one_line(tmp_path, monkeypatch, capsys, error, message):
    def refuse(*_):
        code = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, NotADirectoryError: errno.ENOTDIR}
        raise error(code[error], os.strerror(code[error]), "somewhere/file.tif")

    monkeypatch.setattr("planeloc.cli.convert.read_microscope", refuse)
    outputs = ("--store", tmp_path / "s.zarr", "--manifest", tmp_path / "m.json", "--quality", tmp_path / "q.json")
    line = one_line(monkeypatch, capsys, "convert", "--movie", "a.tif", "--microscope", "m.yaml", *outputs)
    assert "somewhere/file.tif: " in line and message in line


def test_outputs_are_whole_and_leftovers_are_removed(tmp_path):
    output = tmp_path / "table.csv"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine = files._host()
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
