"""No command replaces what it did not make: every output of every command, found in the commands themselves.

A command is stopped before it reads anything, so that no valid inputs are needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from planeloc.cli import main
from planeloc.cli.options import StageCommand
from planeloc.core import marks
from planeloc.io.exporters import EXPORTERS
from planeloc_reproduction.cli import paper
from support import stub_planeloc
from support.repository import REPOSITORY

RAW = b"II*\0 raw data that no one can record again"


def commands(group: click.Group = main.planeloc, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


ALL = {**dict(commands()), **{f"paper {name}": command for name, command in commands(paper)}}
PATHS = {name: [each for each in command.params if isinstance(each.type, click.Path)] for name, command in ALL.items()}
WRITTEN = {name: [each for each in given if getattr(each, "kind", None)] for name, given in PATHS.items()}
OUTPUTS = [(name, each.opts[0]) for name, written in WRITTEN.items() for each in written]
EXPORTING = [(name, exporter) for name in ("filter", "link") for exporter in EXPORTERS.names()]


def stopped(name: str, words: list[str], capsys: pytest.CaptureFixture) -> str:
    """The line with which a command stops."""
    group = paper if name.startswith("paper ") else main.planeloc
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr("sys.argv", ["planeloc", *name.removeprefix("paper ").split(), *words])
        main.run(group)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 1 and line.startswith("planeloc: "), line
    return line


def words_of(name: str, folder: Path, **paths: Path) -> list[str]:
    """A command line with all that a command needs; its files do not exist, unless given by their option."""
    words = []
    for parameter in ALL[name].params:
        ending = ".png" if "(PNG)" in (getattr(parameter, "help", None) or "") else ".file"
        path = str(paths.get(parameter.name or "", folder / f"{parameter.name}{ending}"))
        if isinstance(parameter, click.Argument):
            words += [f"movie={path}"] if parameter.nargs < 0 else [path]
        elif parameter.name in paths or parameter.required:
            choices = getattr(parameter.type, "choices", None)
            value = path if isinstance(parameter.type, click.Path) else choices[0] if choices else "1"
            words += [parameter.opts[0], str(value)]
    return words


def option(name: str, opts: str) -> str:
    return next(each.name for each in ALL[name].params if each.opts[0] == opts)


def test_every_output_is_known_as_one() -> None:
    """By name: a new output whose option does not say what kind of file it writes fails here."""
    assert len(OUTPUTS) > 60
    for name, command in ALL.items():
        assert not WRITTEN[name] or isinstance(command, StageCommand), name  # which looks before it runs
        named = {each.opts[0].removeprefix("--") for each in WRITTEN[name]}
        if name in stub_planeloc.OUTPUTS:  # what the rules of the workflow name
            assert set(stub_planeloc.OUTPUTS[name]) <= named, name
        words = ("output", "figure", "quality", "provenance", "store", "manifest", "record", "trajectory", "picture")
        suspicious = {each.opts[0].removeprefix("--") for each in PATHS[name]} - named
        assert not suspicious & set(words), (name, suspicious)


@pytest.mark.parametrize(("name", "opts"), OUTPUTS)
@pytest.mark.parametrize("way", ["file", "folder", "link to a file", "link to a folder", "device"])
def test_no_command_replaces_what_it_did_not_make(name, opts, way, tmp_path, capsys) -> None:
    raw, output = tmp_path / "raw" / "movie.tif", tmp_path / "output"
    raw.parent.mkdir()
    raw.write_bytes(RAW)
    match way:
        case "file":
            output.write_bytes(RAW)
        case "folder":
            output.mkdir()
            (output / "movie.tif").write_bytes(RAW)
        case "link to a file":
            output.symlink_to(raw)
        case "link to a folder":
            output.symlink_to(raw.parent)
        case "device":
            output = Path(os.devnull)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    line = stopped(name, words_of(name, tmp_path, **{option(name, opts): output}), capsys)
    assert f"{output}: " in line and line.endswith("; move it away or choose another name"), line
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert raw.read_bytes() == RAW and (way == "device" or output.resolve().exists())


@pytest.mark.parametrize(("name", "exporter"), EXPORTING)
def test_no_export_replaces_what_it_did_not_make(name, exporter, tmp_path, capsys) -> None:
    endings = EXPORTERS.load(exporter).endings
    for ending in endings:
        other = tmp_path / f"mine{ending}"
        other.write_bytes(RAW)
        words = [*words_of(name, tmp_path), "--export", f"{exporter}={tmp_path / f'mine{endings[0]}'}"]
        line = stopped(name, words, capsys)
        assert f"{other}: " in line and "would be lost; move it away" in line
        assert other.read_bytes() == RAW
        other.unlink()


@pytest.mark.parametrize("name", [name for name, written in WRITTEN.items() if len(written) > 1])
def test_two_outputs_are_two_files(name, tmp_path, capsys) -> None:
    first, second, *_ = WRITTEN[name]
    words = words_of(name, tmp_path, **{first.name: tmp_path / "a", second.name: tmp_path / "." / "a"})
    assert f"is given for {first.opts[0]} and for {second.opts[0]}; name two files" in stopped(name, words, capsys)


@pytest.mark.parametrize("name", [name for name, written in WRITTEN.items() if len(PATHS[name]) > len(written) > 0])
def test_no_output_replaces_an_input(name, tmp_path, capsys) -> None:
    """Also where it is of the very kind, as a table that is filtered."""
    written = next(each for each in WRITTEN[name] if not each.kind.is_folder or len(WRITTEN[name]) == 1)
    read = next(each for each in PATHS[name] if each not in WRITTEN[name])
    path, content = tmp_path / "t", written.kind.begins + b" ".join((*written.kind.words, *written.kind.any_of[:1]))
    path.write_bytes(content)
    (tmp_path / "link").symlink_to(path)
    line = stopped(name, words_of(name, tmp_path, **{written.name: tmp_path / "link", read.name: path}), capsys)
    assert "would be replaced" in line or written.kind.is_folder
    assert path.read_bytes() == content


def test_marks_of_different_results_differ() -> None:
    """So that none is taken for another, but where one command may replace any of them."""
    kinds = {each.kind.name: each.kind for written in WRITTEN.values() for each in written}
    kinds |= {kind.name: kind for name in EXPORTERS.names() for kind in EXPORTERS.load(name).kinds}
    kinds |= {kind.name: kind for kind in (marks.CHECKPOINT, marks.PROVENANCE, marks.VERDICTS)}
    assert len(kinds) > 40
    for kind in kinds.values():
        like = kind.begins + b" ".join((*kind.words, *kind.any_of))
        for other in kinds.values():
            matches = like.startswith(other.begins) and all(word in like for word in other.words)
            matches &= not other.any_of or any(word in like for word in other.any_of)
            assert matches == (other is kind), (kind.name, other.name)


WRITES = re.compile(
    r"\.open\(\"[wax]|\.write_text\(|\.write_bytes\(|\.unlink\(|rmtree\(|\.rmdir\(|\.rename\((?!columns)|savefig\(|print_png\(|\.to_csv\("
    r"|shutil\.(copy|move)|os\.(remove|rename|replace|link)\("
)
PARTIAL = re.compile(r"[( ](partial|unfinished)[.,) /]")
# Where files are written or removed besides the partial files of `atomic_path`, and how many lines do it.
ELSEWHERE = {
    "planeloc/core/files.py": 5,  # `atomic_path` itself
    "planeloc/core/marks.py": 1,  # `remove_own`
    "planeloc/core/locks.py": 11,  # locks and leases, by names of their own
    "planeloc/localization/checkpoints.py": 4,  # parts, by names of their own
    "planeloc/localization/dask_cluster.py": 2,  # certificates in the folder of the parts
    "planeloc/movie/chunks.py": 1,  # into the partial folder of a movie
    "planeloc/movie/writer.py": 1,  # an older manifest, which was looked at
    "planeloc/simulation/simulate.py": 4,  # into the partial folder of an acquisition
}


def test_files_are_written_and_removed_in_few_places() -> None:
    """Whoever adds one shows here that it cannot spoil another's file."""
    found = {}
    for root, package in (("workflow", "planeloc"), ("reproduction", "planeloc_reproduction")):
        for path in sorted((REPOSITORY / root / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8").splitlines()
            if lines := [line for line in text if WRITES.search(line) and not PARTIAL.search(line)]:
                found[path.relative_to(REPOSITORY / root).as_posix()] = lines
    counts = {name: len(lines) for name, lines in found.items()}
    assert counts == ELSEWHERE, {name: lines for name, lines in found.items() if counts[name] != ELSEWHERE.get(name)}
