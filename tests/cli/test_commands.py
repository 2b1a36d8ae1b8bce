"""The commands: their help, what they refuse in one line, and how fast the list of them is."""

import errno
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from planeloc.cli import main
from planeloc.cli.options import File, Used, options, output, stage_command
from planeloc.core import files, marks
from planeloc.core.errors import PlanelocError
from planeloc.postprocessing.settings import FilterSettings
from planeloc.training.settings import TrainSettings


def test_every_command_has_help():
    """And the list of all commands says the same of each, without loading it."""
    context = click.Context(main.planeloc)
    overview = CliRunner().invoke(main.planeloc, ["--help"], terminal_width=1000).output
    commands = main.planeloc.list_commands(context)
    assert "localize" in commands and main.planeloc.get_command(context, "localise") is None
    for command in commands:
        result = CliRunner().invoke(main.planeloc, [command, "--help"])
        assert result.exit_code == 0 and "--" in result.output, command
        said = main.planeloc.get_command(context, command).help.split("\n\n")[0]
        assert said and f"{command} {' '.join(said.split())}" in " ".join(overview.split()), command


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant():
    mistyped = CliRunner().invoke(main.planeloc, ["localise"])
    assert mistyped.exit_code == 2 and "'localise'; did you mean localize?" in mistyped.output
    unknown = CliRunner().invoke(main.planeloc, ["xyzzy"])
    assert unknown.exit_code == 2 and "No such command 'xyzzy'" in unknown.output


def test_the_list_of_commands_waits_for_no_library():
    code = "import sys\nfrom planeloc.cli.main import planeloc\nplaneloc(standalone_mode=False)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    *words, loaded = run.stdout.splitlines()
    assert run.returncode == 0 and any("localize" in line for line in words), run.stderr
    assert not {"torch", "numpy", "pandas"} & set(loaded.split())


def test_localization_starts_without_what_it_may_not_need():
    """Each of these takes a tenth of a second or more to import."""
    code = "import sys\nfrom planeloc.cli import main\ntry:\n    main.main()\nfinally:\n"
    code += "    import gc\n    print(gc.isenabled(), gc.get_freeze_count() > 10000)\n    print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code, "localize", "--help"], capture_output=True, text=True, check=False
    )
    *_, collector, loaded = run.stdout.splitlines()
    assert collector == "True True", run.stderr  # what is imported is no garbage
    assert not {"pandas", "zarr", "matplotlib", "scipy.ndimage", "scipy.optimize", "distributed"} & set(loaded.split())


@pytest.mark.parametrize("command", ["simulate", "calibrate", "train", "localize", "evaluate"])
def test_commands_compute_in_one_thread(command):
    """As several run at once in a workflow."""
    code = "import sys\nfrom planeloc.cli.main import planeloc\nplaneloc(standalone_mode=False)\n"
    code += "assert sys.modules['torch'].get_num_threads() == 1"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr


def test_an_expected_error_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    arguments = ["planeloc", "filter", "--localizations", str(tmp_path / "absent.h5")]
    arguments += ["--output", str(tmp_path / "o.h5"), "--export=picasso=p.hdf5"]
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
    [
        (errno.EACCES, "no permission"),
        (errno.ENOENT, "no such file"),
        (errno.ENOTDIR, "Not a directory"),
        (errno.EROFS, "Read-only file system"),
        (errno.ENAMETOOLONG, "File name too long"),
        (errno.ELOOP, "Too many levels of symbolic links"),
    ],
)
def test_what_the_system_refuses_is_one_line(tmp_path, monkeypatch, capsys, error, message):
    def refuse(*_):
        raise OSError(error, os.strerror(error), "somewhere/file.tif")

    monkeypatch.setattr("planeloc.cli.convert.read_microscope", refuse)
    outputs = ("--store", tmp_path / "s.zarr", "--manifest", tmp_path / "m.json", "--quality", tmp_path / "q.json")
    line = one_line(monkeypatch, capsys, "convert", "--movie", "a.tif", "--microscope", "m.yaml", *outputs)
    assert "somewhere/file.tif: " in line and message in line


def test_help_lists_files_then_settings_by_how_often_they_are_changed():
    result = CliRunner().invoke(main.planeloc, ["calibrate", "--help"], terminal_width=200).output
    headings = ["Files:", "Options:", "Advanced options:", "Thresholds:"]
    assert [line for line in result.splitlines() if line in headings] == headings
    parts = [result.index(heading) for heading in headings]
    places = [result.index(f"--{name} ") for name in ("beads", "model", "window-nm", "step-warn")]
    assert sorted(parts + places) == [place for pair in zip(parts, places, strict=True) for place in pair]
    assert "--window-nm nm" in result  # the unit


@pytest.mark.parametrize(("given", "samples"), [("2.0e+5", 200_000), ("2e5", 200_000), ("7", 7), ("2.5", None)])
def test_whole_numbers_may_be_written_with_an_exponent(given, samples):
    seen = []

    @click.command()
    @options(TrainSettings, "samples")
    def command(settings):
        seen.append(settings.samples)

    result = CliRunner().invoke(command, ["--samples", given])
    assert seen == ([samples] if samples else [])
    assert samples or (result.exit_code == 2 and "'2.5' is not a whole number" in result.output)


def test_a_former_name_is_refused_with_the_present_one():
    result = CliRunner().invoke(main.planeloc, ["localize", "--drift-nm", "0"])
    assert result.exit_code == 2 and "--drift-nm is now --inter-camera-drift-nm; rename it" in result.output
    result = CliRunner().invoke(main.planeloc, ["train", "--drift-voxels=0"])
    assert result.exit_code == 2 and "--drift-voxels is now --inter-camera-drift-voxels; rename it" in result.output
    assert "No such option" in CliRunner().invoke(main.planeloc, ["localize", "--rift-nm", "0"]).output


def test_the_record_of_a_run_names_files_and_settings(tmp_path):
    """In the order in which the command declares them; what is not given, and folders, are left out."""

    @stage_command(
        "toy",
        FilterSettings,
        File("--movie", "A movie.", multiple=True),
        File("--extra", "An optional file.", required=False),
        output("--output", "A file.", marks.QUALITY),
    )
    def toy(movie, extra, output, settings):
        output.write_text("made")
        further = tmp_path / "further.csv"
        further.write_text("made")
        return Used({"device": "cpu"}, {str(movie[0]): "known"}, (further,))

    movies = [tmp_path / "b.tif", tmp_path / "a.tif"]
    for movie in movies:
        movie.write_text("counts")
    words = ["--movie", movies[0], "--movie", movies[1], "--output", tmp_path / "o.csv", "--border-nm", "5"]
    result = CliRunner().invoke(toy, [*map(str, words), "--provenance", str(tmp_path / "p.json")])
    assert result.exit_code == 0, result.output
    record = files.read_json(tmp_path / "p.json")
    assert record["stage"] == "toy" and record["settings"]["border_nm"] == 5 and record["used"] == {"device": "cpu"}
    assert list(record["inputs"]) == [str(movie) for movie in movies]
    assert record["inputs"][str(movies[0])] == "known"
    assert list(record["outputs"]) == [str(tmp_path / "o.csv"), str(tmp_path / "further.csv")]


def test_transforms_are_not_updated_without_knowing_that_the_cameras_are_in_step(tmp_path):
    words = ["--movie", "m.json", "--registration", "r.json", "--output", "o.json"]
    words += ["--figure", "f.png", "--quality", "q.json"]
    result = CliRunner().invoke(main.planeloc, ["update-registration", *words])
    assert result.exit_code == 2 and "Missing option '--synchronization'" in result.output


@pytest.mark.parametrize(
    ("name", "said"), [("x.jpg", "PNG is written; end the name with .png"), ("x.PNG", ""), ("x", "PNG is written")]
)
def test_the_name_of_a_picture_says_its_format(tmp_path, name, said):
    words = ["view", "--localizations", f"{tmp_path}/t.h5", "--picture", f"{tmp_path}/{name}"]
    result = CliRunner().invoke(main.planeloc, words)
    if said:
        assert result.exit_code == 2 and said in result.output
    else:
        assert "t.h5: no such file" in str(result.exception)


def test_commands_are_listed_in_the_order_of_their_use():
    order = main.planeloc.list_commands(click.Context(main.planeloc))
    chain = ["localize", "correct-drift", "filter", "link", "measure-resolution", "render"]
    assert [name for name in order if name in chain] == chain
